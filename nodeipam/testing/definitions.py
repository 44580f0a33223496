"""From the manifest of a CustomResourceDefinition to the kind that the API server model serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodeipam.runtime.errors import Cause

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
        return _kind(
            schema, api_version, names, spec["scope"], status="status" in version.get("subresources", {})
        )
    except KeyError as error:
        raise ValueError(f"the CustomResourceDefinition lacks {error}") from None
    except StopIteration:
        raise ValueError("the CustomResourceDefinition serves no version") from None


def _kind(schema: Schema, api_version: str, names: Mapping[str, Any], scope: str, *, status: bool) -> Kind:
    def faults(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[Cause]:
        return schema.faults(new) if old is None else schema.faults(new, old)

    return Kind(
        api_version=api_version,
        kind=names["kind"],
        plural=names["plural"],
        namespaced=scope == "Namespaced",
        status=status,
        normalize=schema.complete,
        validate=faults,
    )
