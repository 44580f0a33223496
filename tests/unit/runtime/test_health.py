from __future__ import annotations

import asyncio
import logging

import pytest

from nodeipam.runtime.errors import ConfigurationError
from nodeipam.runtime.health import Checks, HealthError
from nodeipam.testing import run_virtual


def _well() -> None:
    """A check that finds nothing."""


def _ill() -> None:
    raise HealthError("the cache is stale")


async def _hanging() -> None:
    await asyncio.sleep(3600)


async def _slowly_ill() -> None:
    await asyncio.sleep(0.5)
    raise RuntimeError


class TestReport:
    def test_all_is_well(self) -> None:
        """When all checks pass, the answer is "ok", in two letters."""
        checks = Checks()
        checks.add("a", _well)

        assert (True, "ok") == run_virtual(checks.report())

    def test_verbose(self) -> None:
        """A verbose answer has a line for each check, by name, and says that they passed."""
        checks = Checks()
        checks.add("b", _well)
        checks.add("a", _well)

        assert (True, "[+]a ok\n[+]b ok\nhealthz check passed\n") == run_virtual(checks.report(verbose=True))

    def test_failure(self) -> None:
        """A failure is told in full, with the check's name but without its reason."""
        checks = Checks()
        checks.add("a", _well)
        checks.add("b", _ill)

        assert (False, "[+]a ok\n[-]b failed: reason withheld\nhealthz check failed\n") == run_virtual(
            checks.report()
        )

    def test_excluded(self) -> None:
        """An excluded check isn't run; excluding what isn't there is warned of, and fails nothing."""
        checks = Checks()
        checks.add("b", _ill)

        text = (
            "[+]b excluded: ok\n"
            'warn: some health checks cannot be excluded: no matches for "x","y"\n'
            "healthz check passed\n"
        )
        assert (True, text) == run_virtual(checks.report(exclude=["y", "b", "x"], verbose=True))

    def test_without_checks(self) -> None:
        """A probe without checks answers for the process, as the check "ping"."""
        checks = Checks()

        assert (True, "[+]ping ok\nhealthz check passed\n") == run_virtual(checks.report(verbose=True))
        assert (True, "ok") == run_virtual(checks.report_one("ping"))


class TestReportOne:
    def test_tells_the_reason(self) -> None:
        """One check on its own tells why it fails; an exception without words tells its kind."""
        checks = Checks()
        checks.add("ill", _ill)
        checks.add("slow", _slowly_ill)
        checks.add("well", _well)

        assert (False, "internal server error: the cache is stale\n") == run_virtual(checks.report_one("ill"))
        assert (False, "internal server error: RuntimeError\n") == run_virtual(checks.report_one("slow"))
        assert (True, "ok") == run_virtual(checks.report_one("well"))

    def test_unknown(self) -> None:
        """There is nothing to tell of a check that isn't there; "ping" is none once there are others."""
        checks = Checks()
        checks.add("well", _well)

        assert (None, None) == (run_virtual(checks.report_one("no")), run_virtual(checks.report_one("ping")))


class TestTimeouts:
    def test_side_by_side(self) -> None:
        """Checks that hang do so side by side: the answer takes as long as the longest of their timeouts."""
        checks = Checks()
        checks.add("a", _hanging, timeout=2.0)
        checks.add("b", _hanging, timeout=1.0)

        async def main() -> tuple[str, float]:
            report = await checks.report()
            return report.text, asyncio.get_running_loop().time()

        text = "[-]a failed: reason withheld\n[-]b failed: reason withheld\nhealthz check failed\n"
        assert (text, 2.0) == run_virtual(main())

    def test_told_apart(self) -> None:
        """A check that ran out of time says so; one that raised TimeoutError itself keeps its own words."""

        async def own() -> None:
            raise TimeoutError("the lock is taken")

        checks = Checks()
        checks.add("hanging", _hanging, timeout=0.5)
        checks.add("own", own)

        assert (False, "internal server error: no answer within 0.5 s\n") == run_virtual(
            checks.report_one("hanging")
        )
        assert (False, "internal server error: the lock is taken\n") == run_virtual(checks.report_one("own"))

    def test_cancelled(self) -> None:
        """When the probe is cancelled, so are its checks, and the cancel comes out."""
        cancelled: list[str] = []

        async def check() -> None:
            try:
                await _hanging()
            except asyncio.CancelledError:
                cancelled.append("check")
                raise

        checks = Checks()
        checks.add("a", check)

        async def main() -> None:
            task = asyncio.ensure_future(checks.report())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run_virtual(main())

        assert ["check"] == cancelled


class TestLog:
    def test_only_changes(self, caplog: pytest.LogCaptureFixture) -> None:
        """What fails is logged once, with its reason, and again only when that changes."""
        state = {"ill": True}

        def check() -> None:
            if state["ill"]:
                _ill()

        async def main() -> None:
            await checks.report()
            await checks.report()
            state["ill"] = False
            await checks.report()
            await checks.report()

        checks = Checks()
        checks.add("a", check)
        with caplog.at_level(logging.INFO):
            run_virtual(main())

        assert ["health checks fail", "health checks pass again"] == caplog.messages
        assert {"a": "the cache is stale"} == vars(caplog.records[0])["failing"]


class TestAdd:
    @pytest.mark.parametrize("name", ["", "a/b", "a b", "taken"])
    def test_impossible_names(self, name: str) -> None:
        """A name that is taken, or can't stand in a path, is refused with its text."""
        checks = Checks()
        checks.add("taken", _well)

        with pytest.raises(ConfigurationError, match=repr(name)):
            checks.add(name, _well)

    def test_impossible_timeout(self) -> None:
        """A timeout that isn't positive is refused with its number."""
        with pytest.raises(ConfigurationError, match="not 0"):
            Checks().add("a", _well, timeout=0)

    def test_repr(self) -> None:
        """The repr shows the checks and what fails, and why."""
        checks = Checks()
        checks.add("a", _ill)
        run_virtual(checks.report())

        assert "<Checks ['a'], failing: a: the cache is stale>" == repr(checks)
