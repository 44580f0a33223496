"""Replicas that follow one another as leaders, while Nodes join all the time.

The observer fails each of these tests by itself if a range changes or overlaps. Who wrote what, and when, is
taken from the API server's audit log: each replica is a user of its own.
"""

import asyncio
import contextlib
import signal
import time

import pytest

from tests.e2e.audit import Audit, Entry
from tests.e2e.conftest import Replicas
from tests.e2e.controlplane import ControlPlane
from tests.e2e.joining import Joining
from tests.e2e.kube import Kube, Object
from tests.e2e.leading import (
    AFTER_EXPIRY,
    AFTER_RELEASE,
    LEASE,
    NAMESPACE,
    RELEASED,
    SHORT,
    SHORT_LEASE,
    check_fenced,
    check_succession,
    start_leader,
    start_standby,
)
from tests.e2e.observer import Observer
from tests.e2e.proxy import Proxy
from tests.e2e.replica import Replica

FOREVER = "2099-01-01T00:00:00.000000Z"
STOPPED = 1.0
"""Seconds that requests may take to arrive which were sent before a leader noticed its loss."""


@pytest.fixture(autouse=True)
async def one_node(kube: Kube, observer: Observer) -> None:
    """One pool, and a Node that shows by its range that somebody leads."""
    await kube.create_cluster_cidr("pool", ipv4="10.0.0.0/16", host_bits=4)
    await kube.create_node("early")


class TestKill:
    @pytest.mark.parametrize(
        "flags, lease",
        [pytest.param((NAMESPACE,), 15.0, id="defaults"), pytest.param(SHORT, SHORT_LEASE, id="short")],
    )
    async def test_a_successor_writes_within_the_lease_and_two_seconds(
        self,
        kube: Kube,
        observer: Observer,
        audit: Audit,
        replicas: Replicas,
        flags: tuple[str, ...],
        lease: float,
    ) -> None:
        """A killed leader is replaced in time, by one standby alone, which writes nothing before."""
        leader = await start_leader(replicas, observer, "first", *flags)
        for name in ("second", "third"):
            await start_standby(replicas, name, *flags)
        async with Joining(kube, pause=0.03 if lease < 10 else 0.1) as joining:
            await joining.reach(30)
            leader.kill()
            killed = time.time()
            orphan = len(joining.names)
            await joining.reach(orphan + 1)
            await observer.wait_assigned(joining.names[orphan], within=lease + 10.0)
            await joining.reach(100)
        await observer.wait_assigned(*joining.names)
        await audit.assigned(*joining.names)

        term = check_succession(audit.terms(), leader="first")
        check_fenced(term)
        assert audit.took_lock(term.user).answered - killed <= lease + AFTER_EXPIRY
        assert term.assigns[0].answered - killed <= lease + AFTER_EXPIRY
        assert 1 + len(joining.names) == sum(len(term.assigns) for term in audit.terms())


class TestRelease:
    async def test_a_successor_writes_within_a_second(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """A leader that is told to stop hands over within a second, without a fence, to one standby."""
        leader = await start_leader(replicas, observer, "first", NAMESPACE)
        for name in ("second", "third"):
            await start_standby(replicas, name, NAMESPACE)
        async with Joining(kube, pause=0.01) as joining:
            await joining.reach(60)
            leader.send(signal.SIGTERM)
            assert 0 == await leader.exited()
            await joining.reach(150)
        await observer.wait_assigned(*joining.names)

        released = audit.last("first", lambda entry: entry.holder == "")
        terms = audit.terms()
        term = check_succession(terms, leader="first")
        assert max(entry.answered for entry in terms[0].entries) <= released.received
        assert [] == term.fences
        assert audit.took_lock(term.user).answered - released.answered <= AFTER_RELEASE
        assert term.assigns[0].answered - released.answered <= AFTER_RELEASE
        assert 1 + len(joining.names) == sum(len(term.assigns) for term in terms)

    async def test_what_a_release_says(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """A released Lease has no holder, says by its transitions that it was released, and expires soon."""
        leader = await start_leader(replicas, observer, "first", *SHORT)
        leader.send(signal.SIGTERM)
        assert 0 == await leader.exited()
        lease = await kube.get(LEASE)
        assert "" == lease["spec"].get("holderIdentity", "")
        assert 1 == lease["spec"]["leaseDurationSeconds"]
        assert str(lease["spec"]["leaseTransitions"]) == lease["metadata"]["annotations"][RELEASED]


async def noticed(audit: Audit, since: float) -> Entry:
    """The leader's first request after a moment that tells it that the lock isn't its own any more."""
    while True:
        with contextlib.suppress(AssertionError):
            return audit.first(
                "first", lambda entry: entry.resource == "leases" and not entry.ok, after=since
            )
        await asyncio.sleep(0.05)


class TestLock:
    async def test_the_lease_is_deleted_while_its_holder_lives(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """The leader stops at once; whoever makes a new Lease waits for its duration, then fences."""
        await start_leader(replicas, observer, "first", *SHORT)
        await start_standby(replicas, "second", *SHORT)
        async with Joining(kube) as joining:
            await joining.reach(10)
            deleted = time.time()
            await kube.delete(LEASE)
            told = await noticed(audit, deleted)
            late = len(joining.names)
            await joining.reach(late + 5)
            await observer.wait_assigned(*joining.names[late:], within=20.0)
        await observer.wait_assigned(*joining.names)

        made = next(
            entry for entry in audit.entries() if entry.holder and entry.received > deleted and entry.ok
        )
        assert "create" == made.verb
        stopped = told.answered + STOPPED
        assert stopped < made.answered + SHORT_LEASE
        term, *others = audit.terms(after=stopped)
        assert [] == others
        assert made.user == term.user
        assert term.entries[0].received >= made.answered + SHORT_LEASE
        check_fenced(term)

    async def test_the_holder_is_cleared_while_it_lives(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """The leader stops at once; nobody takes the lock for its duration; who does then fences."""
        await start_leader(replicas, observer, "first", *SHORT)
        await start_standby(replicas, "second", *SHORT)
        async with Joining(kube) as joining:
            await joining.reach(10)
            cleared = time.time()
            await kube.patch(LEASE, {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}})
            told = await noticed(audit, cleared)
            late = len(joining.names)
            await joining.reach(late + 5)
            await observer.wait_assigned(*joining.names[late:], within=20.0)
        await observer.wait_assigned(*joining.names)

        taken = next(
            entry for entry in audit.entries() if entry.holder and entry.received > told.answered and entry.ok
        )
        assert taken.received >= cleared + SHORT_LEASE
        stopped = told.answered + STOPPED
        assert stopped < taken.received
        term, *others = audit.terms(after=stopped)
        assert [] == others
        assert taken.user == term.user
        assert term.entries[0].received >= taken.received
        check_fenced(term)

    @pytest.mark.parametrize(
        "spec, wait",
        [
            pytest.param({}, SHORT_LEASE, id="empty"),
            pytest.param(
                {
                    "holderIdentity": "\U0001f980 somebody\nelse_",
                    "leaseDurationSeconds": 1,
                    "acquireTime": FOREVER,
                    "renewTime": FOREVER,
                    "leaseTransitions": 2147483647,
                },
                1.0,
                id="absurd",
            ),
        ],
    )
    async def test_somebody_left_garbage_in_the_lease(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas, spec: Object, wait: float
    ) -> None:
        """A Lease that others left is taken when it stood still long enough; what else is in it stays."""
        metadata = {
            "name": "node-ipam-controller",
            "labels": {"tests/kept": "label"},
            "annotations": {"tests/kept": "annotation", RELEASED: "garbage"},
        }
        await kube.create(LEASE.rpartition("/")[0], {"metadata": metadata, "spec": spec})
        began = time.time()
        await start_leader(replicas, observer, "first", *SHORT)

        assert audit.took_lock("first").received - began >= wait
        lease = await kube.get(LEASE)
        assert lease["spec"]["holderIdentity"].startswith("first_")
        assert "label" == lease["metadata"]["labels"]["tests/kept"]
        assert "annotation" == lease["metadata"]["annotations"]["tests/kept"]
        assert RELEASED not in lease["metadata"]["annotations"]


async def leads(replica: Replica) -> bool:
    """Whether a replica says that it leads."""
    return await replica.metric("leader_election_master_status", name="node-ipam-controller") == 1


class TestPartition:
    async def test_a_leader_that_is_cut_off_is_replaced(
        self, kube: Kube, observer: Observer, audit: Audit, proxy: Proxy, replicas: Replicas
    ) -> None:
        """A leader that reaches nobody stops by its own clock, and is a standby once it is back."""
        old = await start_leader(replicas, observer, "first", *SHORT, server=proxy.url)
        new = await start_standby(replicas, "second", *SHORT)
        async with Joining(kube, pause=0.03) as joining:
            await joining.reach(30)
            proxy.sever()
            cut = time.time()
            await old.logs("lost the lease")
            assert "may write" not in new.log
            await new.logs("may write")
            proxy.mend()
            await old.logs("the lock changed hands")
            await joining.reach(len(joining.names) + 30)
        await observer.wait_assigned(*joining.names)
        await audit.assigned(*joining.names)

        assert [False, True] == [await leads(replica) for replica in (old, new)]
        term = check_succession(audit.terms(), leader="first")
        check_fenced(term)
        assert term.assigns[0].answered - cut <= SHORT_LEASE + AFTER_EXPIRY


class TestFrozenServer:
    async def test_the_leader_stops_and_comes_back(
        self, plane: ControlPlane, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """A leader that can't renew stops, stays alive and ready, and all Nodes get ranges afterwards."""
        both = [
            await start_leader(replicas, observer, "first", *SHORT),
            await start_standby(replicas, "second", *SHORT),
        ]
        async with Joining(kube, pause=0.0) as joining:
            await joining.reach(30)
            plane.freeze()
            frozen = time.monotonic()
            await both[0].logs("lost the lease")
            assert not await leads(both[0])
            while time.monotonic() < frozen + SHORT_LEASE + 1.0:
                for replica in both:
                    assert 200 == await replica.status("/healthz")
                    assert 200 == await replica.status("/readyz")
                await asyncio.sleep(0.2)
            plane.thaw()
            await joining.reach(60)
        await observer.wait_assigned(*joining.names, within=20.0)
        assert 1 == sum([await leads(replica) for replica in both])
