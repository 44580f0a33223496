"""Directed plans: for each rule of fence and election, the run in which it hurts to leave it out.

In all of them the pool has few blocks, `z` Nodes come before `a` Nodes, and whoever lists anew sees the `a`
Nodes first: so two leaders that don't know of each other give the same block to different Nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nodeipam.testing import Requests

from .schedule import (
    AddPool,
    Break,
    Compact,
    DropPool,
    Fail,
    Join,
    Lag,
    Land,
    Leave,
    Lock,
    Pause,
    Rejoin,
    Restore,
    Run,
    Schedule,
    Start,
    Step,
    Stop,
    Touch,
    When,
)

__all__ = ["directed"]

_NODES = Requests(verbs=("patch",), resource="nodes")
_OFFER = Requests(verbs=("patch",), resource="nodes", body='"podCIDRs"')
_OFFER_Z0 = Requests(verbs=("patch",), resource="nodes", name="z0", body='"podCIDRs"')
_EPOCH = Requests(verbs=("patch",), resource="nodes", body="ipam-epoch")
_RENEWAL = Requests(verbs=("update",), resource="leases")
_LEASE = Requests(verbs=("write", "get"), resource="leases")
_NEVER = 100_000.0
_POOL = AddPool(at=0.0, name="p0", ipv4="10.0.0.0/25", bits=5)
"""Three blocks can be given out: the first one has addresses of the service range."""

_WIDE = AddPool(at=0.0, name="p0", ipv4="10.0.0.0/20", bits=4)
"""A pool that no plan uses up."""

_Plan = Callable[[], tuple[list[Step], tuple[Run, ...]]]
_PLANS: dict[str, _Plan] = {}


def directed() -> Iterator[Schedule]:
    """All directed plans."""
    for number, (name, plan) in enumerate(_PLANS.items()):
        steps, replicas = plan()
        yield Schedule(
            name=f"directed: {name}",
            seed=number,
            replicas=replicas,
            steps=tuple(sorted(steps, key=lambda step: step.at)),
            seconds=max(60.0, *(step.at + 30.0 for step in steps)),
            latency=0.001,
        )


def _plan(name: str) -> Callable[[_Plan], _Plan]:
    def note(plan: _Plan) -> _Plan:
        _PLANS[name] = plan
        return plan

    return note


def _two(start: float = 0.3, *, rates: tuple[float, float] = (1.0, 1.0)) -> tuple[Run, ...]:
    return (Run(name="a", rate=rates[0]), Run(name="b", rate=rates[1], start=start))


def _joins(at: float, prefix: str, count: int, zone: str = "") -> list[Step]:
    return [Join(at=at, node=f"{prefix}{number}", zone=zone) for number in range(count)]


def _late(replica: str, at: float = 0.0) -> Fail:
    return Fail(at=at, action="late", requests=_OFFER, replica=replica, delay=_NEVER, times=None)


def _dead_with_late_writes() -> list[Step]:
    """`a` has sent z0, z1 and z2 their ranges, and is killed; none has landed, and a0, a1 and a2 wait too."""
    return [
        _POOL,
        *_joins(5.0, "z", 3),
        _late("a", 4.0),
        Stop(at=5.2, replica="a", kill=True),
        *_joins(5.3, "a", 3),
    ]


# The fence


@_plan("what a dead leader has sent lands after its successor has given out the same blocks")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [*_dead_with_late_writes(), Land(at=40.0, replica="a")], _two(start=6.0)


@_plan("it lands between the list and the fence, and the watch is late")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    landing = When(at=6.5, requests=_EPOCH, replica="b", then=(Land(at=0.0, replica="a"),))
    return [*_dead_with_late_writes(), Lag(at=7.0, replica="b", lag=4.0, seconds=60.0), landing], _two(6.0)


@_plan("it lands before the list, and the watch is late")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    lag = Lag(at=7.0, replica="b", lag=30.0, seconds=100.0)
    return [*_dead_with_late_writes(), lag, Land(at=10.0, replica="a")], _two(start=6.0)


@_plan("its Nodes match no pool any more when they are fenced off")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        *_joins(5.0, "z", 3),
        _late("a", 4.0),
        Stop(at=5.2, replica="a", kill=True),
        DropPool(at=5.3, name="p0"),
        AddPool(at=5.3, name="p1", ipv4="10.0.0.0/25", bits=5, zone="a"),
        *_joins(5.3, "a", 3, zone="a"),
        Land(at=60.0, replica="a"),
    ], _two(start=6.0)


@_plan("a successor is stopped amid its fence, and another takes over")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        *_dead_with_late_writes(),
        Fail(at=6.0, action="error_before", requests=_EPOCH, replica="b", status=503, times=None),
        When(at=6.0, requests=_EPOCH, replica="b", skip=3, then=(Stop(at=0.05, replica="b"),)),
        Land(at=60.0, replica="a"),
    ], (Run(name="a"), Run(name="b", start=6.0), Run(name="c", start=6.2))


@_plan("the same process leads again after another had fenced")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        Join(at=4.0, node="x"),
        Stop(at=8.0, replica="b", kill=True),
        *_joins(9.0, "z", 3),
        _late("a", 8.0),
        # Its renewals are lost until its term is over; nobody else is there, so it leads again.
        Fail(at=25.0, action="drop_before", requests=_RENEWAL, replica="a", times=7),
        DropPool(at=26.0, name="p0"),
        AddPool(at=26.0, name="p1", ipv4="10.0.0.0/25", bits=5, zone="a"),
        *_joins(36.0, "a", 3, zone="a"),
        Land(at=100.0, replica="a"),
    ], (Run(name="a", start=0.5), Run(name="b"))


@_plan("reservations of a term that is over, for a pool that has gone since")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        *_joins(5.0, "z", 1),
        Fail(at=4.0, action="drop_before", requests=_OFFER, replica="a", times=None),
        Fail(at=6.0, action="drop_before", requests=_LEASE, replica="a", times=30),
        DropPool(at=30.0, name="p0"),
        Stop(at=60.0, replica="b"),
    ], _two()


@_plan("a Node refuses the annotation for good")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    refusing = Requests(verbs=("patch",), resource="nodes", name="z0", body="ipam-epoch")
    return [
        *_dead_with_late_writes(),
        Fail(at=6.0, action="error_before", requests=refusing, status=403, times=None),
        Touch(at=380.0, node="z0"),
        Land(at=400.0, replica="a"),
    ], _two(start=6.0)


@_plan("a Node that refuses the annotation, and a stop in good order")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    refusing = Requests(verbs=("patch",), resource="nodes", name="z0", body="ipam-epoch")
    return [
        *_dead_with_late_writes(),
        Fail(at=6.0, action="error_before", requests=refusing, replica="b", status=403, times=None),
        Stop(at=400.0, replica="b"),
        Land(at=440.0, replica="a"),
    ], (Run(name="a"), Run(name="b", start=6.0), Run(name="c", start=399.0))


@_plan("released in good order, while the next one's watch of Nodes is late")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    watch = Requests(verbs=("watch",), resource="nodes")
    return [
        *_joins(1.0, "z", 2),
        *_joins(1.1, "a", 2),
        Fail(at=1.5, action="lag", requests=watch, replica="b", delay=20.0, times=None),
        Break(at=3.0, replica="b"),
        AddPool(at=5.0, name="p0", ipv4="10.0.0.0/25", bits=5),
        Stop(at=6.0, replica="a"),
    ], _two(start=2.0)


@_plan("released in good order, while the next one's watch of ClusterCIDRs is late")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    watch = Requests(verbs=("watch",), resource="clustercidrs")
    return [
        _POOL,
        Fail(at=1.5, action="lag", requests=watch, replica="b", delay=20.0, times=None),
        Break(at=3.0, replica="b"),
        DropPool(at=5.0, name="p0"),
        Stop(at=6.0, replica="a"),
        *_joins(7.0, "a", 1),
    ], _two(start=1.0)


# Leader election


def _leader_unaware() -> list[Step]:
    """`a` has sent z0 a range, and then sees neither the Lease nor Nodes; its term has 10 s left."""
    return [
        _POOL,
        Join(at=5.0, node="z0"),
        Fail(at=4.0, action="delay", requests=_OFFER, replica="a", delay=_NEVER),
        Lag(at=5.1, replica="a", lag=30.0, seconds=60.0),
        *_joins(5.2, "a", 3),
        Fail(at=5.2, action="drop_before", requests=_LEASE, replica="a", times=30),
    ]


@_plan("the Lease is deleted by hand under a leader that goes on")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    then = (Land(at=0.3, replica="a"),)
    return [
        *_leader_unaware(),
        Lock(at=6.5, how="deleted"),
        When(at=6.5, requests=_EPOCH, replica="b", then=then),
    ], _two(start=6.0)


@_plan("the Lease is deleted by hand, and the answer to making another is lost")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    create = Requests(verbs=("create",), resource="leases")
    return [
        *_leader_unaware(),
        Fail(at=6.0, action="drop_after", requests=create, replica="b"),
        Lock(at=6.5, how="deleted"),
        When(at=6.5, requests=_EPOCH, replica="b", then=(Land(at=0.3, replica="a"),)),
    ], _two(start=6.0)


@_plan("the Lease is deleted by hand after a leader died with writes under way")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [*_dead_with_late_writes(), Lock(at=7.0, how="deleted"), Land(at=60.0, replica="a")], _two(6.0)


@_plan("the holder is cleared by hand after a leader died with writes under way")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [*_dead_with_late_writes(), Lock(at=7.0, how="cleared"), Land(at=60.0, replica="a")], _two(6.0)


@_plan("the Lease is deleted by hand, and both go on")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    joins = [Join(at=15.0 + 0.4 * number, node=f"n{number}") for number in range(3)]
    return [_POOL, Lock(at=5.0, how="deleted"), *joins], _two()


@_plan("a renewal that is answered late")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _WIDE,
        Fail(at=5.0, action="slow", requests=_RENEWAL, replica="a", delay=4.5),
        Fail(at=5.5, action="drop_before", requests=_LEASE, replica="a", times=30),
        *(Join(at=14.0 + 0.25 * number, node=f"n{number}") for number in range(40)),
    ], _two(rates=(0.85, 1.15))


@_plan("renewals fail, and Nodes come until after the end")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _WIDE,
        Fail(at=5.0, action="drop_before", requests=_LEASE, replica="a", times=30),
        *(Join(at=12.0 + 0.5 * number, node=f"n{number}") for number in range(16)),
    ], _two(rates=(0.85, 1.15))


@_plan("a machine sleeps, and wakes with work waiting")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        Pause(at=5.0, replica="a", seconds=30.0, suspended=True),
        *(Join(at=6.0 + number, node=f"n{number}") for number in range(2)),
    ], _two()


@_plan("a process stands still between the lease check and the write")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        *_dead_with_late_writes()[:2],
        Fail(at=4.0, action="pause_before", requests=_OFFER, replica="a", delay=40.0),
        *_joins(5.3, "a", 3),
    ], _two(start=6.0)


@_plan("a process stands still while its reconciles wait for answers")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        *_joins(5.0, "z", 3),
        Fail(at=4.0, action="error_before", requests=_OFFER, replica="a", status=409, times=3, delay=0.0),
        Fail(
            at=4.0, action="slow", requests=Requests(verbs=("get",), resource="nodes"), replica="a", delay=0.5
        ),
        *(Touch(at=5.0005, node=f"z{number}") for number in range(3)),
        Lag(at=5.1, replica="a", lag=60.0, seconds=50.0),
        Pause(at=5.2, replica="a", seconds=20.0),
        *_joins(5.3, "a", 3),
    ], _two(start=6.0)


@_plan("a slow clock leads and a fast one waits")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    joins = [Join(at=45.0 + 0.1 * number, node=f"n{number:03}") for number in range(180)]
    return [_WIDE, *joins], _two(rates=(0.85, 1.15))


@_plan("a stop while writes are under way")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        *_joins(5.0, "z", 3),
        _late("a", 4.0),
        Stop(at=5.05, replica="a"),
        *_joins(5.3, "a", 3),
        Land(at=60.0, replica="a"),
    ], _two(start=6.0)


@_plan("a stop while Nodes keep coming")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    joins = [Join(at=5.0 + 0.002 * number, node=f"n{number:03}") for number in range(200)]
    lag = Lag(at=4.0, replica="b", lag=0.5, seconds=30.0)
    return [_WIDE, *joins, lag, Stop(at=5.1, replica="a")], _two()


# Writes of unknown outcome


def _landed_unseen() -> list[Step]:
    """z0's range has landed, but neither its answer nor its event comes; y2 waits for a block."""
    return [
        _POOL,
        Fail(at=4.0, action="drop_after", requests=_OFFER_Z0, replica="a"),
        *_joins(5.0, "z", 1),
        *_joins(5.0, "y", 3),
        Lag(at=5.00001, replica="a", lag=6.0, seconds=60.0),
    ]


@_plan("a write lands, and neither its answer nor its event comes")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return _landed_unseen(), _two()


@_plan("a write lands unseen, and the next attempt is answered 429")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    refused = Fail(at=4.0, action="error_before", requests=_OFFER_Z0, replica="a", status=429, retry_after=1)
    steps = _landed_unseen()
    return [*steps[:2], refused, *steps[2:]], _two()


@_plan("a storm of 409")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    storm = Fail(at=4.0, action="error_before", requests=_OFFER, replica="a", status=409, times=60)
    return [_POOL, storm, *_joins(5.0, "z", 5), Lag(at=5.1, replica="a", lag=1.0, seconds=10.0)], _two()


@_plan("a Node's ranges are refused again and again")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    refused = Fail(at=0.5, action="error_before", requests=_OFFER, status=403, times=None)
    return [_POOL, refused, Join(at=5.0, node="z0")], _two()


@_plan("a Node brings a range that was reserved for another")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    down = Fail(at=4.0, action="error_before", requests=_OFFER, replica="a", status=503, times=15)
    return [_POOL, down, Join(at=5.0, node="z0"), Join(at=5.5, node="f", brings=("10.0.0.32/27",))], _two()


@_plan("an event from before a write comes after its answer")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    touches = [Touch(at=5.0005 + 0.0005 * number, node="z0") for number in range(6)]
    return [
        _POOL,
        Join(at=5.0, node="z0"),
        Lag(at=5.0001, replica="a", lag=0.05, seconds=20.0),
        *touches,
    ], _two()


# Pools and Nodes that go


@_plan("a Node with ranges is being deleted for a long time")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    pinned: list[Step] = [Join(at=2.0, node=f"z{number}", pinned=True) for number in range(3)]
    return [_POOL, *pinned, *(Leave(at=5.0, node=f"z{n}") for n in range(3)), *_joins(6.0, "a", 3)], _two()


@_plan("a Node whose range overlaps others' goes")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        *_joins(2.0, "z", 3),
        Join(at=4.0, node="f", brings=("10.0.0.0/24",)),
        Leave(at=6.0, node="f"),
        *_joins(8.0, "a", 3),
    ], _two()


@_plan("a dual-stack Node whose first range is foreign")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        Join(at=0.0, node="f", brings=("192.168.0.0/27", "fd00::20/123")),
        AddPool(at=1.0, name="p0", ipv4="10.0.0.0/25", ipv6="fd00::/121", bits=5),
        *_joins(2.0, "z", 4),
    ], _two()


@_plan("IPv6 is full, IPv4 is not")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    pool = AddPool(at=0.0, name="p0", ipv4="10.0.0.0/24", ipv6="fd00::/122", bits=5)
    return [pool, *_joins(1.0, "z", 5), *(Touch(at=3.0, node=f"z{n}") for n in range(5))], _two()


@_plan("Nodes without labels, and a new leader")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        *_joins(2.0, "z", 2),
        Stop(at=4.0, replica="a", kill=True),
        *_joins(5.0, "a", 3, zone="a"),
    ], _two(start=6.0)


@_plan("a pool is being deleted while its leader changes")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        *_joins(2.0, "z", 2),
        DropPool(at=4.0, name="p0"),
        Stop(at=5.0, replica="a", kill=True),
        *_joins(6.0, "a", 2),
        *(Leave(at=40.0 + n, node=f"z{n}") for n in range(2)),
    ], _two(start=6.0)


@_plan("a pool goes, and Nodes come")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        DropPool(at=3.0, name="p0"),
        *_joins(4.0, "z", 2),
        AddPool(at=6.0, name="p0", ipv4="10.0.1.0/25", bits=5),
    ], _two()


# What watches leave out


@_plan("Nodes go and come back while the history is lost")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    away = Fail(
        at=5.0, action="error_before", requests=Requests(verbs=("watch",)), replica="a", status=503, times=3
    )
    drop = Fail(
        at=0.0, action="drop", requests=Requests(verbs=("watch",)), replica="a", delay=5.1, times=None
    )
    return [
        _POOL,
        *_joins(2.0, "z", 3),
        away,
        drop,
        Leave(at=5.3, node="z0"),
        Rejoin(at=5.3, node="z1"),
        Compact(at=5.4),
        *_joins(8.0, "a", 3),
    ], _two()


@_plan("etcd is set back, and its versions are not raised")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    touches = [Touch(at=3.0 + 0.02 * number, node="z0") for number in range(400)]
    return [
        _POOL,
        *_joins(1.0, "z", 1),
        *touches,
        *_joins(11.5, "y", 1),
        Restore(at=12.0, to=2.0, bump=0),
        *_joins(250.0, "a", 1),
    ], _two()


@_plan("replicas are started together and again and again")
def _() -> tuple[list[Step], tuple[Run, ...]]:
    return [
        _POOL,
        *_joins(0.0, "z", 2),
        *(Stop(at=3.0 + 7 * n, replica="ab"[n % 2], kill=n % 3 == 0) for n in range(8)),
        *(Start(at=5.0 + 7 * n, replica="ab"[n % 2]) for n in range(8)),
        *(Join(at=4.0 + 5 * n, node=f"a{n}") for n in range(10)),
    ], _two()
