"""From the manifest of a CustomResourceDefinition to the kind that the API server model serves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from nodeipam.runtime.errors import Cause

from .columns import AGE, NAME, Column, since
from .jsonpath import compile_path
from .kinds import Kind
from .schema import Schema

__all__ = ["kind_of"]

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
        spec = manifest["spec"]
        version = next(version for version in spec["versions"] if version.get("served"))
        schema = Schema(version["schema"]["openAPIV3Schema"])
        api_version, names = f"{spec['group']}/{version['name']}", spec["names"]
        return _kind(schema, api_version, names, spec["scope"], version)
    except KeyError as error:
        raise ValueError(f"the CustomResourceDefinition lacks {error}") from None
    except StopIteration:
        raise ValueError("the CustomResourceDefinition serves no version") from None


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
