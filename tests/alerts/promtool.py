"""promtool, the rules that it judges, and what a rule's expression is made of."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

__all__ = ["RULES", "alerts", "dashboard", "metrics_named", "run", "values_named"]

FILES = Path(__file__).parents[2] / "charts" / "node-ipam-controller" / "files"
RULES = FILES / "rules.yaml"
DASHBOARD = FILES / "dashboard.json"

_PREFIXES = (
    "controller_runtime",
    "events",
    "leader_election",
    "node_ipam_controller",
    "process",
    "reflector",
    "rest_client",
    "workqueue",
)
_NAME = re.compile(rf"\b(?:{'|'.join(_PREFIXES)})_\w+")
_MATCHER = re.compile(r'\b(\w+)="([^"]*)"')


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts of the chart, by name."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def metrics_named(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    return set(_NAME.findall(expression))


def values_named(expression: str) -> list[tuple[str, str]]:
    """The labels, with the values that they are to have, in an expression."""
    return _MATCHER.findall(expression)


def run(promtool: Path, *arguments: str | Path, stdin: str = "") -> tuple[int, str]:
    """The exit code of promtool, and what it said."""
    ended = subprocess.run(
        [promtool, *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def dashboard() -> dict[str, Any]:
    """The dashboard of the chart."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found
