"""What the API server model says of itself: its groups, versions and resources, its version and its health.

Made from the kinds at each request, so a kind that is registered later is discovered as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from .kinds import Kind
from .openapi import openapi

__all__ = ["discover"]

_HEALTH = ("/healthz", "/livez", "/readyz")
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
_VERSION = {"major": "1", "minor": "37", "gitVersion": "v1.37.0-model", "platform": "model/memory"}


def discover(kinds: Iterable[Kind], path: str) -> tuple[bytes, str] | None:
    """Body and media type of the document at `path`; None if there is none."""
    if path in _HEALTH:
        return b"ok", "text/plain; charset=utf-8"
    known = list(kinds)
    document = openapi(known, path) if path.startswith("/openapi/") else _document(known, path.rstrip("/"))
    return None if document is None else (msgspec.json.encode(document), "application/json")


def _document(kinds: list[Kind], path: str) -> dict[str, Any] | None:
    versions = sorted({kind.api_version for kind in kinds})
    groups = sorted({kind.group for kind in kinds if kind.group})
    match path.split("/"):
        case ["", "version"]:
            return _VERSION
        case ["", "api"]:
            return {"kind": "APIVersions", "versions": [text for text in versions if "/" not in text]}
        case ["", "apis"]:
            found = [_group(group, versions) for group in groups]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}
        case ["", "apis", group] if group in groups:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)}
        case ["", "api", version] if version in versions:
            return _resources(kinds, version)
        case ["", "apis", group, version] if f"{group}/{version}" in versions:
            return _resources(kinds, f"{group}/{version}")
        case _:
            return None


def _group(name: str, api_versions: list[str]) -> dict[str, Any]:
    versions = [
        {"groupVersion": text, "version": text.rpartition("/")[2]}
        for text in api_versions
        if text.rpartition("/")[0] == name
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resources(kinds: list[Kind], api_version: str) -> dict[str, Any]:
    found = [resource for kind in kinds if kind.api_version == api_version for resource in _of(kind)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": found}


def _of(kind: Kind) -> Iterator[dict[str, Any]]:
    """A kind, and its subresource if it has one."""
    common = {"namespaced": kind.namespaced, "kind": kind.kind}
    whole = {
        "name": kind.plural,
        "singularName": kind.singular or kind.kind.lower(),
        **common,
        "verbs": _VERBS,
    }
    yield whole | ({"shortNames": kind.short_names} if kind.short_names else {})
    if kind.status:
        status = {"name": f"{kind.plural}/status", "singularName": "", **common}
        yield {**status, "verbs": ["get", "patch", "update"]}
