"""How this process logs: one line a record on stderr, as text or as JSON.

Everything logs to standard-library loggers; structlog renders their records here, with the values that were
logged with them. Of libraries only warnings are shown.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter

__all__ = ["Format", "Level", "configure_logging"]

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

_OURS = "nodeipam"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+,()[]*^#~!?&;|")


def configure_logging(*, level: Level, format: Format, stream: TextIO | None = None) -> None:
    """Send all log records from now on to `stream` (stderr), as `text` or `json`.

    Uncaught exceptions and warnings become records too. Calling it again replaces what it did before.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(format))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(_OURS).setLevel(level.upper())
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # stderr may be gone; that is no reason to stop
    sys.excepthook = _log_uncaught


def _formatter(format: Format) -> logging.Formatter:
    processors: list[Any] = [ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info]
    if format == "json":
        processors += [
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        processors.append(_render_text)
    return ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _add_time,
        ],
        processors=processors,
    )


def _add_time(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """When the record was made, in UTC, as RFC 3339 writes it."""
    created = datetime.fromtimestamp(event["_record"].created, UTC)
    event["time"] = created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _render_text(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """`time level logger: message key=value …`, and a traceback on the lines below."""
    time, level, logger = event.pop("time"), event.pop("level"), event.pop("logger")
    message, traceback = event.pop("event"), event.pop("exception", None)
    stack = event.pop("stack_info", None)
    values = "".join([f" {key}={_quoted(value)}" for key, value in event.items()])
    below = "".join([f"\n{text}" for text in (stack, traceback) if text])
    return f"{time} {level:<7} {logger}: {_one_line(str(message))}{values}{below}"


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text, ensure_ascii=False)


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r")


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger(_OURS).critical("uncaught exception", exc_info=(kind, error, traceback))
