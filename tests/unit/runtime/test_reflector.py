from __future__ import annotations

from typing import Any

import pytest

from nodeipam.runtime.errors import (
    APIError,
    Cause,
    ConfigurationError,
    KubeError,
    ProtocolError,
    TransportError,
)
from nodeipam.runtime.objects import Resource
from nodeipam.runtime.ratelimit import Backoff
from nodeipam.runtime.reflector import List, Reflector, ReflectorOptions, StreamedList, Wait, Watch

from .scripted import WIDGETS

EXACT = Backoff(base=0.8, cap=30.0, jitter=0.0)
EXPIRED = APIError(410, "Expired", "too old")
TOO_LARGE = APIError(504, "Timeout", "too large", causes=(Cause("ResourceVersionTooLarge"),))


class _Half:
    """A random source without surprises."""

    def random(self) -> float:
        return 0.5

    def getrandbits(self, k: int, /) -> int:
        return 0


def _reflector(resource: Resource[Any] = WIDGETS, **options: Any) -> Reflector:
    return Reflector(resource, ReflectorOptions(**{"backoff": EXACT, **options}), rng=_Half())


def _watching(**options: Any) -> Reflector:
    """A reflector that listed at version 10 and has been watching since second 0."""
    reflector = _reflector(**options)
    reflector.listed(10, 0.0)
    reflector.opened(0.0)
    return reflector


def _busy() -> Reflector:
    """A reflector whose watch brought version 11 in second 5."""
    reflector = _watching()
    reflector.moved(11, 5.0)
    return reflector


def _waits(seconds: float) -> Any:
    return Wait(pytest.approx(seconds))  # type: ignore[arg-type]


class TestCourse:
    def test_lists_first(self) -> None:
        """It begins with a list."""
        assert List() == _reflector().next(0.0)

    def test_then_watches(self) -> None:
        """After the list it watches from the list's version, for a random time between 200 and 240 s."""
        reflector = _reflector()
        reflector.listed(10, 0.0)
        assert Watch(10, 220) == reflector.next(0.0)

    def test_event_moves_the_version(self) -> None:
        """An event moves the version, so the next watch starts after it."""
        reflector = _busy()
        reflector.ended(200.0)
        assert Watch(11, 220) == reflector.next(200.0)

    def test_bookmark_moves_the_version(self) -> None:
        """A bookmark moves the version, and keeps the watch believed for another 90 s."""
        reflector = _watching()
        reflector.moved(15, 60.0)
        assert (15, 150.0) == (reflector.version, reflector.deadline)

    def test_version_never_goes_back(self) -> None:
        """A deletion told late doesn't take the version back."""
        reflector = _busy()
        reflector.moved(3, 6.0)
        assert 11 == reflector.version


class TestEnd:
    def test_close(self) -> None:
        """A normal close is followed by a watch from the last version, at once."""
        reflector = _watching()
        reflector.ended(220.0)
        assert Watch(10, 220) == reflector.next(220.0)

    def test_cut_off(self) -> None:
        """An unexpected end, a reset or the idle limit is like a close: no list."""
        reflector = _watching()
        reflector.failed(TransportError("reset"), 100.0)
        assert (Watch(10, 220), None) == (reflector.next(100.0), reflector.problem)

    def test_at_once(self) -> None:
        """A watch that ends within a second without an event is an error: back off, same version."""
        reflector = _watching()
        reflector.ended(0.9)
        assert _waits(0.8) == reflector.next(0.9)
        assert Watch(10, 220) == reflector.next(2.0)

    def test_at_once_with_an_event(self) -> None:
        """A watch that ends soon but brought an event did its work."""
        reflector = _watching()
        reflector.moved(11, 0.1)
        reflector.ended(0.2)
        assert Watch(11, 220) == reflector.next(0.2)

    def test_replayed_bookmark(self) -> None:
        """A bookmark that says nothing new doesn't make a short watch a good one."""
        reflector = _watching()
        reflector.moved(10, 0.1)
        reflector.ended(0.2)
        assert _waits(0.8) == reflector.next(0.2)


class TestLostVersion:
    @pytest.mark.parametrize(
        "error,reason",
        [pytest.param(EXPIRED, "expired", id="410"), pytest.param(TOO_LARGE, "version_too_large", id="504")],
    )
    def test_lists_again(self, error: APIError, reason: str) -> None:
        """410, as answer or as event, and 504 ResourceVersionTooLarge: forget the version, list at once."""
        reflector = _busy()
        reflector.failed(error, 20.0)
        assert (List(), reason) == (reflector.next(20.0), reflector.reason)

    def test_refused_reopening(self) -> None:
        """A 410 in the answer to a watch, after one that brought something, is followed by a list at once."""
        reflector = _busy()
        reflector.ended(200.0)
        reflector.failed(EXPIRED, 200.0)
        assert List() == reflector.next(200.0)

    def test_again_and_again(self) -> None:
        """A server that answers 410 to the version of its own list is asked more and more rarely."""
        reflector, now, delays = _reflector(), 0.0, []
        for version in (10, 11, 12):
            reflector.listed(version, now)
            reflector.failed(EXPIRED, now)
            action = reflector.next(now)
            assert isinstance(action, Wait)
            delays.append(round(action.seconds, 6))
            now += action.seconds
        assert [0.8, 1.6, 3.2] == delays
        assert "widgets.example.com: a list is good for nothing: expired" == reflector.problem

    def test_while_listing(self) -> None:
        """A page token that expired starts the list over, after a pause."""
        reflector = _reflector()
        reflector.failed(EXPIRED, 0.0)
        assert (Wait(0.8), List()) == (reflector.next(0.0), reflector.next(0.8))

    def test_other_504(self) -> None:
        """A 504 for another cause keeps the version."""
        reflector = _busy()
        reflector.failed(APIError(504, "Timeout", "slow"), 20.0)
        assert Watch(11, 220) == reflector.next(30.0)


class TestSilence:
    def test_silent(self) -> None:
        """90 s open with neither event nor bookmark: forget the version, list."""
        reflector = _busy()
        reflector.timed_out(95.1)
        assert (List(), "silent") == (reflector.next(95.1), reflector.reason)

    def test_deadline(self) -> None:
        """Silence counts from the opening, or from the last event."""
        assert (90.0, 95.0) == (_watching().deadline, _busy().deadline)

    def test_timer_of_a_stalled_process(self) -> None:
        """A timer that fires although something was read since isn't silence: watch on from there."""
        reflector = _busy()
        reflector.timed_out(94.0)
        assert Watch(11, 220) == reflector.next(94.0)


class TestFailures:
    @pytest.mark.parametrize(
        "error",
        [
            pytest.param(TransportError("refused"), id="refused"),
            pytest.param(APIError(401, "Unauthorized", "who?"), id="401"),
            pytest.param(APIError(403, "Forbidden", "no"), id="403"),
            pytest.param(APIError(429, "TooManyRequests", "busy"), id="429"),
            pytest.param(APIError(500, "InternalError", "oops"), id="500"),
            pytest.param(APIError(503, "", "down", structured=False), id="503"),
        ],
    )
    def test_backs_off(self, error: KubeError) -> None:
        """Refused, 401, 403, 429 and 5xx: back off, same version."""
        reflector = _reflector()
        reflector.listed(10, 0.0)
        reflector.failed(error, 0.0)
        assert (Wait(0.8), Watch(10, 220)) == (reflector.next(0.0), reflector.next(0.8))

    def test_doubles(self) -> None:
        """The pauses double from 0.8 s up to 30 s."""
        reflector, now, delays = _reflector(), 0.0, []
        for _ in range(8):
            reflector.failed(TransportError("refused"), now)
            action = reflector.next(now)
            assert isinstance(action, Wait)
            delays.append(round(action.seconds, 6))
            now += action.seconds
        assert [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0] == delays

    def test_full_jitter(self) -> None:
        """By default a pause is anything up to its length, so that a thousand clients don't come at once."""
        reflector = _reflector(backoff=ReflectorOptions().backoff)
        reflector.failed(TransportError("refused"), 0.0)
        assert Wait(0.4) == reflector.next(0.0)

    @pytest.mark.parametrize("wish,pause", [(0.1, 0.8), (7.0, 7.0)])
    def test_retry_after(self, wish: float, pause: float) -> None:
        """A server's Retry-After lengthens the pause."""
        reflector = _reflector()
        reflector.failed(APIError(429, "TooManyRequests", "busy", retry_after=wish), 0.0)
        assert Wait(pause) == reflector.next(0.0)

    def test_forgotten_once_settled(self) -> None:
        """A watch that stayed open for ten seconds makes earlier failures forgotten."""
        reflector = _reflector()
        for _ in range(6):
            reflector.failed(TransportError("refused"), 0.0)
        reflector.listed(10, 60.0)
        reflector.opened(60.0)
        reflector.ended(70.0)
        reflector.failed(TransportError("refused"), 70.0)
        assert _waits(0.8) == reflector.next(70.0)

    def test_not_forgotten_sooner(self) -> None:
        """A server that lists well and always breaks the watch is asked more and more rarely."""
        reflector, now, delays = _reflector(), 0.0, []
        for version in (10, 20, 30):
            reflector.listed(version, now)
            reflector.opened(now)
            reflector.moved(version + 1, now)
            reflector.failed(ProtocolError("garbage"), now + 1)
            action = reflector.next(now + 1)
            assert isinstance(action, Wait)
            delays.append(round(action.seconds, 6))
            now += 1 + action.seconds
        assert [0.8, 1.6, 3.2] == delays

    def test_garbage(self) -> None:
        """A line over the limit, not JSON, not decodable: an error, then a list."""
        reflector = _busy()
        reflector.failed(ProtocolError("a line of 9 MiB"), 20.0)
        assert (_waits(0.8), List(), "protocol") == (
            reflector.next(20.0),
            reflector.next(20.8),
            reflector.reason,
        )


class TestProblem:
    def test_missing_definition(self) -> None:
        """A 404 of a custom kind names what is missing, and the kind is listed when it is back."""
        reflector = _reflector()
        reflector.listed(10, 0.0)
        reflector.failed(APIError(404, "NotFound", "page not found"), 0.0)
        assert "widgets.example.com: 404 the CustomResourceDefinition is missing" == reflector.problem
        assert (List(), "not_found") == (reflector.next(0.8), reflector.reason)

    @pytest.mark.parametrize("version", ["v1", "resource.k8s.io/v1"])
    def test_missing_kind(self, version: str) -> None:
        """A 404 of a built-in kind is no matter of a definition."""
        reflector = _reflector(Resource(version, "Thing", plural="things", namespaced=False, type=dict))
        reflector.failed(APIError(404, "NotFound", "page not found"), 0.0)
        assert "404 not served" in str(reflector.problem)

    def test_missing_rights(self) -> None:
        """A 403 repeats what the server says, which names user, verb and resource."""
        reflector = _reflector()
        reflector.failed(APIError(403, "Forbidden", 'User "x" cannot list'), 0.0)
        assert (
            'widgets.example.com: 403 no right to list and watch: User "x" cannot list' == reflector.problem
        )

    def test_cleared(self) -> None:
        """A problem is over when a watch is open, not when a list went well."""
        reflector = _reflector()
        reflector.failed(APIError(403, "Forbidden", "no"), 0.0)
        reflector.listed(10, 1.0)
        listed = reflector.problem
        reflector.opened(1.0)
        assert (True, None) == (bool(listed), reflector.problem)

    def test_first_expiry(self) -> None:
        """A version that expired once is no problem to tell of."""
        reflector = _watching()
        reflector.failed(EXPIRED, 60.0)
        assert reflector.problem is None


class TestStreamedList:
    def test_asked_for(self) -> None:
        """With watch_list the first list is streamed; without it is not."""
        assert StreamedList(220) == _reflector(watch_list=True).next(0.0)

    @pytest.mark.parametrize("code", [400, 422])
    def test_refused(self, code: int) -> None:
        """A server that can't is asked for pages at once, and from then on."""
        reflector = _reflector(watch_list=True)
        reflector.failed(APIError(code, "Invalid", "sendInitialEvents is forbidden"), 0.0)
        first = reflector.next(0.0)
        reflector.listed(10, 0.0)
        reflector.failed(EXPIRED, 0.0)
        assert (List(), List()) == (first, reflector.next(9.0))

    def test_deadline(self) -> None:
        """A server that doesn't come to the end within 60 s is asked for pages."""
        reflector = _reflector(watch_list=True)
        reflector.opened(0.0)
        deadline = reflector.deadline
        reflector.timed_out(60.0)
        assert (60.0, List()) == (deadline, reflector.next(60.0))

    def test_other_failures(self) -> None:
        """Any other failure is no reason to give up streaming."""
        reflector = _reflector(watch_list=True)
        reflector.failed(APIError(503, "", "down"), 0.0)
        assert StreamedList(220) == reflector.next(0.8)

    def test_refused_watch(self) -> None:
        """A 422 to an ordinary watch is a failure like others."""
        reflector = _reflector(watch_list=True)
        reflector.listed(10, 0.0)
        reflector.failed(APIError(422, "Invalid", "no"), 0.0)
        assert (Wait(0.8), Watch(10, 220)) == (reflector.next(0.0), reflector.next(0.8))


class TestRepr:
    def test_watching(self) -> None:
        """It says where it is and what it does."""
        assert "<Reflector widgets.example.com: at 11, watching, 0 failures>" == repr(_busy())

    def test_states(self) -> None:
        """Each state has a word of its own."""
        listing, failing, between = _reflector(), _reflector(), _busy()
        failing.failed(TransportError("refused"), 0.0)
        between.ended(200.0)
        assert ["listing", "failing", "between watches"] == [listing.state, failing.state, between.state]


class TestOptions:
    @pytest.mark.parametrize(
        "options,offending",
        [
            ({"page_size": 0}, "page_size is 1 or more, not 0"),
            ({"watch_timeout": (5.0, 4.0)}, r"watch_timeout .* \(5.0, 4.0\)"),
            ({"silence": 0.0}, "silence is more than 0 s, not 0.0"),
            ({"slice": -1.0}, "slice is 0 s or more, not -1.0"),
        ],
    )
    def test_refused(self, options: dict[str, Any], offending: str) -> None:
        """Options that can't work are refused with the offending numbers."""
        with pytest.raises(ConfigurationError, match=offending):
            ReflectorOptions(**options)
