from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from nodeipam.runtime.client import Client
from nodeipam.runtime.errors import APIError, KubeError
from nodeipam.runtime.informer import Informer
from nodeipam.runtime.objects import Request
from nodeipam.runtime.reflector import ReflectorOptions
from nodeipam.testing.loop import run_virtual

from .scripted import (
    HANG,
    WIDGETS,
    Listing,
    Recorder,
    ScriptedClient,
    Stream,
    Widget,
    bookmark,
    error,
    event,
    informer_of,
    running,
    widget,
)

A1, A2, B4 = widget("a", 1), widget("a", 2), widget("b", 4)


def _told(client: ScriptedClient, seconds: float = 10.0) -> list[str]:
    """What a handler registered at the start is told."""

    async def main() -> list[str]:
        informer, recorder = informer_of(client), Recorder()
        informer.add_handler(recorder)
        async with running(informer):
            await asyncio.sleep(seconds)
        return recorder.told

    return run_virtual(main())


class TestHandlers:
    def test_life_of_an_object(self) -> None:
        """A handler is told of each object from its addition to its deletion, in order."""
        client = ScriptedClient(
            [
                Listing(1, [A1]),
                Stream([event("MODIFIED", A2), event("ADDED", B4), event("DELETED", widget("a", 5)), HANG]),
            ]
        )
        assert ["initial a@1", "update a@1 to a@2", "add b@4", "delete a@5"] == _told(client)

    def test_recreated(self) -> None:
        """A new UID under an old name is told as a deletion and an addition."""
        client = ScriptedClient(
            [Listing(1, [A1]), Stream([event("MODIFIED", widget("a", 2, uid="x")), HANG])]
        )
        assert ["initial a@1", "delete a@1", "add a@2"] == _told(client)

    def test_list_after_a_gap(self) -> None:
        """A later list is told as what it changes: deletions first, additions aren't initial."""
        client = ScriptedClient(
            [Listing(4, [A1, B4]), Stream([5.0, error(410)]), Listing(9, [A2, widget("c", 7)])]
        )
        assert ["initial a@1", "initial b@4", "delete b@4", "update a@1 to a@2", "add c@7"] == _told(client)

    def test_each_event_to_all(self) -> None:
        """Each event goes to all handlers, in the order of registration, before the next."""
        told: list[str] = []

        class Named(Recorder):
            def _note(self, word: str) -> None:
                told.append(word)

        async def main() -> None:
            informer = informer_of(ScriptedClient([Listing(4, [A1, B4])]))
            for _ in range(2):
                informer.add_handler(Named())
            async with running(informer):
                await informer.wait_synced()

        run_virtual(main())
        assert ["initial a@1", "initial a@1", "initial b@4", "initial b@4"] == told

    def test_store_first(self) -> None:
        """When a handler is told, the store holds it already."""
        held: list[Widget | None] = []

        async def main() -> None:
            informer = informer_of(ScriptedClient([Listing(1, [A1]), Stream([event("MODIFIED", A2), HANG])]))

            class Looking(Recorder):
                def _note(self, word: str) -> None:
                    held.append(informer.store.get(Request("a")))

            informer.add_handler(Looking())
            async with running(informer):
                await asyncio.sleep(1)

        run_virtual(main())
        assert [A1, A2] == held

    def test_removed(self) -> None:
        """A removed handler is told nothing more, even when it removes itself."""

        async def main() -> list[str]:
            informer, recorder = informer_of(ScriptedClient([Listing(4, [A1, B4])])), Recorder()

            class Once(Recorder):
                def _note(self, word: str) -> None:
                    recorder.told.append(word)
                    registration.remove()

            registration = informer.add_handler(Once())
            async with running(informer):
                await registration.wait_synced()
                await informer.wait_synced()
            return recorder.told

        assert ["initial a@1"] == run_virtual(main())

    def test_transform_and_index(self) -> None:
        """What is cached, indexed and told is what the transformation made."""

        async def main() -> Any:
            client = ScriptedClient([Listing(4, [widget("a", 1, size=3), B4])])
            informer: Informer[dict[str, Any]] = Informer(
                WIDGETS,
                cast("Client", client),
                transform=lambda obj: {
                    "metadata": {
                        "name": obj.metadata.name,
                        "uid": obj.metadata.uid,
                        "resourceVersion": obj.metadata.resource_version,
                    },
                    "size": obj.size,
                },
                indexes={"size": lambda obj: [obj["size"]]},
            )
            async with running(informer):
                await informer.wait_synced()
                return [obj["metadata"]["name"] for obj in informer.store.index("size", 3)]

        assert ["a"] == run_virtual(main())


class TestSynced:
    def test_before_and_after(self) -> None:
        """Nothing is synced before the last object of the first list was told."""
        seen: list[tuple[bool, int, int, bool]] = []

        async def main() -> None:
            informer = informer_of(ScriptedClient([Listing(4, [A1])]))

            class Looking(Recorder):
                def _note(self, word: str) -> None:
                    look()

            def look() -> None:
                seen.append((informer.synced, informer.version, informer.replaces, informer.replacing))

            registration = informer.add_handler(Looking())
            look()
            async with running(informer):
                await registration.wait_synced()
                look()

        run_virtual(main())
        assert [(False, -1, 0, False), (False, -1, 0, True), (True, 4, 1, False)] == seen

    def test_version_while_a_list_is_told(self) -> None:
        """While a list is told the version stays; when that list is older, nothing can be said."""
        versions: list[int] = []

        async def main() -> None:
            script = [Listing(4, [A1]), *(Listing(v, [widget("a", v)]) for v in (9, 6))]
            gaps = [Stream([5.0, bookmark(5), error(410)]), Stream([5.0, error(410)]), Stream([HANG])]
            client = ScriptedClient([step for pair in zip(script, gaps, strict=True) for step in pair])
            informer = informer_of(client)

            class Looking(Recorder):
                def _note(self, word: str) -> None:
                    versions.append(informer.version)

            informer.add_handler(Looking())
            async with running(informer):
                await asyncio.sleep(60)
                versions.append(informer.version)

        run_virtual(main())
        assert [-1, 5, -1, 6] == versions

    def test_bookmark(self) -> None:
        """A bookmark moves the version."""

        async def main() -> int:
            informer = informer_of(ScriptedClient([Listing(4), Stream([bookmark(8), HANG])]))
            async with running(informer):
                await informer.wait(lambda: informer.version > 4)
                return informer.version

        assert 8 == run_virtual(main())


def _burst(first: int, last: int) -> list[Any]:
    return [event("ADDED", widget(f"w{n}", n)) for n in range(first, last)]


class TestLateHandlers:
    def test_given_the_content(self) -> None:
        """A handler that comes late is given what there is, as initial, in the order of the store."""

        async def main() -> tuple[list[str], bool]:
            informer, recorder = informer_of(ScriptedClient([Listing(4, [A1, B4])])), Recorder()
            async with running(informer):
                await informer.wait_synced()
                registration = informer.add_handler(recorder)
                await registration.wait_synced()
                return recorder.told, registration.synced

        assert (["initial a@1", "initial b@4"], True) == run_virtual(main())

    def test_not_synced_at_once(self) -> None:
        """A late handler isn't synced because the informer is."""

        async def main() -> bool:
            informer = informer_of(ScriptedClient([Listing(4, [A1])]))
            async with running(informer):
                await informer.wait_synced()
                return informer.add_handler(Recorder()).synced

        assert not run_virtual(main())

    @pytest.mark.parametrize("steps", range(12))
    def test_meanwhile(self, steps: int) -> None:
        """Whenever a handler comes, in a storm of events and lists, its view ends up as the store's."""

        async def main() -> None:
            content = [widget(f"w{n}", 1) for n in range(100)]
            fewer = [widget(f"w{n}", 500 if n % 3 else 1) for n in range(50, 150)]
            changes = [event("MODIFIED", widget(f"w{n}", 200 + n)) for n in range(90, 0, -1)]
            deletions = [event("DELETED", widget(f"w{n}", 300 + n)) for n in range(0, 100, 7)]
            storm = sorted([*changes, *deletions], key=_version_of)
            client = ScriptedClient(
                [Listing(100, content), Stream([*storm, error(410)]), Listing(600, fewer), Stream([HANG])]
            )
            informer = informer_of(client, options=ReflectorOptions(slice=0.0))
            view = _View()
            async with running(informer):
                await informer.wait_synced()
                for _ in range(steps):
                    await asyncio.sleep(0)
                registration = informer.add_handler(view)
                await registration.wait_synced()
                await asyncio.sleep(60)
                assert {obj.metadata.name: obj for obj in informer.store} == view.objects
                assert 2 == informer.replaces

        run_virtual(main())

    def test_slices(self) -> None:
        """While a late handler is given a long content, other tasks run."""

        async def main() -> int:
            informer = informer_of(
                ScriptedClient([Listing(9, [widget(f"w{n}", 1) for n in range(1000)])]),
                options=ReflectorOptions(slice=0.0),
            )
            turns = 0
            async with running(informer):
                await informer.wait_synced()
                registration = informer.add_handler(Recorder())
                while not registration.synced:
                    await asyncio.sleep(0)
                    turns += 1
            return turns

        assert run_virtual(main()) >= 1000 / 32

    def test_failing(self) -> None:
        """What a late handler raises ends the run as well."""

        async def main() -> None:
            informer = informer_of(ScriptedClient([Listing(4, [A1])]))
            async with asyncio.timeout(60):
                task: asyncio.Task[Any] = asyncio.create_task(informer.run())
                await informer.wait_synced()
                informer.add_handler(Recorder(fail_on="initial", failure=KeyError("late")))
                await task

        with pytest.raises(KeyError, match="late"):
            run_virtual(main())


def _version_of(line: bytes) -> int:
    return int(line.split(b'"resourceVersion":"')[1].split(b'"')[0])


class _View:
    """A handler that keeps a view of its own, and refuses what can't follow from what it knows."""

    def __init__(self) -> None:
        self.objects: dict[str, Widget] = {}

    def on_add(self, obj: Widget, initial: bool) -> None:  # noqa: FBT001 - as in client-go
        """Add to the view."""
        assert obj.metadata.name not in self.objects
        self.objects[obj.metadata.name] = obj

    def on_update(self, old: Widget, new: Widget) -> None:
        """Replace in the view."""
        assert self.objects[old.metadata.name] == old
        self.objects[new.metadata.name] = new

    def on_delete(self, obj: Widget) -> None:
        """Remove from the view."""
        del self.objects[obj.metadata.name]


class TestWait:
    def test_after_each_event(self) -> None:
        """A predicate is asked after each event, though others have arrived already."""

        async def main() -> int:
            informer = informer_of(ScriptedClient([Listing(1), Stream([*_burst(2, 500), HANG])]))
            asked: list[int] = []

            def predicate() -> bool:
                asked.append(informer.version)
                return informer.version >= 400

            async with running(informer):
                await informer.wait(predicate)
            return len({*asked} & {*range(2, 401)})

        assert 399 == run_virtual(main())

    def test_holds_on_return(self) -> None:
        """A predicate that held for a moment only isn't enough."""

        async def main() -> bool:
            informer = informer_of(
                ScriptedClient([Listing(1), Stream([*_burst(2, 9), 1.0, *_burst(20, 30), HANG])])
            )
            async with running(informer):
                await informer.wait(lambda: informer.version in (5, 29))
                return informer.version in (5, 29)

        assert run_virtual(main())

    def test_raising(self) -> None:
        """What a predicate raises goes to whoever waits, and the informer goes on."""

        async def main() -> int:
            informer = informer_of(ScriptedClient([Listing(1), Stream([*_burst(2, 9), HANG])]))

            def predicate() -> bool:
                if informer.version > 3:
                    raise ValueError("enough")
                return False

            async with running(informer):
                with pytest.raises(ValueError, match="enough"):
                    await informer.wait(predicate)
                await informer.wait(lambda: informer.version == 8)
                return informer.version

        assert 8 == run_virtual(main())

    def test_cancelled(self) -> None:
        """A wait that is cancelled leaves nothing behind, and the others go on."""

        async def main() -> int:
            informer = informer_of(ScriptedClient([Listing(1), Stream([5.0, bookmark(2), HANG])]))
            async with running(informer):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await informer.wait(lambda: False)
                await informer.wait(lambda: informer.version == 2)
                return informer.version

        assert 2 == run_virtual(main())

    def test_failed_run(self) -> None:
        """When the run fails, whoever waits gets that failure, now and later."""
        failure = APIError(500, "", "a handler's")

        async def main() -> list[BaseException]:
            informer = informer_of(ScriptedClient([Listing(1, [A1])]))
            informer.add_handler(Recorder(fail_on="initial", failure=failure))
            ends = await asyncio.gather(informer.wait_synced(), informer.run(), return_exceptions=True)
            return [*ends, *await asyncio.gather(informer.wait_synced(), return_exceptions=True)]  # type: ignore[list-item]

        assert [failure] * 3 == run_virtual(main())

    def test_stopped_run(self) -> None:
        """When the run is cancelled, whoever waits is told that it was stopped."""

        async def main() -> None:
            informer = informer_of(ScriptedClient([Listing(1), Stream([HANG])]))
            async with running(informer):
                await informer.wait_synced()
                waiting = asyncio.create_task(informer.wait(lambda: False))
                await asyncio.sleep(1)
            await waiting

        with pytest.raises(KubeError, match=r"informer of widgets\.example\.com was stopped"):
            run_virtual(main())

    def test_runs_once(self) -> None:
        """An informer can't be run a second time."""

        async def main() -> None:
            informer = informer_of(ScriptedClient([Listing(1)]))
            async with running(informer):
                await informer.wait_synced()
                await informer.run()

        with pytest.raises(RuntimeError, match="was run before"):
            run_virtual(main())


class TestOwnWrites:
    def _current(self, *steps: Any, version: str = "5", again: int = 4) -> list[bool]:
        """Whether "a" is current after a write at `version`: at once, and after these steps of the watch.

        The list after the watch is at version `again`.
        """

        async def main() -> list[bool]:
            script = [Listing(2, [A1]), Stream([1.0, *steps]), Listing(again, [A2])]
            informer = informer_of(ScriptedClient([*script]))
            async with running(informer):
                await informer.wait_synced()
                informer.expect(Request("a"), version)
                before = informer.current(Request("a"))
                await asyncio.sleep(10)
                return [before, informer.current(Request("a"))]

        return run_virtual(main())

    def test_its_own_event(self) -> None:
        """The event of the write, or of a later one, makes the object current."""
        assert [False, True] == self._current(event("MODIFIED", widget("a", 5)), HANG)

    def test_earlier_event(self) -> None:
        """An event of an earlier state doesn't."""
        assert [False, False] == self._current(event("MODIFIED", widget("a", 4)), HANG)

    def test_deletion(self) -> None:
        """The deletion of the object makes it current."""
        assert [False, True] == self._current(event("DELETED", widget("a", 6)), HANG)

    def test_bookmark(self) -> None:
        """A bookmark past the write makes it current: the object may have left the selection."""
        assert [False, True] == self._current(bookmark(5), HANG)

    def test_new_list(self) -> None:
        """A new list makes current what it can show, not what was written after it had begun."""
        assert [False, True] == self._current(error(410), version="4")
        assert [False, False] == self._current(error(410), version="5")

    def test_server_set_back(self) -> None:
        """A list that is older than the cache makes everything current: the write was lost with the rest."""
        assert [False, True] == self._current(bookmark(4), error(410), again=3)

    def test_seen_already(self) -> None:
        """A write whose event came before its answer is current at once."""
        assert [True, True] == self._current(HANG, version="2")

    def test_notify(self) -> None:
        """Whoever asked is called when the object is current, before anything later is told."""

        async def main() -> list[str]:
            stream = Stream([1.0, event("MODIFIED", widget("a", 5)), event("ADDED", widget("c", 6)), HANG])
            informer, recorder = informer_of(ScriptedClient([Listing(2, [A1]), stream])), Recorder()
            informer.add_handler(recorder)
            async with running(informer):
                await informer.wait_synced()
                informer.expect(Request("a"), "5")
                informer.notify(Request("a"), lambda: recorder.told.append("current"))
                await asyncio.sleep(10)
            return recorder.told

        assert ["initial a@1", "update a@1 to a@5", "current", "add c@6"] == run_virtual(main())

    def test_not_a_number(self) -> None:
        """A version that is no number is refused, since nothing could ever satisfy it."""
        with pytest.raises(ValueError, match="seven"):
            informer_of(ScriptedClient([])).expect(Request("a"), "seven")


def _seen(client: ScriptedClient, look: Callable[[Informer[Widget]], Any], seconds: float) -> Any:
    async def main() -> Any:
        informer = informer_of(client)
        async with running(informer):
            await asyncio.sleep(seconds)
            return look(informer)

    return run_virtual(main())


class TestForPeople:
    def test_watching(self) -> None:
        """A healthy informer tells what it holds, at which version, and how fresh that is."""
        client = ScriptedClient([Listing(4, [A1, B4]), Stream([2.0, bookmark(12345), HANG])])
        assert "<Informer widgets.example.com: 2 objects at 12345, watching, last event 3 s ago>" == _seen(
            client, repr, 5.0
        )

    def test_failing(self) -> None:
        """A failing one tells why."""
        client = ScriptedClient([APIError(404, "NotFound", "page not found") for _ in range(9)])
        assert (
            "<Informer widgets.example.com: nothing yet, failing, "
            "widgets.example.com: 404 the CustomResourceDefinition is missing>"
        ) == _seen(client, repr, 5.0)

    def test_outside_of_a_loop(self) -> None:
        """Looking at an informer needs no event loop."""
        client = ScriptedClient([Listing(4, [A1])])
        informers: list[Informer[Widget]] = []
        before = repr(informer_of(client))
        _seen(client, informers.append, 1.0)
        assert "<Informer widgets.example.com: nothing yet, not started>" == before
        assert "<Informer widgets.example.com: 1 objects at 4, ended>" == repr(informers[0])

    def test_age_is_a_metric(self) -> None:
        """How long ago the last event or bookmark came is asked for at each scrape, while it runs."""
        client = ScriptedClient([Listing(4, [A1]), Stream([2.0, bookmark(5), HANG])])

        def age(_: Any = None) -> float | None:
            labels = {"resource": "widgets.example.com"}
            return client.metrics.registry.get_sample_value("reflector_last_activity_seconds", labels)

        assert (3.0, None) == (_seen(client, age, 5.0), age())
