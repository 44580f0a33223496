"""Alerts and dashboard, by promtool: right, made of metrics that exist, and firing when they should."""
