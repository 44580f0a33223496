from __future__ import annotations

import logging

import pytest
import structlog

from nodeipam.runtime.logs import get_logger


def test_goes_to_the_standard_library(caplog: pytest.LogCaptureFixture) -> None:
    """An event is a record of the named standard logger, its values are the record's attributes."""
    with caplog.at_level(logging.INFO):
        get_logger("nodeipam.runtime.a").bind(controller="nodes").info("reconciled", key="n1")

    (record,) = caplog.records
    assert ("nodeipam.runtime.a", "INFO", "reconciled") == (
        record.name,
        record.levelname,
        record.getMessage(),
    )
    assert {"controller": "nodes", "key": "n1"}.items() <= vars(record).items()


def test_host_sets_the_level(caplog: pytest.LogCaptureFixture) -> None:
    """What the host's logging doesn't want is not even made."""
    with caplog.at_level(logging.WARNING):
        get_logger("nodeipam.runtime.b").info("reconciled")

    assert [] == caplog.records


def test_names_that_a_record_has_already(caplog: pytest.LogCaptureFixture) -> None:
    """A value named like an attribute of a LogRecord is kept under another name instead of raising."""
    get_logger("nodeipam.runtime.c").warning("lost", name="q", args=1)

    assert {"name_": "q", "args_": 1}.items() <= vars(caplog.records[0]).items()


def test_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """An exception handed over as exc_info is the record's, for the host's formatter to render."""
    error = ValueError("broken")
    get_logger("nodeipam.runtime.d").error("failed", exc_info=error)

    assert caplog.records[0].exc_info is not None
    assert error is caplog.records[0].exc_info[1]


def test_independent_of_the_hosts_structlog(caplog: pytest.LogCaptureFixture) -> None:
    """The host may configure structlog for itself: our lines keep their way."""

    def drop(*_: object) -> dict[str, object]:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
    try:
        get_logger("nodeipam.runtime.e").warning("still here")
    finally:
        structlog.reset_defaults()

    assert ["still here"] == [record.getMessage() for record in caplog.records]
