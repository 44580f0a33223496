from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nodeipam.testing.columns import NODE_COLUMNS, since

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = 60, 3600, 86400


class TestSince:
    @pytest.mark.parametrize(
        "text, seconds",
        [
            ("<invalid>", -2),
            ("0s", -1),
            ("0s", 0),
            ("119s", 119),
            ("2m", 2 * MINUTE),
            ("9m59s", 10 * MINUTE - 1),
            ("10m", 10 * MINUTE + 59),
            ("179m", 3 * HOUR - 1),
            ("3h", 3 * HOUR),
            ("7h59m", 8 * HOUR - 1),
            ("47h", 2 * DAY - 1),
            ("2d", 2 * DAY),
            ("7d23h", 8 * DAY - 1),
            ("729d", 730 * DAY - 1),
            ("2y", 730 * DAY),
            ("7y364d", 8 * 365 * DAY - 1),
            ("8y", 8 * 365 * DAY + 100 * DAY),
        ],
    )
    def test_ages(self, text: str, seconds: int) -> None:
        """An age is told in two units at most, and in the larger one alone once that says enough."""
        then = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert text == since(then, NOW)

    @pytest.mark.parametrize("given", ["yesterday", "2026-01-01T00:00:00"])
    def test_no_time(self, given: str) -> None:
        """What is no time of the API is invalid."""
        assert "<invalid>" == since(given, NOW)

    @pytest.mark.parametrize("given", [None, ""])
    def test_nothing(self, given: str | None) -> None:
        """Where there is no time, the age is unknown."""
        assert "<unknown>" == since(given, NOW)


class TestShow:
    @pytest.mark.parametrize(
        "status", [{"addresses": "x", "conditions": [1]}, {"addresses": [{"type": "InternalIP"}]}]
    )
    def test_odd_objects(self, status: Any) -> None:
        """An object that no real server would have costs its own cells, not the table."""
        shown = {
            column.name: column.show({"metadata": {"name": "a"}, "status": status}, NOW)
            for column in NODE_COLUMNS
        }
        assert ("a", "<invalid>") == (shown["Name"], shown["Internal-IP"])
