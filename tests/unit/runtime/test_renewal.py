from __future__ import annotations

import asyncio
import logging

import pytest

from nodeipam.runtime.errors import CredentialsError
from nodeipam.runtime.renewal import Fetched, Renewal
from nodeipam.testing.loop import run_virtual


class Issuer:
    """Issues 1, 2, 3, … each good for `lifetime` seconds, after thinking for `takes` seconds."""

    def __init__(
        self, lifetime: float | None = None, *, takes: float = 0.0, recheck: float | None = None
    ) -> None:
        self.lifetime = lifetime
        self.takes = takes
        self.recheck = recheck
        self.issued: list[float] = []
        self.broken = False
        self.renewal = Renewal(self.fetch, what="a number")

    async def fetch(self) -> Fetched[int]:
        """The next number."""
        self.issued.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes)
        if self.broken:
            raise CredentialsError("no more numbers")
        return Fetched(len(self.issued), self.lifetime, self.recheck)

    async def at(self, *times: float) -> list[int]:
        """The values that are handed out at these times."""
        found = []
        for time in times:
            await asyncio.sleep(time - asyncio.get_running_loop().time())
            found.append(await self.renewal.get())
        return found


def test_fetched_once_for_all() -> None:
    """What never expires is fetched once, however many ask at the same time."""

    async def main() -> None:
        issuer = Issuer(takes=1.0)
        assert [1] * 20 == await asyncio.gather(*(issuer.renewal.get() for _ in range(20)))
        assert [1] == await issuer.at(1e6)
        assert [0.0] == issuer.issued

    run_virtual(main())


def test_renewed_before_the_end() -> None:
    """A minute before the end the next one is fetched in the background; nobody waits for it."""

    async def main() -> None:
        issuer = Issuer(600.0, takes=5.0)
        assert [1, 1, 1, 2] == await issuer.at(0.0, 544.0, 546.0, 560.0)
        assert [0.0, 546.0] == issuer.issued

    run_virtual(main())


def test_short_lived() -> None:
    """Where a minute is much of the lifetime, the last quarter of it is the time to renew."""

    async def main() -> None:
        issuer = Issuer(40.0)
        assert [1, 1, 1, 2] == await issuer.at(0.0, 29.0, 31.0, 31.5)

    run_virtual(main())


def test_expired() -> None:
    """What has expired isn't handed out: whoever asks waits for the next one."""

    async def main() -> None:
        issuer = Issuer(600.0)
        assert [1, 2] == await issuer.at(0.0, 601.0)

    run_virtual(main())


def test_recheck() -> None:
    """What stays good but may change is fetched again after a while."""

    async def main() -> None:
        issuer = Issuer(recheck=60.0)
        assert [1, 1, 1, 2] == await issuer.at(0.0, 59.0, 61.0, 62.0)

    run_virtual(main())


def test_a_renewal_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """While renewing fails the old value serves, tried again every ten seconds, until it expires."""

    async def main() -> None:
        issuer = Issuer(600.0)
        await issuer.at(0.0)
        issuer.broken = True
        assert [1, 1, 1, 1] == await issuer.at(541.0, 542.0, 552.0, 599.0)
        await asyncio.sleep(0.5)
        assert [0.0, 541.0, 552.0, 599.0] == issuer.issued
        with pytest.raises(CredentialsError, match="no more numbers"):
            await issuer.at(601.0)
        issuer.broken = False
        assert [6] == await issuer.at(602.0)

    with caplog.at_level(logging.WARNING):
        run_virtual(main())
    assert {"can't renew, the old value serves until it expires"} == {r.getMessage() for r in caplog.records}


def test_a_first_fetch_that_fails() -> None:
    """Without any value the error comes to whoever asks, each time."""

    async def main() -> None:
        issuer = Issuer()
        issuer.broken = True
        for _ in range(2):
            with pytest.raises(CredentialsError, match="no more numbers"):
                await issuer.renewal.get()

    run_virtual(main())


def test_expired_on_arrival() -> None:
    """What arrives expired (clocks differ) is used for a moment, and doesn't make a busy loop."""

    async def main() -> None:
        issuer = Issuer(-5.0, takes=1.0)
        assert [1] == await issuer.at(0.0)
        assert 1 == await issuer.renewal.get()

    run_virtual(main())


def test_an_impatient_caller() -> None:
    """A caller that gives up doesn't end the fetch: the next one profits from it."""

    async def main() -> None:
        issuer = Issuer(takes=5.0)
        for _ in range(4):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await issuer.renewal.get()
        assert 1 == await issuer.renewal.get()
        assert 5.0 == asyncio.get_running_loop().time()

    run_virtual(main())


def test_forced() -> None:
    """A forced renewal fetches whatever the age, and joins a fetch that is running."""

    async def main() -> None:
        issuer = Issuer(takes=1.0)
        await issuer.renewal.get()
        assert [2, 2] == list(await asyncio.gather(issuer.renewal.renew(), issuer.renewal.renew()))

    run_virtual(main())


def test_close() -> None:
    """Closing cancels and awaits a fetch; who waited for it is told."""

    async def main() -> None:
        issuer = Issuer(takes=100.0)
        waiting = asyncio.ensure_future(issuer.renewal.get())
        await asyncio.sleep(1)
        await issuer.renewal.close()
        with pytest.raises(CredentialsError, match="closed"):
            await waiting
        assert 1 == len(asyncio.all_tasks())
        await issuer.renewal.close()

    run_virtual(main())


def test_repr() -> None:
    """The repr tells the state and not the value."""

    async def main() -> list[str]:
        issuer = Issuer(takes=1.0)
        found = [repr(issuer.renewal)]
        task = asyncio.ensure_future(issuer.renewal.get())
        await asyncio.sleep(0.5)
        found.append(repr(issuer.renewal))
        await task
        await asyncio.sleep(0)
        return [*found, repr(issuer.renewal)]

    states = ["never fetched", "renewing", "fetched"]
    assert [f"<Renewal of a number, {state}>" for state in states] == run_virtual(main())
