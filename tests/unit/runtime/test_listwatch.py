from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from nodeipam.runtime.errors import APIError, ProtocolError, TransportError
from nodeipam.runtime.informer import Informer
from nodeipam.runtime.ratelimit import Backoff
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

A1, A2, A3, B4 = widget("a", 1), widget("a", 2), widget("a", 3), widget("b", 4)
EXACT = Backoff(base=0.8, cap=30.0, jitter=0.0)


def _after(
    seconds: float,
    client: ScriptedClient,
    look: Callable[[Informer[Widget]], Any] = lambda informer: informer.store.list(),
    **options: Any,
) -> Any:
    """What `look` sees after an informer ran for so many seconds."""

    async def main() -> Any:
        informer = informer_of(client, options=ReflectorOptions(**{"backoff": EXACT, **options}))
        async with running(informer):
            await asyncio.sleep(seconds)
            return look(informer)

    return run_virtual(main())


def _sample(client: ScriptedClient, family: str, **labels: str) -> float | None:
    return client.metrics.registry.get_sample_value(family, {"resource": str(WIDGETS), **labels})


class TestListing:
    def test_pages(self) -> None:
        """All pages together are the content, at the version of the list."""
        client = ScriptedClient([Listing(9, [A1, B4, widget("c", 5)])])
        assert (3, 9) == _after(1, client, lambda informer: (len(informer.store), informer.version))

    def test_arguments(self) -> None:
        """List and watch ask for the same objects."""
        client = ScriptedClient([Listing(9)])

        async def main() -> None:
            async with running(informer_of(client, namespace="n", label_selector="l", field_selector="f")):
                await asyncio.sleep(1)

        run_virtual(main())
        (_, _, listed), (_, _, watched) = client.calls
        assert {"namespace": "n", "label_selector": "l", "field_selector": "f", "limit": 100} == listed
        assert listed.items() - {("limit", 100)} <= watched.items()
        assert 200 <= watched["timeout_seconds"] <= 240 < watched["timeout_seconds"] + 41
        assert watched["idle"] > watched["timeout_seconds"]

    @pytest.mark.parametrize(
        "broken",
        [
            pytest.param(Listing(9, [A1, B4, TransportError("cut off")]), id="cut off"),
            pytest.param(Listing("", [A1]), id="no version"),
            pytest.param(Listing("nine", [A1]), id="no number"),
            pytest.param(Listing(9, [widget("", 1)]), id="no name"),
            pytest.param(APIError(500, "InternalError", "oops"), id="500"),
        ],
    )
    def test_broken(self, broken: Any) -> None:
        """A list that breaks changes nothing and is repeated after a pause."""
        client = ScriptedClient([broken, Listing(10, [A1])])
        assert (["list", "list", "watch"], [A1]) == (_after(2, client, lambda _: client.verbs), [A1])
        assert [0.0, 0.8, 0.8] == client.times

    def test_initial_list_is_counted(self) -> None:
        """Each list is counted by its reason, the first one too."""
        client = ScriptedClient([Listing(9)])
        _after(1, client)
        assert 1.0 == _sample(client, "reflector_relists_total", reason="initial")

    def test_long_list_lets_others_run(self) -> None:
        """While a long list is taken, other tasks run."""
        turns = 0

        async def main() -> int:
            nonlocal turns
            informer = informer_of(
                ScriptedClient([Listing(9, [widget(f"w{n}", 1) for n in range(1000)])]),
                options=ReflectorOptions(slice=0.0),
            )
            async with running(informer):
                while not informer.synced:
                    await asyncio.sleep(0)
                    turns += 1
            return turns

        assert run_virtual(main()) >= 1000 / 32


class TestWatching:
    def test_events(self) -> None:
        """Events change the content, and the version."""
        client = ScriptedClient([Listing(1, [A1]), Stream([event("MODIFIED", A2), event("ADDED", B4), HANG])])
        assert ([A2, B4], 4) == _after(1, client, lambda informer: (informer.store.list(), informer.version))

    def test_close_is_followed_by_a_watch(self) -> None:
        """When a watch ends, the next starts where it ended, without a list."""
        client = ScriptedClient([Listing(1), Stream([event("ADDED", A2), 5.0]), Stream([5.0, bookmark(7)])])
        _after(30, client)
        assert (["list", "watch", "watch", "watch"], ["1", "2", "7"]) == (client.verbs, client.watched)

    def test_cut_off(self) -> None:
        """A connection that is reset is like a close."""
        client = ScriptedClient([Listing(1), Stream([event("ADDED", A2), TransportError("reset")])])
        _after(1, client)
        assert ["1", "2"] == client.watched

    def test_cut_off_within_a_line(self) -> None:
        """Half a line at the end of a watch is a connection that broke, and no garbage."""
        half = event("ADDED", B4)[:50]
        client = ScriptedClient(
            [Listing(1), Stream([event("ADDED", A2), half]), Stream([event("ADDED", B4), HANG])]
        )
        assert [A2, B4] == _after(1, client)
        assert ["list", "watch", "watch"] == client.verbs

    def test_closing_at_once(self) -> None:
        """A server that closes each watch at once is asked five times in 20 s, not thousands of times."""
        client = ScriptedClient([Listing(1), *[Stream() for _ in range(100)]])
        _after(20, client)
        assert 6 == len(client.calls)

    def test_silence(self) -> None:
        """A watch that says nothing for 90 s is given up, and everything listed."""
        client = ScriptedClient([Listing(1), Stream([60.0, bookmark(2), HANG]), Listing(3)])
        _after(200, client)
        assert ["list", "watch", "list", "watch"] == client.verbs
        assert 150.0 < client.times[2] <= 152.0
        assert 1.0 == _sample(client, "reflector_relists_total", reason="silent")

    def test_noise_is_silence(self) -> None:
        """Events that aren't taken don't count as a sign of life."""
        noise = [step for _ in range(100) for step in (event("MODIFIED", A1), 10.0)]
        client = ScriptedClient([Listing(1, [A1]), Stream(noise), Listing(3)])
        _after(100, client)
        assert ["list", "watch", "list", "watch"] == client.verbs

    def test_steady_bookmarks(self) -> None:
        """A quiet watch with a bookmark a minute is left alone."""
        quiet = [step for n in range(2, 6) for step in (60.0, bookmark(n))]
        client = ScriptedClient([Listing(1), Stream([*quiet, HANG])])
        _after(240, client)
        assert ["list", "watch"] == client.verbs

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(APIError(410, "Expired", "too old"), id="response"),
            pytest.param(Stream([5.0, error(410, "Expired", "too old")]), id="event"),
        ],
    )
    def test_expired(self, answer: Any) -> None:
        """410, as answer or as event, is followed by a list."""
        client = ScriptedClient([Listing(1, [A1]), answer, Listing(4, [B4])])
        assert [B4] == _after(10, client)

    def test_burst_lets_others_run(self) -> None:
        """While a burst of events is read that has arrived already, other tasks run."""

        async def main() -> int:
            burst = [event("ADDED", widget(f"w{n}", n + 2)) for n in range(1000)]
            informer = informer_of(
                ScriptedClient([Listing(1), Stream([*burst, HANG])]), options=ReflectorOptions(slice=0.0)
            )
            turns = 0
            async with running(informer):
                while len(informer.store) < 1000:
                    await asyncio.sleep(0)
                    turns += 1
            return turns

        assert run_virtual(main()) >= 1000 / 32


class TestEventsNotTaken:
    def test_replay(self) -> None:
        """An event older than the watch is a replay: it doesn't bring back what was deleted."""
        client = ScriptedClient(
            [Listing(1, [A1]), Stream([event("DELETED", A3), event("MODIFIED", A2), bookmark(2), HANG])]
        )
        assert ([], 3) == _after(1, client, lambda informer: (informer.store.list(), informer.version))
        assert 2.0 == _sample(client, "reflector_ignored_events_total", reason="stale")

    def test_deletion_at_an_old_version(self) -> None:
        """A deletion is taken at any version, and the version stays."""
        client = ScriptedClient([Listing(5, [A2]), Stream([event("DELETED", A2), HANG])])
        assert ([], 5) == _after(1, client, lambda informer: (informer.store.list(), informer.version))

    def test_deletion_of_the_unknown(self) -> None:
        """The deletion of an object that isn't held changes nothing, but everything before it was told."""
        client = ScriptedClient([Listing(1, [A1]), Stream([event("DELETED", B4), HANG])])
        assert ([A1], 4) == _after(1, client, lambda informer: (informer.store.list(), informer.version))

    def test_unknown_type(self) -> None:
        """An event of an unknown type is ignored and counted, and the watch goes on."""
        client = ScriptedClient([Listing(1), Stream([event("RENAMED", A1), event("ADDED", A2), HANG])])
        assert [A2] == _after(1, client)
        assert 1.0 == _sample(client, "reflector_ignored_events_total", reason="unknown_type")

    @pytest.mark.parametrize("garbage", [b"<html>\n", ProtocolError("a line of 9 MiB")])
    def test_garbage(self, garbage: Any) -> None:
        """Garbage in a watch is followed by a list, after a pause."""
        client = ScriptedClient([Listing(1), Stream([garbage]), Listing(3, [A3])])
        assert [A3] == _after(1, client)
        assert [0.0, 0.0, 0.8, 0.8] == client.times
        assert 1.0 == _sample(client, "reflector_relists_total", reason="protocol")

    def test_garbage_without_end(self) -> None:
        """A server that speaks garbage in every watch is listed more and more rarely."""
        script = [step for n in range(1, 100) for step in (Listing(n), Stream([b"garbage\n"]))]
        client = ScriptedClient(script)
        _after(60, client)
        assert 7 == client.verbs.count("list")


class TestProblems:
    def test_shown_and_cleared(self) -> None:
        """Why it can't list is shown, and no longer once it works."""
        client = ScriptedClient([APIError(404, "NotFound", "page not found"), Listing(1)])
        problems = []

        def look(informer: Informer[Widget]) -> None:
            problems.append(informer.problem)

        async def main() -> None:
            informer = informer_of(client, options=ReflectorOptions(backoff=EXACT))
            async with running(informer):
                await asyncio.sleep(0.5)
                look(informer)
                await asyncio.sleep(0.5)
                look(informer)

        run_virtual(main())
        assert ["widgets.example.com: 404 the CustomResourceDefinition is missing", None] == problems

    def test_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """A problem that stays is logged once."""
        missing = [APIError(404, "NotFound", "page not found") for _ in range(10)]
        _after(60, ScriptedClient([*missing]))
        assert 1 == [record.message for record in caplog.records].count("can't list or watch")

    def test_picked_up(self) -> None:
        """A kind that appears later is listed then."""
        missing = [APIError(404, "NotFound", "page not found") for _ in range(10)]
        assert [A1] == _after(240, ScriptedClient([*missing, Listing(1, [A1])]))


class TestStreamedList:
    def test_from_the_watch(self) -> None:
        """What comes before the bookmark is the list, applied as one; what comes after are events."""
        stream = Stream(
            [event("ADDED", A1), event("ADDED", B4), bookmark(9, initial=True), bookmark(12), HANG]
        )
        client = ScriptedClient([stream])
        assert ([A1, B4], 1, 12) == _after(
            1,
            client,
            lambda informer: (informer.store.list(), informer.replaces, informer.version),
            watch_list=True,
        )
        assert ([""], True) == (client.watched, client.calls[0][2]["send_initial_events"])

    def test_nothing_before_the_bookmark(self) -> None:
        """Until the bookmark has come, nothing is handed on."""
        client = ScriptedClient([Stream([event("ADDED", A1), 10.0, bookmark(9, initial=True), HANG])])
        assert [] == _after(5, client, watch_list=True)

    def test_refused(self) -> None:
        """A server that can't stream is listed, and never asked again."""
        script = [
            APIError(422, "Invalid", "sendInitialEvents is forbidden"),
            Listing(5, [A1]),
            Stream([5.0, error(410)]),
            Listing(6, [A2]),
        ]
        client = ScriptedClient([*script])
        assert [A2] == _after(20, client, watch_list=True)
        assert ["watch", "list", "watch", "list", "watch"] == client.verbs

    def test_deadline(self) -> None:
        """A server that never comes to the end of the initial events is listed."""
        endless = [step for n in range(2, 200) for step in (event("ADDED", widget(f"w{n}", n)), 1.0)]
        client = ScriptedClient([Stream(endless), Listing(5, [A1])])
        assert [A1] == _after(70, client, watch_list=True)
        assert 60.0 == client.times[1]

    def test_broken_off(self) -> None:
        """A stream that breaks before the bookmark changes nothing and is tried again."""
        whole = Stream([event("ADDED", B4), bookmark(9, initial=True), HANG])
        client = ScriptedClient([Stream([event("ADDED", A1), TransportError("reset")]), whole])
        assert [B4] == _after(10, client, watch_list=True)


class TestRestoredEtcd:
    def test_older_list(self) -> None:
        """A list older than the cache replaces everything: the server's past is the truth now."""
        client = ScriptedClient([Listing(900, [widget("a", 800), B4]), Stream([HANG]), Listing(500, [A2])])
        assert ([A2], 500) == _after(100, client, lambda informer: (informer.store.list(), informer.version))
        assert 1.0 == _sample(client, "reflector_relists_total", reason="went_back")


class TestFailingTarget:
    @pytest.mark.parametrize(
        "failure", [RuntimeError("bug"), APIError(410, "Expired", "a handler's own"), TimeoutError("its own")]
    )
    @pytest.mark.parametrize("word", ["initial", "add"])
    def test_ends_the_run(self, failure: Exception, word: str) -> None:
        """Whatever a handler raises ends the run as it is, and isn't taken for the server's."""

        async def main() -> None:
            informer = informer_of(ScriptedClient([Listing(1, [A1]), Stream([event("ADDED", B4), HANG])]))
            informer.add_handler(Recorder(fail_on=word, failure=failure))
            await informer.run()

        with pytest.raises(type(failure)) as caught:
            run_virtual(main())
        assert caught.value is failure


_DOWN = APIError(503, "", "down")
_CONTENT = [A1, B4, widget("c", 3)]
_REST = [
    Stream([event("ADDED", widget("d", 15)), 1.0, bookmark(16)]),
    Stream([TransportError("reset")]),
    Stream([1.0, error(410)]),
]
PAGED = [_DOWN, Listing(11, _CONTENT), *_REST, Listing(19, [A1])]
STREAMED = [
    _DOWN,
    Stream([event("ADDED", A1), event("ADDED", B4), bookmark(11, initial=True), 1.0]),
    *_REST,
    Stream([event("ADDED", A1), bookmark(19, initial=True), HANG]),
]


class TestCancellation:
    @pytest.mark.parametrize("script", [PAGED, STREAMED], ids=["paged", "streamed"])
    def test_at_every_step(self, script: list[Any]) -> None:
        """Cancelled at any step, the run ends as cancelled and leaves no task, pager or stream behind."""

        async def main(seconds: float, steps: int) -> tuple[bool, int, int]:
            client = ScriptedClient([*script])
            options = ReflectorOptions(slice=0.0, backoff=EXACT, watch_list=script is STREAMED)
            task: asyncio.Task[Any] = asyncio.create_task(informer_of(client, options=options).run())
            await asyncio.sleep(seconds)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled(), client.open, len(asyncio.all_tasks()) - 1

        for seconds in (0.0, 0.8, 1.8, 2.8, 4.0):
            for steps in range(30):
                assert (True, 0, 0) == run_virtual(main(seconds, steps)), (seconds, steps)

    def test_whole_script(self) -> None:
        """Left alone, both scripts are carried out to their end."""
        for script, streamed in ((PAGED, False), (STREAMED, True)):
            client = ScriptedClient([*script])
            assert [A1] == _after(10, client, watch_list=streamed)
            assert [] == client.script
