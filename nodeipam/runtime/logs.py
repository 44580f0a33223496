"""Where the runtime's log lines go: to standard-library loggers, for the host application to decide.

Nothing here configures anything. Until the host does, records below WARNING go nowhere.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, cast

import structlog
from structlog.stdlib import BoundLogger

__all__ = ["get_logger"]

_TAKEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def get_logger(name: str) -> BoundLogger:
    """A structlog logger over the standard-library logger `name`, which is the module's `__name__`.

    The event is the record's message; bound values become attributes of the record (`extra`), for any
    formatter to render. A value whose key a LogRecord has already (`name`, `args`, …) gets a trailing
    underscore, as it would be an error in :mod:`logging`. The host's own structlog configuration is not used.
    """
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            _spare_taken_names,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return cast("BoundLogger", logger)


def _spare_taken_names(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in _TAKEN & event.keys() - {"exc_info", "stack_info"}:
        event[f"{key}_"] = event.pop(key)
    return event
