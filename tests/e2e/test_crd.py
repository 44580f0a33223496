"""What manifests/crd.yaml accepts and refuses, and that no object stored before it is trapped by it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.definition import lax_definition
from tests.e2e.kube import CLUSTER_CIDRS, ApiError, Kube, Object, read_manifests, requires

MANIFESTS = Path(__file__).parents[2] / "manifests"
EXAMPLES = sorted((MANIFESTS / "examples").glob("*.yaml"))
POOL = f"{CLUSTER_CIDRS}/pool"
FINALIZER = "networking.x-k8s.io/cluster-cidr-finalizer"
SELECTOR = {"nodeSelectorTerms": [requires("zone", "In", "a")]}
V4 = {"perNodeHostBits": 8, "ipv4": "10.244.0.0/16"}
V6 = {"perNodeHostBits": 8, "ipv6": "2001:db8::/110"}
DUAL = {**V4, **V6}


def pool(spec: Any) -> Object:
    """The ClusterCIDR `pool`; None makes one without a spec."""
    body: Object = {
        "apiVersion": "networking.x-k8s.io/v1",
        "kind": "ClusterCIDR",
        "metadata": {"name": "pool"},
        "spec": spec,
    }
    if spec is None:
        del body["spec"]
    return body


def selecting(**term: Any) -> Object:
    """An IPv4 spec whose selector has one term."""
    return {**V4, "nodeSelector": {"nodeSelectorTerms": [term]}}


INN = selecting(**requires("a", "Inn", "x"))


async def refusal(attempt: Any) -> str:
    """What the API server says about a write, which it has to refuse as invalid."""
    with pytest.raises(ApiError) as refused:
        await attempt
    assert 422 == refused.value.status
    return str(refused.value)


class TestAcceptance:
    @pytest.mark.parametrize(
        "spec",
        [
            V4,
            V6,
            DUAL,
            {**V4, "ipv6": ""},
            {**V6, "ipv4": ""},
            {**V4, "ipv4": "10.1.2.3/16"},
            {**V6, "ipv6": "2001:db8::1/110"},
            {**V6, "ipv6": "2001:0DB8:0000:0000:0000:0000:0000:0000/110"},
            {"perNodeHostBits": 4, "ipv4": "10.0.0.0/8"},
            {"perNodeHostBits": 8, "ipv4": "10.0.0.0/24"},
            {"perNodeHostBits": 32, "ipv4": "0.0.0.0/0"},
            {"perNodeHostBits": 120, "ipv6": "fd00::/8"},
            {"perNodeHostBits": 4, "ipv6": "fd00::/8"},
            {**V4, "nodeSelector": {"nodeSelectorTerms": []}},
            {**V4, "nodeSelector": {"nodeSelectorTerms": [{}]}},
            {**V4, "nodeSelector": SELECTOR},
            selecting(
                matchExpressions=[
                    {"key": "a", "operator": "NotIn", "values": ["x", "y"]},
                    {"key": "b", "operator": "Exists"},
                    {"key": "c", "operator": "DoesNotExist"},
                    {"key": "d", "operator": "Gt", "values": ["1"]},
                    {"key": "e", "operator": "Lt", "values": ["1"]},
                ],
                matchFields=[{"key": "metadata.name", "operator": "In", "values": ["node-1"]}],
            ),
        ],
        ids=json.dumps,
    )
    async def test_accepted(self, kube: Kube, spec: Object) -> None:
        """What can be served is stored as it was written."""
        await kube.create(CLUSTER_CIDRS, pool(spec))
        assert spec == (await kube.get(POOL))["spec"]

    @pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
    async def test_examples(self, kube: Kube, path: Path) -> None:
        """Every example that is shipped is accepted."""
        bodies = read_manifests(path)
        for body in bodies:
            await kube.create(CLUSTER_CIDRS, body)
        assert len(bodies) == len(await kube.items(CLUSTER_CIDRS)) > 0


class TestRejection:
    @pytest.mark.parametrize(
        "spec,message",
        [
            (None, "spec: Required value: spec is required and cannot be removed"),
            ({"ipv4": "10.0.0.0/16"}, "spec.perNodeHostBits: Required value"),
            (
                {"perNodeHostBits": 8},
                'ipv4 or ipv6 is needed, or both, such as "10.244.0.0/16" and "2001:db8::/64"',
            ),
            ({"perNodeHostBits": 8, "ipv4": "", "ipv6": ""}, "ipv4 or ipv6 is needed, or both"),
            (
                {**V4, "perNodeHostBits": 3},
                "spec.perNodeHostBits: Invalid value: 3: must be at least 4, which gives",
            ),
            ({**V4, "perNodeHostBits": -1}, "spec.perNodeHostBits: Invalid value: -1: must be at least 4"),
            ({**V4, "perNodeHostBits": "8"}, "spec.perNodeHostBits: Invalid value"),
            (
                {**V4, "perNodeHostBits": 17},
                "at most 32 minus the prefix length of ipv4 10.244.0.0/16; lower it, or",
            ),
            (
                {**V6, "perNodeHostBits": 19},
                "at most 128 minus the prefix length of ipv6 2001:db8::/110; lower it",
            ),
            ({**DUAL, "perNodeHostBits": 17}, "at most 32 minus the prefix length of ipv4 10.244.0.0/16"),
            ({**V4, "ipv6": "fd00::/121"}, "at most 128 minus the prefix length of ipv6 fd00::/121"),
            ({**V4, "ipv4": "10.244.0.0"}, "spec.ipv4: Invalid value"),
            ({**V4, "ipv4": "10.244.0.0/33"}, 'such as "10.244.0.0/16"'),
            ({**V4, "ipv4": "10.244.0.0/016"}, "without leading zeros"),
            ({**V4, "ipv4": "010.244.0.0/16"}, "without leading zeros"),
            ({**V4, "ipv4": "10.244.0.0/255.255.0.0"}, "must be an IPv4 range in CIDR notation"),
            ({**V4, "ipv4": "2001:db8::/64"}, "must be an IPv4 range in CIDR notation"),
            ({**V4, "ipv4": 10}, "spec.ipv4: Invalid value"),
            ({**V6, "ipv6": "10.0.0.0/16"}, "must be an IPv6 range in CIDR notation"),
            ({**V6, "ipv6": "fe80::%eth0/64"}, "must be an IPv6 range in CIDR notation"),
            ({**V6, "ipv6": "::ffff:10.0.0.0/104"}, "must be an IPv6 range in CIDR notation"),
            ({**V6, "ipv6": "0" * 50}, "spec.ipv6: Too long: may not be more than 49"),
            ({**V4, "nodeSelector": {}}, "spec.nodeSelector.nodeSelectorTerms: Required value"),
            (selecting(matchExpressions=[{"key": "a"}]), "matchExpressions[0].operator: Required value"),
            (selecting(matchExpressions=[{"operator": "In"}]), "matchExpressions[0].key: Required value"),
            (
                INN,
                'operator: Unsupported value: "Inn": supported',
            ),
            (
                selecting(matchFields=[{"key": "spec.podCIDR", "operator": "In", "values": ["x"]}]),
                'matchFields[0].key: Unsupported value: "spec.podCIDR": supported values: "metadata.name"',
            ),
            (
                selecting(matchFields=[{"key": "metadata.name", "operator": "Exists"}]),
                'matchFields[0].operator: Unsupported value: "Exists": supported values: "In", "NotIn"',
            ),
        ],
    )
    async def test_d20_refused(self, kube: Kube, spec: Any, message: str) -> None:
        """D-20: what could never be served is refused, with the field, the value and what would be right."""
        assert message in await refusal(kube.create(CLUSTER_CIDRS, pool(spec), dryRun="All"))

    async def test_wrong_types(self, kube: Kube) -> None:
        """A spec that is null is none."""
        assert "spec is required" in await refusal(kube.create(CLUSTER_CIDRS, {**pool(V4), "spec": None}))


class TestImmutability:
    @pytest.mark.parametrize(
        "before,patch,message",
        [
            (
                V4,
                {"perNodeHostBits": 9},
                "spec.perNodeHostBits: Invalid value: perNodeHostBits cannot be changed",
            ),
            (
                V4,
                {"ipv4": "10.245.0.0/16"},
                "ipv4 cannot be changed, added or removed; create another ClusterCIDR",
            ),
            (V4, {"ipv4": "10.244.0.0/15"}, "ipv4 cannot be changed"),
            (V4, {"ipv6": "2001:db8::/110"}, "ipv6 cannot be changed, added or removed"),
            ({**V4, "ipv6": ""}, {"ipv6": "2001:db8::/110"}, "ipv6 cannot be changed, added or removed"),
            (DUAL, {"ipv6": None}, "ipv6 cannot be changed, added or removed"),
            (DUAL, {"ipv6": ""}, "ipv6 cannot be changed, added or removed"),
            (DUAL, {"ipv4": None}, "ipv4 cannot be changed, added or removed"),
            (V4, {"nodeSelector": SELECTOR}, "nodeSelector cannot be changed, added or removed"),
            (
                V4,
                {"nodeSelector": {"nodeSelectorTerms": []}},
                "nodeSelector cannot be changed, added or removed",
            ),
            ({**V4, "nodeSelector": SELECTOR}, {"nodeSelector": None}, "nodeSelector cannot be changed"),
            (
                {**V4, "nodeSelector": SELECTOR},
                {"nodeSelector": {"nodeSelectorTerms": [requires("zone", "In", "b")]}},
                "nodeSelector cannot be changed",
            ),
            (V4, {"perNodeHostBits": None}, "spec.perNodeHostBits: Required value"),
        ],
    )
    async def test_d17_refused(self, kube: Kube, before: Object, patch: Object, message: str) -> None:
        """D-17: nothing in a spec changes, appears or disappears."""
        await kube.create(CLUSTER_CIDRS, pool(before))
        assert message in await refusal(kube.patch(POOL, {"spec": patch}))
        assert before == (await kube.get(POOL))["spec"]

    async def test_d17_the_spec_cannot_be_removed(self, kube: Kube) -> None:
        """D-17: immutability can't be got around by taking the spec away first, by PATCH or by PUT."""
        stored = await kube.create(CLUSTER_CIDRS, pool(V4))
        assert "spec is required and cannot be removed" in await refusal(kube.patch(POOL, {"spec": None}))
        del stored["spec"]
        assert "spec is required and cannot be removed" in await refusal(kube.replace(POOL, stored))

    async def test_d17_an_empty_range_is_an_absent_one(self, kube: Kube) -> None:
        """D-17: "" may come and go, since typed clients drop it without being asked."""
        await kube.create(CLUSTER_CIDRS, pool({**V4, "ipv6": ""}))
        await kube.patch(POOL, {"spec": {"ipv6": None}})
        assert V4 == (await kube.get(POOL))["spec"]
        await kube.patch(POOL, {"spec": {"ipv6": ""}})
        assert {**V4, "ipv6": ""} == (await kube.get(POOL))["spec"]

    async def test_the_same_again(self, kube: Kube) -> None:
        """Applying the same manifest again is fine."""
        for _ in range(2):
            await kube.apply([pool({**DUAL, "nodeSelector": SELECTOR})])


class TestStatus:
    async def test_conditions(self, kube: Kube) -> None:
        """Conditions are written through /status alone, and nothing but the status is."""
        await kube.create(CLUSTER_CIDRS, pool(V4))
        condition = {
            "type": "Ready",
            "status": "True",
            "reason": "Allocating",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
        patch = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"ipv4": ""},
            "status": {"conditions": [condition]},
        }
        await kube.patch(f"{POOL}/status", patch)
        stored = await kube.get(POOL)
        assert ({"conditions": [condition]}, V4) == (stored["status"], stored["spec"])
        await kube.patch(POOL, {"status": {"conditions": []}})
        assert [condition] == (await kube.get(POOL))["status"]["conditions"]
        assert 1 == (await kube.get(POOL))["metadata"]["generation"]


STORED_LAXLY: dict[str, Any] = {
    "host bits 2": {**V4, "perNodeHostBits": 2},
    "host bits -1": {**V4, "perNodeHostBits": -1},
    "20 on a /16": {**V4, "perNodeHostBits": 20},
    "empty ipv6": {**V4, "ipv6": ""},
    "no range": {"perNodeHostBits": 8},
    "no CIDR": {**V4, "ipv4": "garbage"},
    "long range": {**V4, "ipv4": "1" * 60},
    "operator Inn": INN,
    "field of a label": selecting(matchFields=[{"key": "zone", "operator": "Gt", "values": ["1"]}]),
    "no terms": {**V4, "nodeSelector": {"nodeSelectorTerms": []}},
    "no spec": None,
}


@pytest.mark.usefixtures("observer")
class TestStoredBefore:
    async def test_d20_nothing_is_trapped(self, kube: Kube) -> None:
        """Objects that break the rules, stored before them, are labelled, replaced, finalized and deleted."""
        async with lax_definition(kube):
            for number, spec in enumerate(STORED_LAXLY.values()):
                await kube.create(CLUSTER_CIDRS, {**pool(spec), "metadata": {"name": f"pool-{number}"}})
        for number, spec in enumerate(STORED_LAXLY.values()):
            await self._live_and_die(kube, f"{CLUSTER_CIDRS}/pool-{number}", spec)
        assert [] == await kube.items(CLUSTER_CIDRS)

    async def _live_and_die(self, kube: Kube, path: str, spec: Any) -> None:
        await kube.patch(path, {"metadata": {"labels": {"a": "b"}}})
        await kube.patch(path, {"metadata": {"finalizers": [FINALIZER]}})
        condition = {
            "type": "Ready",
            "status": "False",
            "reason": "Invalid",
            "message": "why",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        await kube.patch(f"{path}/status", {"status": {"conditions": [condition]}})
        stored = await kube.get(path)
        assert ([condition], spec) == (stored["status"]["conditions"], stored.get("spec"))
        stored["metadata"]["labels"] = {"c": "d"}
        await kube.replace(path, stored)
        await kube.delete(path)
        assert (await kube.get(path))["metadata"]["deletionTimestamp"]
        await kube.patch(path, {"metadata": {"finalizers": None}})
        with pytest.raises(ApiError, match="404"):
            await kube.get(path)

    async def test_the_rules_hold_for_what_changes(self, kube: Kube) -> None:
        """What is stored is left alone, but not made worse: a faulty spec can't be changed either."""
        async with lax_definition(kube):
            await kube.create(CLUSTER_CIDRS, pool({**V4, "perNodeHostBits": -1}))
        assert "perNodeHostBits cannot be changed" in await refusal(
            kube.patch(POOL, {"spec": {"perNodeHostBits": 8}})
        )
        assert "ipv6 cannot be changed" in await refusal(kube.patch(POOL, {"spec": {"ipv6": "fd00::/64"}}))
