"""OpenAPI v3 of the API server model: as much of it as kubectl reads, and nothing that isn't so.

A custom kind is described by the schema of its definition; of a built-in one the model knows no fields, and
says that it takes any. From `paths` kubectl learns that the server validates fields, so it doesn't itself.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from .kinds import Kind

__all__ = ["openapi"]

_ROOT = "/openapi/v3"
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def openapi(kinds: list[Kind], path: str) -> dict[str, Any] | None:
    """The document at `path`; None if there is none."""
    versions = {_place(kind): kind.api_version for kind in kinds}
    if path == _ROOT:
        return {"paths": {place: _link(kinds, place, version) for place, version in versions.items()}}
    version = versions.get(path.removeprefix(f"{_ROOT}/"))
    return _of(kinds, version) if version else None


def _link(kinds: list[Kind], place: str, version: str) -> dict[str, str]:
    """Where the document of a group's version is: clients keep what they have by the hash."""
    text = msgspec.json.encode(_of(kinds, version))
    return {"serverRelativeURL": f"{_ROOT}/{place}?hash={hashlib.sha256(text).hexdigest()}"}


def _of(kinds: list[Kind], version: str) -> dict[str, Any]:
    served = [kind for kind in kinds if kind.api_version == version]
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "model"},
        "paths": {f"/{_path(kind)}": {"patch": _patch(kind)} for kind in served},
        "components": {
            "schemas": {f"{version}.{kind.kind}".replace("/", "."): _schema(kind) for kind in served}
        },
    }


def _patch(kind: Kind) -> dict[str, Any]:
    return {
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": _group_version_kind(kind),
        "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
        "responses": {"200": {"description": "OK"}},
    }


def _schema(kind: Kind) -> dict[str, Any]:
    return {**(kind.schema or _ANYTHING), "x-kubernetes-group-version-kind": [_group_version_kind(kind)]}


def _group_version_kind(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.api_version.rpartition("/")[2], "kind": kind.kind}


def _path(kind: Kind) -> str:
    middle = "namespaces/{namespace}/" if kind.namespaced else ""
    return f"{_place(kind)}/{middle}{kind.plural}/{{name}}"


def _place(kind: Kind) -> str:
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.api_version}"
