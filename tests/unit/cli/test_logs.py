from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest

from nodeipam.cli.logs import Format, Level, configure_logging
from nodeipam.runtime import get_logger

Logged = Callable[[], str]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("nodeipam")
    handlers, levels, hook = root.handlers[:], (root.level, ours.level), sys.excepthook
    for handler in handlers:
        root.removeHandler(handler)  # they belong to pytest, and must not be closed
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(False)
    logging.raiseExceptions = True
    sys.excepthook = hook


def configured(format: Format = "text", level: Level = "info") -> Logged:
    """Configure logging; what is returned tells what was logged since."""
    stream = io.StringIO()
    configure_logging(level=level, format=format, stream=stream)
    return stream.getvalue


def boom() -> Exception:
    """An exception with a traceback."""
    try:
        raise ValueError("broken")
    except ValueError as error:
        return error


class TestText:
    def test_line(self) -> None:
        """A line holds time, level, logger, message, and each value; what has spaces is quoted."""
        logged = configured()

        get_logger("nodeipam.runtime.x").info("lost the lease", node="n1", cause='it said "no"', none=None)

        assert re.fullmatch(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info    nodeipam\.runtime\.x: lost the lease "
            r'node=n1 cause="it said \\"no\\"" none=None\n',
            logged(),
        )

    def test_newlines(self) -> None:
        """A message or a value with line breaks stays on its line: nobody can forge a record."""
        logged = configured()

        logging.getLogger("nodeipam").warning("a\nb\r", extra={"value": "c\nd"})

        assert 'nodeipam: a\\nb\\r value="c\\nd"\n' == logged().partition("warning ")[2]

    def test_traceback(self) -> None:
        """A traceback follows its line."""
        logged = configured()

        get_logger("nodeipam.x").error("failed", exc_info=boom(), key="n1")

        first, *others = logged().splitlines()
        assert (True, "Traceback (most recent call last):", "ValueError: broken") == (
            first.endswith("failed key=n1"),
            others[0],
            others[-1],
        )

    def test_arguments(self) -> None:
        """A library's record with arguments is rendered as the library meant it."""
        logged = configured()

        logging.getLogger("aiohttp").warning("%d of %s", 1, "two")

        assert logged().endswith("warning aiohttp: 1 of two\n")


class TestJSON:
    def test_line(self) -> None:
        """A line is a JSON object with time, level, logger, message and each value."""
        logged = configured("json")

        get_logger("nodeipam.x").info("synced", nodes=5, informer={"a": [1]}, strange={"of"})

        found = json.loads(logged())
        assert found.pop("time").endswith("Z")
        assert {
            "level": "info",
            "logger": "nodeipam.x",
            "message": "synced",
            "nodes": 5,
            "informer": {"a": [1]},
            "strange": "{'of'}",
        } == found

    def test_traceback(self) -> None:
        """A traceback is a value."""
        logged = configured("json")

        get_logger("nodeipam.x").error("failed", exc_info=boom())

        assert json.loads(logged())["exception"].endswith("ValueError: broken")


class TestLevel:
    @pytest.mark.parametrize(
        "level,expected",
        [
            ("debug", ["debug", "info", "warning", "error"]),
            ("info", ["info", "warning", "error"]),
            ("warning", ["warning", "error"]),
            ("error", ["error"]),
        ],
    )
    def test_ours(self, level: Level, expected: list[str]) -> None:
        """Our records are logged from the level on that was asked for."""
        logged = configured("json", level)

        for name in ("debug", "info", "warning", "error"):
            getattr(get_logger("nodeipam.level"), name)("here")

        assert expected == [json.loads(line)["level"] for line in logged().splitlines()]

    def test_libraries(self) -> None:
        """Of libraries only warnings are logged, even when we debug."""
        logged = configured("json", "debug")

        logging.getLogger("asyncio").info("using selector")
        logging.getLogger("asyncio").warning("slow")

        assert ["slow"] == [json.loads(line)["message"] for line in logged().splitlines()]


class TestWhatElseIsLogged:
    def test_uncaught(self) -> None:
        """An exception that nobody caught becomes a record."""
        logged = configured("json")
        error = boom()

        sys.excepthook(type(error), error, error.__traceback__)

        found = json.loads(logged())
        assert ("critical", "uncaught exception", True) == (
            found["level"],
            found["message"],
            found["exception"].endswith("ValueError: broken"),
        )

    def test_warnings(self) -> None:
        """A warning of Python's becomes a record."""
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logged = configured("json")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
            logging.captureWarnings(False)

        assert json.loads(logged())["logger"] == "py.warnings"

    def test_again(self) -> None:
        """Configuring again replaces what was configured before."""
        before = configured()
        after = configured()

        get_logger("nodeipam.x").info("here")

        assert ("", 1) == (before(), after().count("here"))
