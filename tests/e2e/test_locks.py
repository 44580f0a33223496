"""The two older kinds of lock object (D-34): Endpoints and ConfigMaps, with the record in an annotation."""

import json
import signal
import time

import pytest

from tests.e2e.audit import Audit
from tests.e2e.conftest import Replicas
from tests.e2e.kube import Kube
from tests.e2e.leading import (
    AFTER_EXPIRY,
    AFTER_RELEASE,
    RELEASED,
    SHORT,
    SHORT_LEASE,
    check_fenced,
    start_leader,
    start_standby,
)
from tests.e2e.observer import Observer

RECORD = "control-plane.alpha.kubernetes.io/leader"


@pytest.fixture(autouse=True)
async def one_node(kube: Kube, observer: Observer) -> None:
    """One pool, and a Node that shows by its range that somebody leads."""
    await kube.create_cluster_cidr("pool", ipv4="10.0.0.0/16", host_bits=4)
    await kube.create_node("early")


class TestLock:
    @pytest.mark.parametrize("kind", ["endpoints", "configmaps"])
    async def test_it_is_acquired_released_and_taken_by_force(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas, kind: str
    ) -> None:
        """D-34: three replicas follow one another, by a release and by a kill, as with a Lease."""
        flags = (*SHORT, f"--leader-elect-resource-lock={kind}")
        path = f"/api/v1/namespaces/default/{kind}/node-ipam-controller"
        first = await start_leader(replicas, observer, "first", *flags)
        record = json.loads((await kube.get(path))["metadata"]["annotations"][RECORD])
        assert record["holderIdentity"].startswith("first_")
        assert (SHORT_LEASE, 0) == (record["leaseDurationSeconds"], record["leaderTransitions"])

        second = await start_standby(replicas, "second", *flags)
        await kube.create_node("stays")
        first.send(signal.SIGTERM)
        assert 0 == await first.exited()
        released = audit.last("first", lambda entry: entry.holder == "")
        await second.logs("may write")
        assert audit.took_lock("second").answered - released.answered <= AFTER_RELEASE
        assert RELEASED not in (await kube.get(path))["metadata"]["annotations"]

        third = await start_standby(replicas, "third", *flags)
        await kube.create_node("next")
        await observer.wait_assigned("next")
        second.kill()
        killed = time.time()
        await kube.create_node("last")
        await observer.wait_assigned("last")
        await audit.assigned("last")
        assert audit.took_lock("third").answered - killed <= SHORT_LEASE + AFTER_EXPIRY
        terms = audit.terms()
        assert ["first", "second", "third"] == [term.user for term in terms], terms
        assert [] == terms[1].fences
        check_fenced(terms[2])
        record = json.loads((await kube.get(path))["metadata"]["annotations"][RECORD])
        assert 2 == record["leaderTransitions"]
        assert 0 == third.stop()

    async def test_a_record_that_is_none_is_waited_for(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """An object with garbage for a record is taken when it stood still for a lease; all else stays."""
        path = "/api/v1/namespaces/default/configmaps"
        annotations = {RECORD: '{"holderIdentity": 7', "tests/kept": "yes"}
        metadata = {"name": "node-ipam-controller", "annotations": annotations}
        await kube.create(path, {"metadata": metadata})
        began = time.time()
        await start_leader(replicas, observer, "first", *SHORT, "--leader-elect-resource-lock=configmaps")
        assert audit.took_lock("first").received - began >= SHORT_LEASE
        lock = await kube.get(f"{path}/node-ipam-controller")
        assert "yes" == lock["metadata"]["annotations"]["tests/kept"]
