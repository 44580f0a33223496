"""What a new leader does so that no write of its predecessor can hurt, whenever it arrives."""

import asyncio
import json
import signal

import pytest

from tests.e2e.audit import EPOCH, Audit
from tests.e2e.conftest import Replicas
from tests.e2e.kube import CLUSTER_CIDRS, NODES, ApiError, Kube, Object, requires
from tests.e2e.leading import LEASE, SHORT, check_fenced, start_leader, start_standby
from tests.e2e.observer import Observer
from tests.e2e.proxy import Held, Proxy
from tests.e2e.replica import Replica

ZONE_A, ZONE_B, NO_ZONE = {"zone": "a"}, {"zone": "b"}, {"zone": "none"}
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"


@pytest.fixture(autouse=True)
async def one_node(kube: Kube, observer: Observer) -> None:
    """A pool for zone a, and a Node that shows by its range that somebody leads."""
    await kube.create_cluster_cidr(
        "pool", ipv4="10.0.0.0/24", host_bits=4, terms=[requires("zone", "In", "a")]
    )
    await kube.create_node("early", labels=ZONE_A)


def without_version(held: Held) -> Held:
    """The same request, with the UID as its only precondition."""
    body = json.loads(held.body)
    del body["metadata"]["resourceVersion"]
    return Held(held.method, held.target, held.headers, json.dumps(body).encode())


def epoch(observer: Observer, name: str) -> str:
    """The epoch on a Node, empty if there is none."""
    node = observer.nodes.get(name)
    return node.annotations.get(EPOCH, "") if node else ""


async def new_epoch(observer: Observer, name: str) -> str:
    """Wait until a Node has an epoch; returns it."""
    await observer.wait_for(lambda seen: epoch(seen, name) != "", within=20.0, what=f"an epoch on {name}")
    return epoch(observer, name)


class TestLateWrite:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
    async def test_it_is_answered_409(
        self,
        kube: Kube,
        observer: Observer,
        audit: Audit,
        proxy: Proxy,
        replicas: Replicas,
        number: signal.Signals,
    ) -> None:
        """What an old leader sent before it lost its lease doesn't land once its block is another Node's.

        The same write with the UID alone does land: without the version in it there would be an overlap.
        """
        old = await start_leader(replicas, observer, "first", *SHORT, server=proxy.url)
        await start_standby(replicas, "second", *SHORT)
        patches = proxy.hold("PATCH", NODES)
        await kube.create_node("late", labels=ZONE_A)
        held = await patches.get()
        old.send(number)
        await kube.delete(f"{CLUSTER_CIDRS}/pool")
        await kube.create_cluster_cidr(
            "next", ipv4="10.0.0.0/24", host_bits=4, terms=[requires("zone", "In", "b")]
        )
        await new_epoch(observer, "late")
        await kube.create_node("other", labels=ZONE_B)
        await observer.wait_assigned("other")
        assert json.loads(held.body)["spec"]["podCIDRs"] == observer.cidrs("other")

        assert 409 == await proxy.deliver(held)
        assert [] == await kube.pod_cidrs("late")
        if number == signal.SIGSTOP:
            old.send(signal.SIGCONT)
            await old.logs("lost the lease")
            assert patches.empty()
        taken = audit.took_lock("second").received
        late = [entry for entry in audit.entries("first") if entry.guarded and entry.received > taken]
        assert [("late", 409)] == [(entry.name, entry.code) for entry in late]

        assert 200 == await proxy.deliver(without_version(held))
        with pytest.raises(AssertionError, match=r"late got 10\.0\.0\.16/28 though Node other"):
            await observer.wait_assigned("late")
        observer.violations.clear()

    async def test_what_landed_before_the_fence_is_kept(
        self, kube: Kube, observer: Observer, audit: Audit, proxy: Proxy, replicas: Replicas
    ) -> None:
        """An old leader's write that arrives before its successor fences counts, and its block is in use."""
        old = await start_leader(replicas, observer, "first", *SHORT, server=proxy.url)
        await start_standby(replicas, "second", *SHORT)
        patches = proxy.hold("PATCH", NODES)
        await kube.create_node("late", labels=ZONE_A)
        held = await patches.get()
        old.kill()
        assert 200 == await proxy.deliver(held)
        await kube.create_node("other", labels=ZONE_A)
        await observer.wait_assigned("other", within=15.0)
        assert ["10.0.0.16/28"] == observer.cidrs("late")
        assert ["10.0.0.32/28"] == observer.cidrs("other")
        await audit.assigned("other")
        check_fenced(audit.terms()[-1])


class TestEpoch:
    async def test_every_node_without_ranges_gets_it(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """After a kill it is on each Node without ranges, terminating and unmatched ones too, on no other."""
        old = await start_leader(replicas, observer, "first", *SHORT)
        await kube.create_node("unmatched", labels=NO_ZONE)
        await kube.create_node("terminating", labels=NO_ZONE, finalizers=["tests/keep"])
        await kube.delete(f"{NODES}/terminating")
        await start_standby(replicas, "second", *SHORT)
        old.kill()
        await kube.create_node("next", labels=ZONE_A)
        await observer.wait_assigned("next", within=15.0)

        spec = (await kube.get(LEASE))["spec"]
        assert spec["holderIdentity"].startswith("second_")
        mark = f"{spec['leaseTransitions']}/{spec['holderIdentity']}/1"
        found = {name: epoch(observer, name) for name in observer.nodes}
        assert {"early": "", "next": mark, "terminating": mark, "unmatched": mark} == found
        await audit.assigned("next")
        check_fenced(audit.terms()[-1])

    async def test_each_term_has_its_own(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """A process that leads again names its new term, and fences its own earlier writes too."""
        await kube.create_node("unmatched", labels=NO_ZONE)
        replicas.start("first", *SHORT, user="first")
        await observer.wait_assigned("early")
        assert "" == epoch(observer, "unmatched")
        await kube.patch(LEASE, {"spec": {"holderIdentity": ""}})
        second = await new_epoch(observer, "unmatched")
        assert "2" == second.rpartition("/")[2]

    async def test_a_released_lease_needs_none(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """On a fresh cluster and after a release no Node is touched but those that get ranges."""
        before = await kube.create_node("unmatched", labels=NO_ZONE)
        old = await start_first(replicas, observer)
        await start_standby(replicas, "second", *SHORT)
        assert 0 == old.stop()
        await kube.create_node("next", labels=ZONE_A)
        await observer.wait_assigned("next")
        after = await kube.get(f"{NODES}/unmatched")
        assert before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
        assert [] == [entry for entry in audit.entries() if entry.fences]

    async def test_nothing_is_given_while_a_node_refuses_it(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """As long as a policy refuses it on one Node, no Node gets a range; then all do."""
        old = await start_leader(replicas, observer, "first", *SHORT)
        await start_standby(replicas, "second", *SHORT)
        await kube.create_node("stubborn", labels=NO_ZONE)
        await refuse_epoch(kube, "stubborn")
        try:
            old.kill()
            await kube.create_node("next", labels=ZONE_A)
            await new_epoch(observer, "next")
            await asyncio.sleep(1.0)
            assert [] == observer.cidrs("next")
        finally:
            await kube.delete(f"{BINDINGS}/stubborn")
            await kube.delete(f"{POLICIES}/stubborn")
        await observer.wait_assigned("next", within=20.0)
        await new_epoch(observer, "stubborn")
        await audit.assigned("next")
        check_fenced(audit.terms()[-1])


async def start_first(replicas: Replicas, observer: Observer) -> Replica:
    """Start the leader where a Node stands that never gets a range."""
    replica = replicas.start("first", *SHORT, user="first")
    await observer.wait_assigned("early")
    return replica


async def refuse_epoch(kube: Kube, name: str) -> None:
    """Let the API server refuse the epoch on one Node, and wait until it does."""
    annotations = "object.metadata.annotations"
    refusal = f"object.metadata.name != '{name}' || !has({annotations}) || !('{EPOCH}' in {annotations})"
    rule: Object = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["nodes"],
        "operations": ["UPDATE"],
    }
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": refusal, "message": "no epochs here"}],
    }
    await kube.create(POLICIES, {"metadata": {"name": name}, "spec": policy})
    binding = {"policyName": name, "validationActions": ["Deny"]}
    await kube.create(BINDINGS, {"metadata": {"name": name}, "spec": binding})
    refused = ""
    async with asyncio.timeout(20.0):
        while "no epochs here" not in refused:
            await asyncio.sleep(0.05)
            refused = await try_epoch(kube, name)


async def try_epoch(kube: Kube, name: str) -> str:
    """Why the API server would refuse an epoch on a Node; empty if it wouldn't."""
    try:
        await kube.patch(f"{NODES}/{name}", {"metadata": {"annotations": {EPOCH: "tried"}}}, dryRun="All")
    except ApiError as error:
        return str(error)
    return ""
