"""CustomResourceDefinitions: the kind that they are, and the kind that each of them defines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from nodeipam.runtime.errors import Cause

from .columns import AGE, NAME, Column, since
from .jsonpath import compile_path
from .kinds import Kind
from .schema import Schema

__all__ = ["DEFINITIONS", "kind_of"]

_API_VERSION = "apiextensions.k8s.io/v1"


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """The kind that `manifest` defines, in its first version that is served.

    Raises:
        ValueError: it is no such manifest, or the model can't honour a part of it.
    """
    found = manifest.get("apiVersion"), manifest.get("kind")
    if found != (_API_VERSION, "CustomResourceDefinition"):
        raise ValueError(f"{found[1]} of {found[0]} is no CustomResourceDefinition of {_API_VERSION}")
    try:
        return _compiled(msgspec.json.encode(manifest["spec"]))
    except KeyError as error:
        raise ValueError(f"the CustomResourceDefinition lacks {error}") from None
    except StopIteration:
        raise ValueError("the CustomResourceDefinition serves no version") from None


@lru_cache(maxsize=64)
def _compiled(text: bytes) -> Kind:
    """Compiled once a process: a simulator makes servers by the thousand."""
    spec = msgspec.json.decode(text)
    version = next(version for version in spec["versions"] if version.get("served"))
    schema = Schema((version.get("schema") or {})["openAPIV3Schema"])
    api_version, names = f"{spec['group']}/{version['name']}", spec["names"]
    return _kind(schema, api_version, names, spec["scope"], version)


def _kind(
    schema: Schema, api_version: str, names: Mapping[str, Any], scope: str, version: Mapping[str, Any]
) -> Kind:
    def faults(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[Cause]:
        return schema.faults(new) if old is None else schema.faults(new, old)

    columns = version.get("additionalPrinterColumns")
    return Kind(
        api_version=api_version,
        kind=names["kind"],
        plural=names["plural"],
        namespaced=scope == "Namespaced",
        status="status" in (version.get("subresources") or {}),
        singular=names.get("singular", ""),
        short_names=tuple(names.get("shortNames") or ()),
        columns=(NAME, *map(_column, columns)) if columns else (NAME, AGE),
        schema=schema.given,
        unknown=schema.unknown,
        normalize=schema.complete,
        validate=faults,
    )


class _Fields(msgspec.Struct, omit_defaults=True):
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


def _completed(body: dict[str, Any]) -> dict[str, Any]:
    """Defaults, and the status that controllers inside of the server give: here at once."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    names = spec.get("names") or {}
    if kind := names.get("kind"):
        names = {"singular": kind.lower(), "listKind": f"{kind}List", **names}
    spec = {"conversion": {"strategy": "None"}, **spec, "names": names}
    if "deletionTimestamp" in metadata:
        metadata = {**metadata, "finalizers": ["customresourcecleanup.apiextensions.k8s.io"]}
    since = {"status": "True", "lastTransitionTime": metadata["creationTimestamp"]}
    status = {
        "conditions": [
            {"type": "NamesAccepted", **since, "reason": "NoConflicts", "message": "no conflicts found"},
            {
                "type": "Established",
                **since,
                "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted",
            },
        ],
        "acceptedNames": names,
        "storedVersions": [each["name"] for each in spec.get("versions") or [] if each.get("storage")],
    }
    return {"metadata": metadata, "spec": spec, "status": status}


def _faults(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[Cause]:  # noqa: ARG001 - a Validate
    name, spec = new["metadata"]["name"], new["spec"]
    causes = []
    if name != f"{spec['names'].get('plural', '')}.{spec.get('group', '')}":
        message = f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'
        causes.append(Cause("FieldValueInvalid", message, "metadata.name"))
    try:
        kind_of({"apiVersion": _API_VERSION, "kind": "CustomResourceDefinition", **new})
    except ValueError as error:
        causes.append(Cause("FieldValueInvalid", f"Invalid value: {error}", "spec"))
    return causes


DEFINITIONS = Kind(
    api_version=_API_VERSION,
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    short_names=("crd", "crds"),
    namespaced=False,
    status=True,
    custom=False,
    generation=True,
    lingers=True,
    fields=_Fields,
    normalize=_completed,
    validate=_faults,
)
"""The kind that definitions themselves are."""


def _column(given: Mapping[str, Any]) -> Column:
    find, kind = compile_path(given["jsonPath"]), given["type"]

    def cell(body: Mapping[str, Any], now: datetime) -> Any:
        found = find(body)
        return _shown(kind, found[0], now) if found else None

    return Column(
        name=given["name"],
        type=kind,
        format=given.get("format", ""),
        description=given.get("description", ""),
        priority=given.get("priority", 0),
        cell=cell,
    )


def _shown(kind: str, value: Any, now: datetime) -> Any:
    """The value as a column of its type shows it: nothing, where it isn't of that type."""
    match kind, value:
        case "string", str():
            return value
        case "string", _:
            return msgspec.json.encode(value).decode()
        case "date", str():
            return since(value, now)
        case "boolean", bool():
            return value
        case "integer" | "number", bool():
            return None
        case "integer", int() | float():
            return int(value)
        case "number", int() | float():
            return value
        case _:
            return None
