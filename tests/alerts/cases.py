"""When each alert fires, and when it doesn't: series in the words of promtool, with a sample a minute."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .promtool import RULES, alerts

__all__ = ["CASES", "Case"]

Labels = Mapping[str, str]

_A = 'namespace="nodeipam",job="ipam",instance="10.0.0.1:8081"'
_B = 'namespace="nodeipam",job="ipam",instance="10.0.0.2:8081"'
_OTHER = 'namespace="kube-system",job="other",instance="10.0.0.3:9090"'
_POOL = 'clusterCIDRName="pool",clusterCIDR="10.0.0.0/8"'
_HERE: Labels = {"namespace": "nodeipam"}


@dataclass(frozen=True, slots=True)
class Case:
    """What Prometheus has seen, and the labels and description of `alert` at `minute`, if it fires."""

    why: str
    alert: str
    minute: int
    series: Mapping[str, str]
    fires: tuple[Labels, str] | None = None

    def document(self) -> dict[str, Any]:
        """The file that `promtool test rules` reads, as data."""
        rule = alerts()[self.alert]
        expected = []
        if self.fires is not None:
            labels, description = self.fires
            annotations = {**rule["annotations"], "description": description}
            expected.append({"exp_labels": {**rule["labels"], **labels}, "exp_annotations": annotations})
        return {
            "rule_files": [str(RULES)],
            "evaluation_interval": "1m",
            "tests": [
                {
                    "interval": "1m",
                    "input_series": [{"series": name, "values": text} for name, text in self.series.items()],
                    "alert_rule_test": [
                        {"eval_time": f"{self.minute}m", "alertname": self.alert, "exp_alerts": expected}
                    ],
                }
            ],
        }


def _info(*instances: str, values: str = "1x200") -> dict[str, str]:
    return {f'node_ipam_controller_build_info{{version="1",{labels}}}': values for labels in instances}


def _gauge(name: str, labels: str, values: str) -> dict[str, str]:
    return {f"{name}{{{labels}}}": values}


def _state(state: str, values: str, labels: str = _A) -> dict[str, str]:
    return _gauge(
        "node_ipam_controller_cluster_cidr_state", f'clusterCIDRName="pool",state="{state}",{labels}', values
    )


def _blocks(free: str, most: str = "100x200") -> dict[str, str]:
    return {
        f"node_ipam_controller_multicidrset_{name}_cidrs{{{_POOL},{replica}}}": values
        for name, values in (("free", free), ("max", most))
        for replica in (_A, _B)
    }


def _waiting(cause: str, values: str) -> dict[str, str]:
    name = "node_ipam_controller_waiting_nodes"
    return _gauge(name, f'cause="{cause}",{_A}', values) | _gauge(name, f'cause="{cause}",{_B}', "0x200")


def _leads(first: str, second: str) -> dict[str, str]:
    name = "leader_election_master_status"
    return _info(_A, _B) | _gauge(name, f'name="l",{_A}', first) | _gauge(name, f'name="l",{_B}', second)


def _reconciles(total: str, errors: str, labels: str = _A) -> dict[str, str]:
    controller = f'controller="node-ipam",{labels}'
    return (
        _info(_A)
        | _gauge("controller_runtime_reconcile_total", f'result="success",{controller}', total)
        | _gauge("controller_runtime_reconcile_errors_total", controller, errors)
    )


def _requests(code: str, values: str, labels: str = _A) -> dict[str, str]:
    return _info(_A) | _gauge("rest_client_requests_total", f'code="{code}",method="PATCH",{labels}', values)


def _activity(values: str, labels: str = _A) -> dict[str, str]:
    return _info(_A) | _gauge("reflector_last_activity_seconds", f'resource="nodes",{labels}', values)


_CONFLICTS, _ASIDE = "node_ipam_controller_conflicting_nodes", "node_ipam_controller_set_aside_nodes"
_SUFFERING = (
    "3 Nodes wait for a range, and the ClusterCIDRs that match them have no free block. "
    "No Pod can run on these Nodes."
)
_CROWDED = "9% of the blocks of 10.0.0.0/8, of ClusterCIDR pool, are free."
_REFUSED = '3 Nodes have waited for a range for 15 minutes. The cause is "no_match".'
_UNFENCED = (
    "2 Nodes can't be annotated, so that a write of the leader before might still land on them. "
    "They get no range."
)
_SHARED = "2 Nodes have ranges that overlap another Node's. Pods on them can have the same address."
_BROKEN = "No Node gets a range of ClusterCIDR pool. Its condition Ready says why."
_LINGERS = "ClusterCIDR pool was deleted an hour ago, and Nodes still have ranges of it."
_NOBODY = (
    "Nobody has answered on /metrics for 5 minutes. "
    "New Nodes get no pod addresses; those of other Nodes stay."
)
_HEADLESS = "All replicas have been standing by for 2 minutes. New Nodes get no pod addresses."
_RESTLESS = "Replicas have begun or stopped to lead 6 times in 30 minutes."
_SILENT = (
    "A watch of nodes has had no event and no bookmark for 15m 0s. "
    "The API server sends a bookmark every minute."
)
_FAILING = "20% of the reconciles of controller node-ipam end in an error."
_DENIED = "0.10 requests a second are answered with 403."

CASES = (
    Case(
        "two Nodes overlap, as both replicas see",
        "NodeIPAMConflict",
        3,
        _gauge(_CONFLICTS, _A, "0 2x9") | _gauge(_CONFLICTS, _B, "0 2x9"),
        (_HERE, _SHARED),
    ),
    Case("none overlaps", "NodeIPAMConflict", 9, _gauge(_CONFLICTS, _A, "0x9")),
    Case("Nodes wait", "NodeIPAMExhausted", 6, _waiting("exhausted", "3x9"), (_HERE, _SUFFERING)),
    Case("for a moment only", "NodeIPAMExhausted", 9, _waiting("exhausted", "3x3 0x9")),
    Case("for another cause", "NodeIPAMExhausted", 9, _waiting("no_match", "3x9")),
    Case(
        "9 of 100 are left",
        "NodeIPAMSoonExhausted",
        16,
        _blocks("9x200"),
        ({**_HERE, "clusterCIDRName": "pool", "clusterCIDR": "10.0.0.0/8"}, _CROWDED),
    ),
    Case("10 of 100 are left", "NodeIPAMSoonExhausted", 16, _blocks("10x200")),
    Case(
        "nobody wants more of it",
        "NodeIPAMSoonExhausted",
        16,
        _blocks("9x200") | _state("Terminating", "1x200"),
    ),
    Case(
        "no ClusterCIDR matches",
        "NodeIPAMNodesWaiting",
        16,
        _waiting("no_match", "3x20"),
        ({**_HERE, "cause": "no_match"}, _REFUSED),
    ),
    Case("another alert's business", "NodeIPAMNodesWaiting", 16, _waiting("exhausted", "3x20")),
    Case(
        "an admission webhook holds on",
        "NodeIPAMNodesSetAside",
        16,
        _gauge(_ASIDE, _A, "2x20"),
        (_HERE, _UNFENCED),
    ),
    Case("while a leader begins", "NodeIPAMNodesSetAside", 16, _gauge(_ASIDE, _A, "2x10 0x10")),
    Case(
        "a mistake in it",
        "NodeIPAMClusterCIDRInvalid",
        6,
        _state("Invalid", "1x9"),
        ({**_HERE, "clusterCIDRName": "pool"}, _BROKEN),
    ),
    Case("it works", "NodeIPAMClusterCIDRInvalid", 6, _state("Allocating", "1x9")),
    Case(
        "Nodes keep it, across a change of leaders",
        "NodeIPAMClusterCIDRTerminating",
        61,
        _state("Terminating", "1x30 _x50") | _state("Terminating", "_x28 1x50", _B),
        ({**_HERE, "clusterCIDRName": "pool"}, _LINGERS),
    ),
    Case(
        "it goes with its last Node", "NodeIPAMClusterCIDRTerminating", 61, _state("Terminating", "1x50 _x20")
    ),
    Case("it went", "NodeIPAMDown", 26, _info(_A, values="1x15 stale"), ({}, _NOBODY)),
    Case("another replica is there", "NodeIPAMDown", 26, _info(_A, values="1x15 stale") | _info(_B)),
    Case("both stand by", "NodeIPAMNoLeader", 3, _leads("0x9", "0x9"), (_HERE, _HEADLESS)),
    Case("one leads", "NodeIPAMNoLeader", 3, _leads("0x9", "1x9")),
    Case("no election, no leader", "NodeIPAMNoLeader", 9, _info(_A)),
    Case(
        "another program's standby",
        "NodeIPAMNoLeader",
        9,
        _leads("0x9", "1x9") | _gauge("leader_election_master_status", f'name="o",{_OTHER}', "0x9"),
    ),
    Case(
        "it goes to and fro",
        "NodeIPAMLeaderFlapping",
        40,
        _leads("0x20 1 0 1x30", "1x20 0 1 0x30"),
        (_HERE, _RESTLESS),
    ),
    Case("an upgrade", "NodeIPAMLeaderFlapping", 30, _leads("1x10 0x30", "0x10 1x30")),
    Case(
        "nothing is heard",
        "NodeIPAMWatchStale",
        15,
        _activity("0+60x30"),
        ({**_HERE, "resource": "nodes"}, _SILENT),
    ),
    Case("bookmarks come", "NodeIPAMWatchStale", 15, _activity("59x30")),
    Case("another program's watch", "NodeIPAMWatchStale", 15, _activity("0+60x30", _OTHER)),
    Case(
        "one in five",
        "NodeIPAMReconcileErrors",
        30,
        _reconciles("0+100x40", "0+20x40"),
        ({**_HERE, "controller": "node-ipam"}, _FAILING),
    ),
    Case("one in twenty", "NodeIPAMReconcileErrors", 30, _reconciles("0+100x40", "0+5x40")),
    Case("nothing to do", "NodeIPAMReconcileErrors", 30, _reconciles("100x40", "20x40")),
    Case("another program's", "NodeIPAMReconcileErrors", 30, _reconciles("0+100x40", "0+20x40", _OTHER)),
    Case(
        "a right is missing",
        "NodeIPAMRequestErrors",
        30,
        _requests("403", "0+6x40"),
        ({**_HERE, "code": "403"}, _DENIED),
    ),
    Case("conflicts are part of it", "NodeIPAMRequestErrors", 30, _requests("409", "0+600x40")),
    Case("another program's", "NodeIPAMRequestErrors", 30, _requests("403", "0+6x40", _OTHER)),
)
