"""From the path of a request to the kind and the object that it means."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from .kinds import Kind
from .status import not_found

__all__ = ["Place", "Target", "place_of", "route"]


class Place(NamedTuple):
    """Where a path leads, whether or not anything is served there."""

    group: str
    version: str
    namespace: str
    plural: str
    name: str
    subresource: str


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a path names: a collection, one object, or a subresource of one."""

    kind: Kind
    namespace: str = ""
    """Of a namespaced kind, empty: all of them."""
    name: str = ""
    subresource: str = ""


@lru_cache(maxsize=4096)
def place_of(path: str) -> Place | None:
    """Take a path apart; None if it isn't that of a collection, an object or a subresource."""
    match [unquote(part) for part in path.strip("/").split("/")]:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            return None
    namespace = ""
    # "namespaces/x/status" is of the Namespace itself, whose subresources no kind is named like.
    if len(rest) >= 3 and rest[0] == "namespaces" and (group or rest[2] not in {"status", "finalize"}):
        _, namespace, *rest = rest
    if not 1 <= len(rest) <= 3:
        return None
    plural, name, subresource = (*rest, "", "")[:3]
    return Place(group, version, namespace, plural, name, subresource)


def route(kinds: Mapping[str, Kind], path: str) -> Target | None:
    """What `path` names, None if nothing is served there.

    Raises:
        Refusal: 404, a custom resource has no such subresource.
    """
    place = place_of(path)
    if place is None:
        return None
    group, version, namespace, plural, name, subresource = place
    kind = kinds.get(f"{plural}.{group}" if group else plural)
    if kind is None or kind.api_version.rpartition("/")[2] != version:
        return None
    if bool(namespace) > kind.namespaced or (name and bool(namespace) != kind.namespaced):
        return None
    if subresource and (subresource != "status" or not kind.status):
        if kind.custom:  # served by apiextensions-apiserver, which knows the object's path at least
            raise not_found(kind.plural, kind.group, name)
        return None
    return Target(kind=kind, namespace=namespace, name=name, subresource=subresource)
