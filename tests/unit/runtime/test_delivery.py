from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from nodeipam.runtime.delivery import Delivery, Registration
from nodeipam.runtime.ownwrites import OwnWrites
from nodeipam.runtime.slices import Slices
from nodeipam.runtime.store import Store
from nodeipam.runtime.watchevent import Deleted, Put
from nodeipam.testing.loop import VirtualClock, run_virtual

from .scripted import WIDGETS, Recorder, Widget, widget

A1, A2, B4 = widget("a", 1), widget("a", 2), widget("b", 4)


class _Bench:
    """A delivery by itself."""

    def __init__(self) -> None:
        self.processed: list[int] = []
        self.writes = OwnWrites()
        self.delivery: Delivery[Widget] = Delivery(
            Store(WIDGETS), self.writes, self._note, slices=lambda: Slices(VirtualClock(), 0.0)
        )

    def _note(self) -> None:
        self.processed.append(self.delivery.version)

    def add(self, handler: Any) -> Registration[Widget]:
        """Register a handler."""

        async def wait(predicate: Callable[[], bool]) -> None:
            for _ in iter(predicate, True):
                await asyncio.sleep(0)

        registration = Registration(handler, WIDGETS, wait, self.delivery.remove)
        self.delivery.add(registration)
        return registration

    async def replace(self, version: int, *objects: Widget) -> None:
        """Hand on a list."""
        await self.delivery.replace(Store(WIDGETS, objects=objects), version)


class TestApply:
    def test_order(self) -> None:
        """Handlers are told before the version moves, and that before whoever waits is told."""

        async def main() -> list[Any]:
            bench = _Bench()
            seen: list[Any] = []

            class Looking(Recorder):
                def _note(self, word: str) -> None:
                    seen.append((word, bench.delivery.version, [*bench.processed]))

            bench.add(Looking())
            await bench.replace(1)
            bench.delivery.apply(Put(A2, 2))
            return [*seen, bench.processed]

        assert [("add a@2", 1, [1]), [1, 2]] == run_virtual(main())

    def test_nothing_new(self) -> None:
        """An event that changes nothing is told to nobody, and still says how far the watch has come."""

        async def main() -> tuple[bool, bool, int, list[str]]:
            bench, recorder = _Bench(), Recorder()
            bench.add(recorder)
            await bench.replace(2, A2)
            taken = bench.delivery.apply(Put(A1, 3)), bench.delivery.apply(Deleted(B4, 4))
            return (*taken, bench.delivery.version, recorder.told)

        assert (False, False, 4, ["initial a@2"]) == run_virtual(main())


class TestCancelledReplace:
    def test_stays_unfinished(self) -> None:
        """A list whose handing on was cancelled leaves `replacing` set: what handlers know is a mixture."""

        async def main() -> tuple[bool, int, int]:
            bench = _Bench()
            bench.add(Recorder())
            many = [widget(f"w{number}", 1) for number in range(100)]
            task = asyncio.create_task(bench.replace(5, *many))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            return bench.delivery.replacing, bench.delivery.version, bench.delivery.replaces

        assert (True, -1, 0) == run_virtual(main())


class TestRegisteredWhileAListIsHandedOn:
    @pytest.mark.parametrize("lists", [1, 2])
    @pytest.mark.parametrize("place", [0, 40, 99])
    def test_knows_everything_once(self, lists: int, place: int) -> None:
        """A handler that comes amid a list is told of each object once, as it is now."""

        async def main() -> list[str]:
            bench, late = _Bench(), Recorder()
            registrations: list[Registration[Widget]] = []

            class Bringing(Recorder):
                def _note(self, word: str) -> None:
                    if f"w{place}@{lists}" in word.rsplit(maxsplit=1)[-1]:
                        registrations.append(bench.add(late))

            bench.add(Bringing())
            replaying = asyncio.create_task(bench.delivery.replay())
            for version in range(1, lists + 1):
                await bench.replace(version, *[widget(f"w{number}", version) for number in range(100)])
            await registrations[0].wait_synced()
            replaying.cancel()
            await asyncio.wait([replaying])
            return late.told

        assert [f"initial w{number}@{lists}" for number in range(100)] == run_virtual(main())

    def test_removed_before_its_turn(self) -> None:
        """A late handler that is removed before its turn is told nothing."""

        async def main() -> list[str]:
            bench, late = _Bench(), Recorder()
            await bench.replace(1, A1)
            bench.add(late).remove()
            replaying = asyncio.create_task(bench.delivery.replay())
            await asyncio.sleep(1)
            replaying.cancel()
            await asyncio.wait([replaying])
            return late.told

        assert [] == run_virtual(main())


class TestRepr:
    def test_registration(self) -> None:
        """A registration tells whose it is, and how far it is."""

        class Ledger(Recorder):
            def __repr__(self) -> str:
                return "<Ledger>"

        async def main() -> list[str]:
            bench = _Bench()
            registration = bench.add(Ledger())
            seen = [repr(registration)]
            await bench.replace(1, A1)
            seen.append(repr(registration))
            registration.remove()
            return [*seen, repr(registration), repr(bench.delivery)]

        start = "<Registration of <Ledger> for widgets.example.com: "
        assert [
            f"{start}not synced>",
            f"{start}synced>",
            f"{start}removed>",
            "<Delivery of <Store widgets.example.com: 1 objects> to 0 handlers, 0 to come>",
        ] == run_virtual(main())
