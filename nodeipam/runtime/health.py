"""Named health checks, and controller-runtime's words for what they found.

Every check has a deadline of its own, and those that wait do so side by side: one that hangs delays an answer
by its own deadline, never by the sum of all.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from .errors import ConfigurationError, KubeError
from .logs import get_logger

__all__ = ["Check", "Checks", "HealthError", "Report"]

log = get_logger(__name__)

Check = Callable[[], Awaitable[None] | None]
"""Returns, at once or later, when all is well; raises when it is not."""


class HealthError(KubeError):
    """Raised by a health check, with a message for a person: why this process isn't healthy or ready now.

    Any other exception fails the check too; this one is for what is no defect.
    """


class Report(NamedTuple):
    """What is answered to a probe."""

    healthy: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Named:
    check: Check
    timeout: float


class Checks:
    """The checks behind one probe, in the manner of controller-runtime's healthz handler.

    Checks can be added at any time. Without any, the probe answers for the process being there ("ping").
    What fails is logged when that changes, not at each probe.
    """

    def __init__(self) -> None:
        self._checks: dict[str, _Named] = {}
        self._failing: dict[str, str] = {}

    def __repr__(self) -> str:
        failing = ", ".join(f"{name}: {why}" for name, why in sorted(self._failing.items()))
        return f"<Checks {sorted(self._checks)}, failing: {failing or 'none'}>"

    def add(self, name: str, check: Check, *, timeout: float = 1.0) -> None:
        """Add `check`, to be answered within `timeout` seconds; a later answer is a failure.

        Raises:
            ConfigurationError: the name is taken or can't stand in a path, or the timeout isn't positive.
        """
        if name in self._checks:
            raise ConfigurationError(f"there is a health check {name!r} already")
        if not name or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ConfigurationError(
                f"a health check's name has letters, digits, '-', '_' and '.', not {name!r}"
            )
        if timeout <= 0:
            raise ConfigurationError(
                f"the timeout of health check {name!r} has to be positive, not {timeout}"
            )
        self._checks[name] = _Named(check, timeout)

    async def report(self, *, exclude: Collection[str] = (), verbose: bool = False) -> Report:
        """Run all checks but `exclude`, and tell the outcome. A failure is always told in full, but not why.

        Cancelling it cancels the checks that are waiting.
        """
        found = await self._run([name for name in self._checks if name not in exclude])
        failing = {name: why for name, why in found.items() if why is not None}
        self._log(failing)
        if not failing and not verbose:
            return Report(healthy=True, text="ok")
        lines = [_line(name, found, exclude) for name in sorted(self._checks) or ["ping"]]
        if unknown := sorted(set(exclude) - self._checks.keys()):
            quoted = ",".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        lines.append(f"healthz check {'failed' if failing else 'passed'}")
        return Report(healthy=not failing, text="\n".join(lines) + "\n")

    async def report_one(self, name: str) -> Report | None:
        """Run one check and tell the outcome, with its reason; None: there is no check of this name."""
        if name not in self._checks:
            return Report(healthy=True, text="ok") if name == "ping" and not self._checks else None
        why = (await self._run([name]))[name]
        if why is None:
            return Report(healthy=True, text="ok")
        return Report(healthy=False, text=f"internal server error: {why}\n")

    async def _run(self, names: list[str]) -> dict[str, str | None]:
        """Each check's failure, or None."""
        async with asyncio.TaskGroup() as tasks:  # no child of it fails, so it can't lose a cancel
            running = {name: tasks.create_task(_failure(self._checks[name])) for name in names}
        return {name: task.result() for name, task in running.items()}

    def _log(self, failing: dict[str, str]) -> None:
        if failing.keys() != self._failing.keys():
            if failing:
                log.warning("health checks fail", failing=failing)
            else:
                log.info("health checks pass again")
        self._failing = failing


async def _failure(named: _Named) -> str | None:
    try:
        async with asyncio.timeout(named.timeout) as deadline:
            waiting = named.check()
            if inspect.isawaitable(waiting):
                await waiting
    except TimeoutError as error:
        return f"no answer within {named.timeout:g} s" if deadline.expired() else _text(error)
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its answer
        return _text(error)
    return None


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _line(name: str, found: dict[str, str | None], exclude: Collection[str]) -> str:
    if name in exclude:
        return f"[+]{name} excluded: ok"
    return f"[+]{name} ok" if found.get(name) is None else f"[-]{name} failed: reason withheld"
