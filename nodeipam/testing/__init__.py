"""The test kit: an event loop in virtual time and an in-memory API server, for tests of any controller."""
