from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from nodeipam.testing import Requests

from .campaign import KINDS
from .record import check, read, write
from .schedule import (
    AddPool,
    Break,
    Compact,
    Cut,
    DropPool,
    Fail,
    Join,
    Label,
    Lag,
    Land,
    Leave,
    Lock,
    Pause,
    Rejoin,
    Restore,
    Run,
    Schedule,
    Stall,
    Start,
    Step,
    Stop,
    Touch,
    Unpin,
    When,
)

WRITES = Requests(verbs=("patch",), resource="nodes", name="n", subresource="", body='"podCIDRs"')
STEPS: tuple[Step, ...] = (
    Join(at=0.1, node="n", zone="a", brings=("10.0.0.32/28",), pinned=True),
    Leave(at=1.1, node="n"),
    Unpin(at=1.2, node="n"),
    Rejoin(at=1.3, node="n"),
    Label(at=1 / 3, node="n", zone=""),
    Touch(at=1.5, node="n"),
    AddPool(at=1.6, name="p", ipv4="10.0.0.0/24", ipv6="fd00::/120", bits=5, zone="b"),
    DropPool(at=1.7, name="p"),
    Start(at=1.8, replica="a"),
    Stop(at=1.9, replica="a", kill=True),
    Pause(at=2.0, replica="a", seconds=12.0, suspended=True, timers_first=True),
    Cut(at=2.1, replica="a", seconds=3.0, lose=True),
    Lag(at=2.2, replica="a", lag=0.7, seconds=3.0),
    Land(at=2.25, replica="a"),
    Stall(at=2.3, replica="a", seconds=3.0),
    Break(at=2.4, replica="a"),
    Fail(at=2.5, action="error_after", requests=WRITES, status=429, retry_after=1, skip=2, times=None),
    Fail(at=2.6, action="late", replica="a", delay=600.0, times=3),
    Compact(at=2.7),
    Restore(at=2.8, to=1.0, bump=7),
    Lock(at=2.9, how="cleared"),
    When(at=3.0, requests=WRITES, replica="a", skip=1, then=(Stop(at=0.0, replica="a"), Compact(at=0.2))),
)
WHOLE = Schedule(
    name='made "up"',
    seed=17,
    replicas=(Run(name="a", rate=0.85, start=0.1), Run(name="b")),
    steps=STEPS,
    seconds=40.0,
    latency=0.3,
)


def made(*steps: Step, **changes: object) -> Schedule:
    """The schedule above with other steps."""
    return msgspec.structs.replace(WHOLE, steps=steps, **changes)


class TestText:
    def test_there_and_back(self) -> None:
        """A schedule with steps of every type is the same after it was written and read."""
        assert set(get_args(Step)) == set(map(type, STEPS))
        assert WHOLE == read(write(WHOLE))

    @pytest.mark.parametrize("kind", KINDS)
    def test_drawn(self, kind: str) -> None:
        """So is every schedule that is drawn, to the last digit of its times; and it can be played."""
        for seed in range(200):
            drawn = KINDS[kind](seed)
            assert drawn == read(write(drawn))

    def test_lines(self) -> None:
        """Each step is a line of its own, with what is as usual left out."""
        text = write(made(Compact(at=1.0), Break(at=2.0, replica="a")))
        _, *steps, _ = text.splitlines()
        assert ['  {"type":"Compact","at":1.0},', '  {"type":"Break","at":2.0,"replica":"a"}'] == steps

    @pytest.mark.parametrize(
        "text, why",
        [
            ("", "not a schedule: "),
            ("{}", "missing required field `name`"),
            (b"\xff", "not a schedule: "),
            (write(made(Compact(at=1.0))).replace("Compact", "Explode"), "Invalid value 'Explode'"),
            (write(WHOLE).replace("late", "early"), "Invalid enum value 'early'"),
        ],
    )
    def test_no_schedule(self, text: str | bytes, why: str) -> None:
        """What isn't the text of a schedule is refused with the place where it went wrong."""
        with pytest.raises(ValueError, match=why):
            read(text)


class TestCheck:
    @pytest.mark.parametrize(
        "step, why",
        [
            (Compact(at=-1.0), "nothing happens before the start"),
            (Compact(at=41.0), "after 40 s nothing happens but a Start"),
            (Break(at=1.0, replica="d"), "there is no such replica, only a and b"),
            (Fail(at=1.0, action="hang", replica="d"), "there is no such replica"),
            (Fail(at=1.0, action="hang", times=0), "times is at least 1"),
            (Fail(at=1.0, action="late", delay=-2.0), "delay=-2.0"),
            (Cut(at=1.0, replica="a", seconds=-3.0), "its seconds can't be negative"),
            (AddPool(at=1.0, name="p"), "a pool has at least one range"),
            (AddPool(at=1.0, name="p", ipv4="10.0.0.1/24"), "10.0.0.1/24 has host bits set"),
            (Join(at=1.0, node="n", brings=("many",)), "'many' does not appear to be an IPv4 or IPv6"),
            (Restore(at=1.0, to=2.0), "etcd is set back to a time from 0 to 1 s"),
            (When(at=1.0, requests=WRITES, then=(Break(at=0.0, replica="d"),)), "no such replica"),
            (When(at=1.0, requests=WRITES, then=(Restore(at=2.0, to=1.0),)), "known beforehand"),
        ],
    )
    def test_steps(self, step: Step, why: str) -> None:
        """A step that could only be passed over is refused, with what would be right."""
        with pytest.raises(ValueError, match=f"can't be played: [A-Z].*{why}"):
            check(made(step))

    @pytest.mark.parametrize(
        "changes, why",
        [
            ({"replicas": ()}, "one or more replicas with names of their own"),
            ({"replicas": (Run(name="a"), Run(name="a"))}, r"not \['a', 'a'\]"),
            ({"replicas": (Run(name="a", rate=0.0),)}, "a clock's rate is above 0"),
            ({"replicas": (Run(name="a", start=-1.0),)}, "nothing starts before the start"),
            ({"seconds": -1.0}, "seconds and latency can't be negative: -1"),
            ({"latency": -0.5}, "seconds and latency can't be negative: 40, -0.5"),
        ],
    )
    def test_the_rest(self, changes: dict[str, object], why: str) -> None:
        """So is a schedule without replicas, or in a time that runs backwards."""
        with pytest.raises(ValueError, match=why):
            check(made(**changes))

    def test_a_late_start(self) -> None:
        """A replica may come back after the end: by then they all run."""
        check(made(Start(at=50.0, replica="a")))
