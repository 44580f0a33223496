"""What people are told about an object, once for each change (I8), however often the work is retried."""

from __future__ import annotations

from nodeipam.api.clustercidr import CLUSTER_CIDRS, ClusterCIDR
from nodeipam.api.node import NODES, Node
from nodeipam.runtime import EventRecorder, ObjectReference

__all__ = ["Reports"]


class Reports:
    """Warning events about Nodes and ClusterCIDRs; remembers what was said last, and repeats nothing.

    About a Node the reasons are `CIDRNotAvailable` (no pool can serve it), `CIDRAssignmentFailed` (its ranges
    can't be written), `CIDRConflict` (they overlap somebody else's), `CIDRInvalid` (they are no ranges) and
    `CIDROutOfRange` (they lie in no ClusterCIDR). About a ClusterCIDR it is `InvalidClusterCIDR`.
    """

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder
        self._said: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}

    def said_of_node(self, name: str) -> bool:
        """Whether anything was said about the Node of this name that hasn't been settled since."""
        return (NODES.kind, name) in self._said

    def warn(self, about: Node | ClusterCIDR, reason: str, note: str, *, gist: str = "") -> None:
        """Say `note` about an object, unless that is what was said last for this reason.

        `gist` is what has to differ for it to be said again, where the note has details that vary; the note
        itself by default.
        """
        kind = NODES if isinstance(about, Node) else CLUSTER_CIDRS
        name, uid = about.metadata.name, about.metadata.uid
        of, said = self._said.get((kind.kind, name), ("", {}))
        if of != uid:
            said = {}
        if said.get(reason) == (gist or note):
            return
        said[reason] = gist or note
        self._said[kind.kind, name] = (uid, said)
        regarding = ObjectReference(api_version=kind.api_version, kind=kind.kind, name=name, uid=uid)
        self._recorder.event(regarding, type="Warning", reason=reason, action="AllocateCIDR", note=note)

    def settle_node(self, name: str, *reasons: str) -> None:
        """Note that these reasons (or all) no longer hold: should one come back, it is said again."""
        self._settle((NODES.kind, name), reasons)

    def settle_pool(self, name: str) -> None:
        """There is nothing wrong with this ClusterCIDR any more, or it is gone."""
        self._settle((CLUSTER_CIDRS.kind, name), ())

    def _settle(self, key: tuple[str, str], reasons: tuple[str, ...]) -> None:
        _, said = self._said.get(key, ("", {}))
        for reason in reasons or tuple(said):
            said.pop(reason, None)
        if not said:
            self._said.pop(key, None)
