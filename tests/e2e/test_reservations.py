"""What becomes of a block when the write that gives it to a Node goes wrong in one way or another."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator

import pytest

from tests.e2e.audit import Audit
from tests.e2e.conftest import Replicas
from tests.e2e.kube import FOREIGN, NODES, ApiError, Kube, Object
from tests.e2e.leading import LEASE, RELEASED, SHORT
from tests.e2e.observer import Observer
from tests.e2e.proxy import Held, Proxy
from tests.e2e.replica import Replica
from tests.e2e.shown import wait_event

LATE = f"{NODES}/late"
FIRST, SECOND = ["10.0.0.0/28"], ["10.0.0.16/28"]
FORBIDDEN = {
    "apiVersion": "v1",
    "kind": "Status",
    "status": "Failure",
    "reason": "Forbidden",
    "message": "a webhook says no",
    "code": 403,
}


def ranges(text: str, **metadata: str) -> Object:
    """A merge patch that gives a Node one range."""
    return {"metadata": metadata, "spec": {"podCIDR": text, "podCIDRs": [text]}}


def offered(held: Held) -> list[str]:
    """The ranges in a request of the controller."""
    found: list[str] = json.loads(held.body)["spec"]["podCIDRs"]
    return found


async def following(patches: "asyncio.Queue[Held]") -> Held:
    """The next request that the proxy holds."""
    async with asyncio.timeout(10.0):
        return await patches.get()


class TestServer:
    """What the controller relies on."""

    async def test_pod_cidrs_alone_write_nothing(self, kube: Kube) -> None:
        """A patch of podCIDRs without podCIDR is answered 200 by a Node that has others, and isn't done."""
        before = await kube.create_node("late", pod_cidrs=FIRST)
        after = await kube.patch(LATE, {"spec": {"podCIDRs": SECOND}})
        assert FIRST == after["spec"]["podCIDRs"]
        assert before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]

    async def test_an_old_version_conflicts(self, kube: Kube) -> None:
        """A patch that names a version which the Node has left behind is answered 409."""
        before = (await kube.create_node("late"))["metadata"]
        await kube.patch(LATE, {"metadata": {"labels": {"a": "b"}}})
        with pytest.raises(ApiError) as refused:
            await kube.patch(
                LATE,
                ranges(FIRST[0], uid=before["uid"], resourceVersion=before["resourceVersion"]),
            )
        assert 409 == refused.value.status
        assert [] == await kube.pod_cidrs("late")

    async def test_another_uid_is_invalid(self, kube: Kube) -> None:
        """A patch that names the UID of an earlier Node is answered 422, because of metadata.uid."""
        before = (await kube.create_node("late"))["metadata"]
        await kube.delete(LATE)
        await kube.create_node("late")
        with pytest.raises(ApiError) as refused:
            await kube.patch(LATE, ranges(FIRST[0], uid=before["uid"]))
        assert (422, ["metadata.uid"]) == (refused.value.status, refused.value.fields)

    async def test_other_ranges_are_invalid(self, kube: Kube) -> None:
        """A patch of both podCIDR and podCIDRs is answered 422 by a Node that has others."""
        await kube.create_node("late", pod_cidrs=FIRST)
        with pytest.raises(ApiError) as refused:
            await kube.patch(LATE, ranges(SECOND[0]))
        assert 422 == refused.value.status
        assert "spec.podCIDRs" in refused.value.fields


@pytest.fixture
async def leader(kube: Kube, observer: Observer, proxy: Proxy, replicas: Replicas) -> Replica:
    """A leader behind the proxy that has done its first work."""
    await kube.create_cluster_cidr("other", ipv4="10.9.0.0/16", terms=[EARLY])
    await kube.create_node("early", labels={"early": "yes"})
    replica = replicas.start("first", *SHORT, server=proxy.url, user="first")
    await observer.wait_assigned("early")
    return replica


EARLY = {"matchExpressions": [{"key": "early", "operator": "Exists"}]}


@pytest.fixture
async def patches(leader: Replica, kube: Kube, proxy: Proxy) -> "AsyncGenerator[asyncio.Queue[Held]]":
    """The writes of the Node `late`, held. It may have one of two blocks."""
    held = proxy.hold("PATCH", LATE)
    await kube.create_cluster_cidr("pool", ipv4="10.0.0.0/27", host_bits=4)
    yield held
    proxy.pass_on(held)


class TestOutcome:
    async def test_the_answer_is_lost(
        self,
        kube: Kube,
        observer: Observer,
        audit: Audit,
        proxy: Proxy,
        patches: "asyncio.Queue[Held]",
    ) -> None:
        """A write that landed, but whose answer was lost, is the only one that lands."""
        await kube.create_node("late")
        held = await following(patches)
        assert 200 == await proxy.lose_answer(held)
        proxy.pass_on(patches)
        await observer.wait_assigned("late")
        await kube.create_node("next")
        await observer.wait_assigned("next")
        assert (FIRST, SECOND) == (observer.cidrs("late"), observer.cidrs("next"))
        done = [entry for entry in audit.entries() if entry.assigns and entry.name == "late" and entry.ok]
        assert 1 == len(done)

    async def test_the_request_is_lost(
        self, kube: Kube, observer: Observer, proxy: Proxy, patches: "asyncio.Queue[Held]"
    ) -> None:
        """As long as a write may still land, its block is kept for its Node and offered to it again."""
        await kube.create_node("late")
        lost = await following(patches)
        proxy.cut(lost)
        again = await following(patches)
        await kube.create_node("next")
        await observer.wait_assigned("next")
        assert SECOND == observer.cidrs("next")
        assert FIRST == offered(lost) == offered(again)
        assert 200 == await proxy.deliver(lost)
        assert 409 == await proxy.deliver(again)
        await observer.wait_assigned("late")
        assert FIRST == observer.cidrs("late")

    @pytest.mark.parametrize("status", [200, 408, 500])
    async def test_the_answer_says_nothing(
        self, kube: Kube, observer: Observer, proxy: Proxy, patches: "asyncio.Queue[Held]", status: int
    ) -> None:
        """After an answer that leaves the outcome open the block stays with its Node, which gets it."""
        await kube.create_node("late")
        proxy.answer(await following(patches), status, b"<html>", content_type="text/html")
        again = await following(patches)
        for name in ("next", "waiting"):
            await kube.create_node(name)
        await observer.wait_for(lambda seen: seen.assigned("next") or seen.assigned("waiting"))
        assert FIRST == offered(again)
        assert 200 == await proxy.deliver(again)
        await observer.wait_assigned("late")
        assert FIRST == observer.cidrs("late")

    async def test_it_is_refused_after_that(
        self, kube: Kube, observer: Observer, proxy: Proxy, patches: "asyncio.Queue[Held]"
    ) -> None:
        """A definite no to a later attempt says nothing about an earlier one that may still land."""
        await kube.create_node("late")
        lost = await following(patches)
        proxy.cut(lost)
        proxy.answer(await following(patches), 403, json.dumps(FORBIDDEN).encode())
        again = await following(patches)
        for name in ("next", "waiting"):
            await kube.create_node(name)
        await observer.wait_for(lambda seen: seen.assigned("next") or seen.assigned("waiting"))
        assert FIRST == offered(again)
        assert 200 == await proxy.deliver(lost)
        await observer.wait_assigned("late")
        assert 409 == await proxy.deliver(again)

    async def test_it_is_refused(
        self, kube: Kube, observer: Observer, proxy: Proxy, patches: "asyncio.Queue[Held]"
    ) -> None:
        """A definite no to the first attempt gives the block back, and one event tells the cause."""
        await kube.create_node("late")
        proxy.answer(await following(patches), 403, json.dumps(FORBIDDEN).encode())
        again = await following(patches)
        names = ("one", "two")
        for name in names:
            await kube.create_node(name)
        assert SECOND == offered(again)
        proxy.answer(again, 403, json.dumps(FORBIDDEN).encode())
        await observer.wait_assigned(*names)
        assert "a webhook says no" in await wait_event(kube, "late", "CIDRAssignmentFailed")

    async def test_the_node_changed(
        self, kube: Kube, observer: Observer, proxy: Proxy, leader: Replica, patches: "asyncio.Queue[Held]"
    ) -> None:
        """After a 409 the same block is offered at once on the new version; nothing counts as failed."""
        await kube.create_node("late")
        held = await following(patches)
        await kube.patch(LATE, {"metadata": {"labels": {"a": "b"}}})
        assert 409 == await proxy.deliver(held)
        again = await following(patches)
        assert offered(held) == offered(again)
        assert 200 == await proxy.deliver(again)
        await observer.wait_assigned("late")
        assert 0 == await leader.metric("controller_runtime_reconcile_errors_total", controller="nodes")

    async def test_somebody_was_first(
        self, kube: Kube, observer: Observer, proxy: Proxy, patches: "asyncio.Queue[Held]"
    ) -> None:
        """A Node that got ranges from somebody else meanwhile keeps them, and our block is free."""
        await kube.create_node("late")
        held = await following(patches)
        theirs = ranges("10.7.0.0/24")
        await kube.patch(LATE, {**theirs, "metadata": {"annotations": {FOREIGN: "true"}}})
        assert 409 == await proxy.deliver(held)
        await gets_all(kube, observer)
        assert ["10.7.0.0/24"] == observer.cidrs("late")
        assert patches.empty()

    async def test_the_node_is_deleted(
        self, kube: Kube, observer: Observer, proxy: Proxy, patches: "asyncio.Queue[Held]"
    ) -> None:
        """A Node that goes while it is written leaves nothing behind: the block is free."""
        await kube.create_node("late")
        held = await following(patches)
        await kube.delete(LATE)
        assert 404 == await proxy.deliver(held)
        await gets_all(kube, observer)

    async def test_the_node_is_terminating(
        self, kube: Kube, observer: Observer, proxy: Proxy, patches: "asyncio.Queue[Held]"
    ) -> None:
        """A Node whose deletion began while it was written gets no range any more."""
        await kube.create_node("late", finalizers=["tests/keep"])
        held = await following(patches)
        await kube.delete(LATE)
        assert 409 == await proxy.deliver(held)
        await kube.create_node("next")
        await observer.wait_assigned("next")
        assert [] == observer.cidrs("late")
        assert patches.empty()
        await kube.patch(LATE, {"metadata": {"finalizers": None}})
        await kube.create_node("another")
        await observer.wait_assigned("another")

    async def test_the_node_is_recreated(
        self, kube: Kube, observer: Observer, proxy: Proxy, patches: "asyncio.Queue[Held]"
    ) -> None:
        """A write meant for an earlier Node of the name never hits the new one, which gets a range itself."""
        old = await kube.create_node("late")
        held = await following(patches)
        await kube.delete(LATE)
        new = await kube.create_node("late")
        assert old["metadata"]["uid"] != new["metadata"]["uid"]
        assert 409 == await proxy.deliver(held)
        again = await following(patches)
        assert new["metadata"]["uid"] == json.loads(again.body)["metadata"]["uid"]
        assert 200 == await proxy.deliver(again)
        await kube.create_node("next")
        await observer.wait_assigned("late", "next")


async def gets_all(kube: Kube, observer: Observer) -> None:
    """Whether both blocks of the pool are to be had."""
    for name in ("one", "two"):
        await kube.create_node(name)
    await observer.wait_assigned("one", "two")
    assert sorted(FIRST + SECOND) == sorted(observer.cidrs("one") + observer.cidrs("two"))


class TestStop:
    async def test_an_unknown_outcome_leaves_the_lease_to_expire(
        self,
        kube: Kube,
        observer: Observer,
        audit: Audit,
        proxy: Proxy,
        replicas: Replicas,
        leader: Replica,
        patches: "asyncio.Queue[Held]",
    ) -> None:
        """A leader that stops while its write may still land keeps the Lease, and its successor fences."""
        await kube.create_node("late")
        lost = await following(patches)
        proxy.cut(lost)

        async def refuse() -> None:
            while True:
                proxy.answer(await patches.get(), 500, b"")

        refusing = asyncio.create_task(refuse())
        await leader.logs("500")
        leader.send(signal.SIGTERM)
        assert 0 == await leader.exited()
        refusing.cancel()
        lease = await kube.get(LEASE)
        assert lease["spec"]["holderIdentity"].startswith("first_")
        assert RELEASED not in lease["metadata"].get("annotations", {})

        replicas.start("second", *SHORT, user="second")
        await observer.wait_assigned("late")
        assert 409 == await proxy.deliver(lost)
        assert ["late"] == [entry.name for entry in audit.entries("second") if entry.fences]

    async def test_a_settled_outcome_doesn_t(
        self,
        kube: Kube,
        observer: Observer,
        proxy: Proxy,
        leader: Replica,
        patches: "asyncio.Queue[Held]",
    ) -> None:
        """Once the truth about a lost answer is known, the Lease is released."""
        await kube.create_node("late")
        await proxy.lose_answer(await following(patches))
        proxy.pass_on(patches)
        await observer.wait_assigned("late")
        leader.send(signal.SIGTERM)
        assert 0 == await leader.exited()
        lease = await kube.get(LEASE)
        assert "" == lease["spec"].get("holderIdentity", "")
        assert str(lease["spec"]["leaseTransitions"]) == lease["metadata"]["annotations"][RELEASED]
