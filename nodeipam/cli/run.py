"""`nodeipam run`: the controller as a process.

Invariant: whatever happens, the process ends with one exit code and, where that isn't 0, with one line on
stderr that says why. The first SIGINT or SIGTERM stops it in good order, the second at once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import platform
import signal
import sys
from typing import Any

from prometheus_client import ProcessCollector

from nodeipam import __version__
from nodeipam.controllers.wiring import build
from nodeipam.runtime import Election, KubeError, connect, get_logger

from . import options
from .flag import Given
from .logs import configure_logging
from .reading import Configuration, read_configuration

__all__ = ["run"]

log = get_logger(__name__)


def run(given: Given) -> int:
    """Run the controller until it is told to stop, and return the exit code.

    Raises:
        click.UsageError: what was given has no meaning.
        ConfigurationError: what was given contradicts itself.
    """
    level, rendering = given.value(options.LOG_LEVEL), given.value(options.LOG_FORMAT)
    configuration = read_configuration(given)
    configure_logging(level=level, format=rendering)
    for remark in configuration.remarks:
        log.warning(remark)
    signals = _Signals()
    try:
        with asyncio.Runner() as runner:
            runner.run(_serve(configuration, signals))
    except asyncio.CancelledError:
        if signals.received is not None:
            log.info("stopped")
            return 0
        return _ended("cancelled, though nobody asked for it")
    except KubeError as error:
        return _ended(_one_line(error))
    except Exception as error:  # noqa: BLE001 - the last one who can tell
        return _ended(f"an error in nodeipam: {type(error).__name__}: {_one_line(error)}")
    return _ended("the controller had nothing left to do")


def _ended(why: str) -> int:
    """Log the one line that says why; with the traceback of what is being handled, for who debugs."""
    logger = logging.getLogger(__name__)
    logger.critical("ended: %s", why, exc_info=logger.isEnabledFor(logging.DEBUG) and sys.exception())
    return 1


async def _serve(configuration: Configuration, signals: _Signals) -> None:
    """Run the manager until a signal cancels this task, or something fails."""
    signals.install()
    settings = configuration.settings
    async with connect(
        kubeconfig=configuration.kubeconfig,
        server=configuration.apiserver,
        user_agent=f"nodeipam/{__version__}",
        qps=settings.kube_api_qps,
        burst=settings.kube_api_burst,
    ) as client:
        manager = build(settings, client)
        manager.add(_Freeze())
        ProcessCollector(registry=client.metrics.registry)
        log.info(
            "starting",
            version=__version__,
            python=platform.python_version(),
            server=client.host,
            identity=manager.identity,
            election=_described(settings.election),
        )
        try:
            await manager.run()
        except asyncio.CancelledError as cancelled:
            if cancelled.__cause__ is not None:  # told to stop, but it was no clean stop
                raise cancelled.__cause__ from None
            raise


class _Freeze:
    """Takes what was cached out of the garbage collector's sight.

    It is a runnable, and so runs when the informers are synced. A full collection over 65,000 cached Nodes
    would hold up the event loop for 15 ms, again and again, and find nothing: they are in no cycles.
    """

    needs_leader = False

    async def run(self) -> None:
        gc.freeze()


class _Signals:
    """The first signal cancels the task that installed this, the second ends the process."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._task: asyncio.Task[Any] | None = None

    def install(self) -> None:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.received is not None:
            log.critical("ended at once by a second signal", signal=number.name)
            os._exit(1)
        self.received = number
        log.info("stopping; another signal ends the process at once", signal=number.name)
        if self._task is not None:
            self._task.cancel()


def _described(election: Election | None) -> str:
    return "off" if election is None else f"{election.lock} {election.namespace}/{election.name}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
