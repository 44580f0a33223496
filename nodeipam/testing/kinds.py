"""The kinds that the API server model serves, each with the rules that a real server has for it.

A `Kind` is data; what kube-apiserver does to one kind only (conversion, defaults, validation) stands in its
two functions. Of Node just the rules for pod CIDRs are here: the rest of a Node needs only the right types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Network, ip_network
from typing import Any

import msgspec

from nodeipam.runtime.errors import Cause

from .columns import (
    AGE,
    CONFIG_MAP_COLUMNS,
    ENDPOINTS_COLUMNS,
    EVENT_COLUMNS,
    LEASE_COLUMNS,
    NAME,
    NAMESPACE_COLUMNS,
    NODE_COLUMNS,
    Column,
)
from .eventforms import validate_core, validate_new
from .fields import (
    ConfigMapFields,
    CoreEventFields,
    EndpointsFields,
    EventFields,
    LeaseFields,
    NamespaceFields,
    NodeFields,
)
from .names import rfc1123_label, rfc1123_subdomain

__all__ = ["BUILTIN_KINDS", "Kind", "Validate", "anything"]

Body = Mapping[str, Any]
Normalize = Callable[[dict[str, Any]], dict[str, Any]]
Validate = Callable[[Body | None, Body], list[Cause]]


def _as_it_is(body: dict[str, Any]) -> dict[str, Any]:
    return body


def _knows_all(body: Body) -> Iterable[str]:  # noqa: ARG001 - the place of one that looks
    return ()


def anything(old: Body | None, new: Body) -> list[Cause]:  # noqa: ARG001 - a Validate
    """Nothing is wrong: the validation of a kind without rules."""
    return []


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of object, as the API server treats it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    singular: str = ""
    """The name of one; empty: the kind in lower case."""
    short_names: tuple[str, ...] = ()
    """What people may type instead of the plural."""
    columns: tuple[Column, ...] = (NAME, AGE)
    """What `kubectl get` shows."""
    status: bool = False
    """Whether it has a status subresource: then writes to the object leave the status, and the reverse."""
    custom: bool = True
    """Whether it came by a CustomResourceDefinition: then items of a list name their kind, for one."""
    generation: bool = False
    """Whether changes of its spec are counted, if it isn't custom; of custom kinds they are."""
    create_on_update: bool = False
    """Whether PUT makes an object that isn't there."""
    unconditional_update: bool = False
    """Whether PUT without a resourceVersion is taken."""
    delete_collection: bool = True
    """Whether all of a collection may be deleted at once."""
    protected: frozenset[str] = frozenset()
    """The names of those that can't be deleted."""
    lingers: bool = False
    """Whether what is deleted stays until somebody has seen to what it holds, finalizers or not."""
    merge_keys: Mapping[str, str] = field(default_factory=dict)
    """The lists that a strategic merge patch merges; see `strategic.MergeKeys`."""
    fields: type[msgspec.Struct] | None = None
    """What it is made of besides metadata, where that isn't a schema's business."""
    fields_selected: Mapping[str, Callable[[Body], str]] = field(default_factory=dict)
    """What else than its name and namespace a field selector may name, and how it is found."""
    names: Callable[[str], tuple[str, ...]] = rfc1123_subdomain
    """What is wrong with a name."""
    schema: Mapping[str, Any] | None = None
    """What it is made of, in the words of its CustomResourceDefinition, where it has one."""
    normalize: Normalize = _as_it_is
    """Conversion and defaults, on every write; returns a new body or the same."""
    unknown: Callable[[Body], Iterable[str]] = _knows_all
    """The fields that it doesn't have, by their paths."""
    validate: Validate = anything
    """What is wrong with the new body, given the old one (None: it is being created)."""

    @property
    def counts(self) -> bool:
        """Whether its objects have a generation."""
        return self.custom or self.generation

    @property
    def group(self) -> str:
        """The API group; "" is the core one."""
        return self.api_version.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Plural and group: the name by which the model knows this kind, as `str(Resource)` writes it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _texts(*paths: str) -> Mapping[str, Callable[[Body], str]]:
    """Fields by their dotted paths, as the text that a field selector compares; "" where there is none."""
    return {path: partial(_text, path.split(".")) for path in paths}


def _text(path: Sequence[str], body: Body) -> str:
    found: Any = body
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    if isinstance(found, bool):
        return str(found).lower()
    return "" if found is None else str(found)


def _unschedulable(body: Body) -> str:
    return _text(("spec", "unschedulable"), body) or "false"


def _source(body: Body) -> str:
    return _text(("source", "component"), body) or _text(("reportingComponent",), body)


_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def _normalize_node(body: dict[str, Any]) -> dict[str, Any]:
    """Convert podCIDR and podCIDRs as v1 to internal and back does: podCIDR is always podCIDRs[0].

    Where both are given and disagree, podCIDR alone counts.
    """
    spec = body.get("spec")
    if not isinstance(spec, dict):
        return body
    one, many = spec.get("podCIDR") or "", spec.get("podCIDRs") or []
    if one and (not many or many[0] != one):
        many = [one]
    rest = {k: v for k, v in spec.items() if k not in {"podCIDR", "podCIDRs"}}
    return {**body, "spec": {"podCIDR": many[0], "podCIDRs": many, **rest} if many else rest}


def _validate_node(old: Body | None, new: Body) -> list[Cause]:
    before, after = _pod_cidrs(old), _pod_cidrs(new)
    if after == before:
        return []
    causes = [
        Cause(
            "FieldValueInvalid",
            f'Invalid value: "{text}": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
            f"spec.podCIDRs[{index}]",
        )
        for index, text in enumerate(after)
        if not _valid_cidr(text)
    ]
    families = [":" in text for text in after]
    if len(set(families)) != len(families):
        shown = msgspec.json.encode(after).decode()
        message = f"Invalid value: {shown}: may specify no more than one CIDR for each IP family"
        causes.append(Cause("FieldValueInvalid", message, "spec.podCIDRs"))
    if before:
        message = 'Forbidden: node updates may not change podCIDR except from "" to valid'
        causes.append(Cause("FieldValueForbidden", message, "spec.podCIDRs"))
    return causes


def _pod_cidrs(body: Body | None) -> list[str]:
    spec = (body or {}).get("spec") or {}
    found: list[str] = spec.get("podCIDRs") or []
    return found


_CIDR = re.compile(r"[0-9a-fA-F:.]+/(0|[1-9][0-9]{0,2})")


def _valid_cidr(text: str) -> bool:
    if not _CIDR.fullmatch(text):
        return False
    try:
        network = ip_network(text)
    except ValueError:
        return False
    return not (isinstance(network, IPv6Network) and network.network_address.ipv4_mapped)


def _validate_config_map(old: Body | None, new: Body) -> list[Cause]:  # noqa: ARG001 - a Validate
    texts, data = new.get("data", {}), new.get("binaryData", {})
    causes = [
        Cause("FieldValueInvalid", f'Invalid value: "{key}": {_CONFIG_KEY_RULE}', f"data[{key}]")
        for key in (*texts, *data)
        if not _CONFIG_KEY.fullmatch(key)
    ]
    if sum(map(len, (*texts.values(), *data.values()))) > _MOST_DATA:
        causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {_MOST_DATA} bytes", "[]"))
    return causes


_CONFIG_KEY = re.compile("[-._a-zA-Z0-9]+")
_CONFIG_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_MOST_DATA = 1 << 20
"""Bytes in all of a ConfigMap's values."""


def _normalize_namespace(body: dict[str, Any]) -> dict[str, Any]:
    """Whatever a client says: a Namespace has a label with its name, and is there or going."""
    metadata = body["metadata"]
    labels = {**metadata.get("labels", {}), "kubernetes.io/metadata.name": metadata["name"]}
    phase = "Terminating" if "deletionTimestamp" in metadata else "Active"
    return {
        "metadata": {**metadata, "labels": labels},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {**body.get("status", {}), "phase": phase},
    }


def _validate_lease(old: Body | None, new: Body) -> list[Cause]:  # noqa: ARG001 - a Validate
    spec = new.get("spec") or {}
    causes = []
    if (seconds := spec.get("leaseDurationSeconds")) is not None and seconds <= 0:
        message = f"Invalid value: {seconds}: must be greater than 0"
        causes.append(Cause("FieldValueInvalid", message, "spec.leaseDurationSeconds"))
    if (transitions := spec.get("leaseTransitions")) is not None and transitions < 0:
        message = f"Invalid value: {transitions}: must be greater than or equal to 0"
        causes.append(Cause("FieldValueInvalid", message, "spec.leaseTransitions"))
    return causes


BUILTIN_KINDS = (
    Kind(
        api_version="v1",
        kind="Namespace",
        plural="namespaces",
        short_names=("ns",),
        columns=NAMESPACE_COLUMNS,
        namespaced=False,
        status=True,
        custom=False,
        unconditional_update=True,
        delete_collection=False,
        protected=frozenset({"default", "kube-public", "kube-system"}),
        lingers=True,
        fields=NamespaceFields,
        fields_selected=_texts("status.phase"),
        names=rfc1123_label,
        normalize=_normalize_namespace,
    ),
    Kind(
        api_version="v1",
        kind="Node",
        plural="nodes",
        short_names=("no",),
        columns=NODE_COLUMNS,
        namespaced=False,
        status=True,
        custom=False,
        fields=NodeFields,
        fields_selected={"spec.unschedulable": _unschedulable},
        unconditional_update=True,
        merge_keys={"spec.podCIDRs": "", "status.addresses": "type", "status.conditions": "type"},
        normalize=_normalize_node,
        validate=_validate_node,
    ),
    Kind(
        api_version="coordination.k8s.io/v1",
        kind="Lease",
        plural="leases",
        columns=LEASE_COLUMNS,
        namespaced=True,
        custom=False,
        fields=LeaseFields,
        create_on_update=True,
        validate=_validate_lease,
    ),
    Kind(
        api_version="v1",
        kind="ConfigMap",
        plural="configmaps",
        short_names=("cm",),
        columns=CONFIG_MAP_COLUMNS,
        namespaced=True,
        custom=False,
        fields=ConfigMapFields,
        validate=_validate_config_map,
        unconditional_update=True,
    ),
    Kind(
        api_version="v1",
        kind="Endpoints",
        plural="endpoints",
        short_names=("ep",),
        columns=ENDPOINTS_COLUMNS,
        namespaced=True,
        custom=False,
        fields=EndpointsFields,
        create_on_update=True,
        unconditional_update=True,
    ),
    Kind(
        api_version="v1",
        kind="Event",
        plural="events",
        short_names=("ev",),
        columns=EVENT_COLUMNS,
        namespaced=True,
        custom=False,
        validate=validate_core,
        fields=CoreEventFields,
        fields_selected={
            **_texts(
                *(f"involvedObject.{name}" for name in _REFERENCE), "reason", "type", "reportingComponent"
            ),
            "source": _source,
        },
        create_on_update=True,
        unconditional_update=True,
    ),
    Kind(
        api_version="events.k8s.io/v1",
        kind="Event",
        plural="events",
        short_names=("ev",),
        columns=EVENT_COLUMNS,
        namespaced=True,
        custom=False,
        validate=validate_new,
        fields=EventFields,
        fields_selected=_texts(
            *(f"regarding.{name}" for name in _REFERENCE), "reason", "type", "reportingController"
        ),
        create_on_update=True,
        unconditional_update=True,
    ),
)
"""Registered in every model from the start."""
