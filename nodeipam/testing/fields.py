"""What the built-in kinds are made of: the fields of each and their types, as far as they are told apart.

Go decodes a body into such types, which is why a field that a kind doesn't have is dropped, and why one of a
wrong type is refused before anything is validated. Parts that no controller of addresses and locks looks into
are kept as they come.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

__all__ = [
    "ConfigMapFields",
    "CoreEventFields",
    "EndpointsFields",
    "EventFields",
    "LeaseFields",
    "NamespaceFields",
    "NodeFields",
    "shaped",
]

T = TypeVar("T", bound=msgspec.Struct)

_SECONDS = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
_ZONE = r"(Z|[+-]\d\d:\d\d)$"
Time = Annotated[str, msgspec.Meta(pattern=rf"{_SECONDS}(\.\d+)?{_ZONE}")]
MicroTime = Annotated[str, msgspec.Meta(pattern=rf"{_SECONDS}\.\d{{6}}{_ZONE}")]
Int32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]
Anything = dict[str, Any]


class _Fields(msgspec.Struct, rename="camel", omit_defaults=True):
    """What is absent isn't stored; a map or list that is empty is as good as absent."""


def shaped(type: type[T], body: Anything) -> Anything:
    """`body` without the fields that aren't the type's, and without those that are null.

    Raises:
        msgspec.ValidationError: a field is of another type.
    """
    try:
        fields = msgspec.convert(body, type)
    except msgspec.ValidationError:
        if (whole := _without_nulls(body)) == body:
            raise
        fields = msgspec.convert(whole, type)
    made: Anything = msgspec.to_builtins(fields)
    return made


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


class _LeaseSpec(_Fields):
    holder_identity: str | None = None
    lease_duration_seconds: Int32 | None = None
    acquire_time: MicroTime | None = None
    renew_time: MicroTime | None = None
    lease_transitions: Int32 | None = None
    strategy: str | None = None
    preferred_holder: str | None = None


class LeaseFields(_Fields):
    """A Lease of coordination.k8s.io/v1."""

    spec: _LeaseSpec = msgspec.field(default_factory=_LeaseSpec)


class ConfigMapFields(_Fields):
    """A ConfigMap."""

    immutable: bool | None = None
    data: dict[str, str] = {}
    binary_data: dict[str, bytes] = {}


class EndpointsFields(_Fields):
    """An Endpoints."""

    subsets: list[Anything] = []


class _NamespaceSpec(_Fields):
    finalizers: list[str] = []


class _NamespaceStatus(_Fields):
    phase: str = ""
    conditions: list[Anything] = []


class NamespaceFields(_Fields):
    """A Namespace."""

    spec: _NamespaceSpec = msgspec.field(default_factory=_NamespaceSpec)
    status: _NamespaceStatus = msgspec.field(default_factory=_NamespaceStatus)


class _Taint(_Fields):
    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: Time | None = None


class _NodeSpec(_Fields):
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: list[str] = msgspec.field(default_factory=list, name="podCIDRs")
    provider_id: str = msgspec.field(default="", name="providerID")
    unschedulable: bool = False
    taints: list[_Taint] = []
    config_source: Anything | None = None
    external_id: str = msgspec.field(default="", name="externalID")


class _NodeStatus(_Fields):
    capacity: Anything = {}
    allocatable: Anything = {}
    phase: str = ""
    conditions: list[Anything] = []
    addresses: list[Anything] = []
    daemon_endpoints: Anything | None = None
    node_info: Anything | None = None
    images: list[Anything] = []
    volumes_in_use: list[str] = []
    volumes_attached: list[Anything] = []
    config: Anything | None = None
    runtime_handlers: list[Anything] = []
    features: Anything | None = None
    declared_features: list[str] = []


class NodeFields(_Fields):
    """A Node."""

    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


class _ObjectReference(_Fields):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class _Source(_Fields):
    component: str = ""
    host: str = ""


class _Series(_Fields):
    count: Int32 = 0
    last_observed_time: MicroTime | None = None


class CoreEventFields(_Fields):
    """An Event of v1."""

    involved_object: _ObjectReference = msgspec.field(default_factory=_ObjectReference)
    reason: str = ""
    message: str = ""
    source: _Source = msgspec.field(default_factory=_Source)
    first_timestamp: Time | None = None
    last_timestamp: Time | None = None
    count: Int32 = 0
    type: str = ""
    event_time: MicroTime | None = None
    series: _Series | None = None
    action: str = ""
    related: _ObjectReference | None = None
    reporting_component: str = ""
    reporting_instance: str = ""


class EventFields(_Fields):
    """An Event of events.k8s.io/v1."""

    event_time: MicroTime | None = None
    series: _Series | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""
    action: str = ""
    reason: str = ""
    regarding: _ObjectReference = msgspec.field(default_factory=_ObjectReference)
    related: _ObjectReference | None = None
    note: str = ""
    type: str = ""
    deprecated_source: _Source = msgspec.field(default_factory=_Source)
    deprecated_first_timestamp: Time | None = None
    deprecated_last_timestamp: Time | None = None
    deprecated_count: Int32 = 0
