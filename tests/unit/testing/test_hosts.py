from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from nodeipam.runtime.errors import ConfigurationError
from nodeipam.testing import Host, VirtualClock, VirtualLoop, current_host, outside, run_virtual

Log = list[tuple[str, float]]


def play(scene: Callable[[VirtualLoop, Log], Awaitable[None]]) -> Log:
    """Run a scene; what it logged, rounded to milliseconds."""
    log: Log = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await scene(loop, log)

    run_virtual(main())
    return [(text, round(when, 3)) for text, when in log]


async def ticks(log: Log) -> None:
    """Note a tick every second of the host's clock, for ever."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    try:
        while True:
            await asyncio.sleep(1.0)
            log.append(("tick", loop.now))
    finally:
        log.append(("finally", loop.now))


async def stand_still(loop: VirtualLoop, log: Log, stop: Callable[[Host], None]) -> None:
    """Let a host tick, stop it for four seconds, let it go on, and look at its clocks."""
    host = Host(loop, "standing")
    host.start(ticks(log))
    await asyncio.sleep(1.5)
    stop(host)
    await asyncio.sleep(4.0)
    host.resume()
    await asyncio.sleep(1.1)
    log.append(("monotonic", host.run(VirtualClock().monotonic)))
    log.append(("elapsed", host.run(VirtualClock().elapsed)))
    host.crash()


class TestClocks:
    def test_a_fast_one(self) -> None:
        """On a host whose clock runs a quarter too fast, a second is over after 0.8 s."""

        async def scene(loop: VirtualLoop, log: Log) -> None:
            host = Host(loop, "fast", rate=1.25)
            host.start(ticks(log))
            await asyncio.sleep(1.7)
            host.crash()

        assert [("tick", 0.8), ("tick", 1.6)] == play(scene)

    def test_their_origin(self) -> None:
        """Each host's clocks begin where they like, and those outside see none of it."""

        async def scene(loop: VirtualLoop, log: Log) -> None:
            await asyncio.sleep(2.0)
            host = Host(loop, "late", rate=2.0, origin=100.0)
            log.append(("inside", host.run(loop.time)))
            log.append(("outside of it", host.run(outside, loop.time)))
            log.append(("outside", loop.time()))

        assert [("inside", 104.0), ("outside of it", 2.0), ("outside", 2.0)] == play(scene)

    def test_a_timeout_goes_by_them(self) -> None:
        """A timeout of 3 s on a slow host ends after 3 s of its own clock."""

        async def wait(log: Log) -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3.0):
                    await asyncio.sleep(60.0)
            log.append(("timeout", loop.now))

        async def scene(loop: VirtualLoop, log: Log) -> None:
            await Host(loop, "slow", rate=0.75, origin=7.0).start(wait(log))

        assert [("timeout", 4.0)] == play(scene)

    def test_a_rate_that_stands_still(self) -> None:
        """A clock that doesn't run is refused."""

        async def scene(loop: VirtualLoop, log: Log) -> None:
            with pytest.raises(ConfigurationError, match="more than 0, not 0"):
                Host(loop, "stopped", rate=0.0)

        assert [] == play(scene)


class TestStanding:
    def test_paused(self) -> None:
        """A paused process does nothing, and its timers have gone off by the time it goes on."""

        async def scene(loop: VirtualLoop, log: Log) -> None:
            await stand_still(loop, log, Host.pause)

        clocks = [("monotonic", 6.6), ("elapsed", 6.6)]
        assert [("tick", 1.0), ("tick", 5.5), ("tick", 6.5), *clocks] == play(scene)

    def test_suspended(self) -> None:
        """To a suspended machine the pause took no time, but for the clock that counts suspend."""

        async def scene(loop: VirtualLoop, log: Log) -> None:
            await stand_still(loop, log, Host.suspend)

        assert [("tick", 1.0), ("tick", 6.0), ("monotonic", 2.6), ("elapsed", 6.6)] == play(scene)

    @pytest.mark.parametrize("timers_first", [False, True])
    def test_what_comes_first(self, timers_first: bool) -> None:  # noqa: FBT001
        """What arrived during a pause is handled before the timers that went off, or after them, as asked."""

        async def scene(loop: VirtualLoop, log: Log) -> None:
            host = Host(loop, "paused")
            host.run(loop.call_later, 1.0, log.append, ("timer", 0.0))
            host.pause()
            await asyncio.sleep(2.0)
            host.run(loop.call_soon, log.append, ("arrived", 0.0))
            await asyncio.sleep(1.0)
            host.resume(timers_first=timers_first)
            await asyncio.sleep(0.1)

        expected = ["timer", "arrived"] if timers_first else ["arrived", "timer"]
        assert expected == [text for text, _ in play(scene)]

    def test_crashed(self) -> None:
        """What has crashed never runs again, not even its `finally`."""

        async def scene(loop: VirtualLoop, log: Log) -> None:
            host = Host(loop, "dead")
            log.append((repr(host), 0.0))
            task = host.start(ticks(log))
            await asyncio.sleep(1.5)
            host.crash()
            host.resume()
            task.cancel()
            await asyncio.sleep(10.0)
            log.append((host.state, loop.now))

        assert [("<Host dead: running, clock rate 1>", 0.0), ("tick", 1.0), ("dead", 11.5)] == play(scene)


class TestBelonging:
    def test_what_a_host_starts_is_its_own(self) -> None:
        """A task that was started by a task of a host belongs to that host too."""

        async def scene(loop: VirtualLoop, log: Log) -> None:
            host = Host(loop, "parent")

            async def parent() -> None:
                await asyncio.create_task(child())

            async def child() -> None:
                found = current_host()
                log.append((found.name if found else "none", 0.0))

            await host.start(parent())
            log.append((str(current_host()), 0.0))

        assert [("parent", 0.0), ("None", 0.0)] == play(scene)
