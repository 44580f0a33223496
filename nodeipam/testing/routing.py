"""From the path and query of a request to the kind, the object and the options that it means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from .kinds import Kind
from .status import bad_request, not_found

__all__ = ["Place", "Query", "Target", "asks_to_watch", "place_of", "route"]


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


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a list or watch."""

    watch: bool = False
    limit: int = 0
    continue_: str = ""
    resource_version: str = ""
    version_match: str = ""
    label_selector: str = ""
    field_selector: str = ""
    bookmarks: bool = False
    send_initial_events: bool = False
    timeout: float = 1800.0
    """Seconds until the server ends the watch: kube-apiserver's least, where the client doesn't say."""

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, str]]) -> Query:
        """Read what the query says.

        Raises:
            Refusal: 400, a number isn't one.
        """
        given = dict(pairs)
        return cls(
            watch=_flag(given, "watch"),
            limit=_number(given, "limit", 0),
            continue_=given.get("continue", ""),
            resource_version=given.get("resourceVersion", ""),
            version_match=given.get("resourceVersionMatch", ""),
            label_selector=given.get("labelSelector", ""),
            field_selector=given.get("fieldSelector", ""),
            bookmarks=_flag(given, "allowWatchBookmarks"),
            send_initial_events=_flag(given, "sendInitialEvents"),
            timeout=_number(given, "timeoutSeconds", 0) or 1800.0,
        )

    @property
    def version(self) -> int | None:
        """The resourceVersion as a number, None where it is not given.

        Raises:
            Refusal: 400, it isn't a number.
        """
        if not self.resource_version:
            return None
        if not self.resource_version.isdecimal():
            raise bad_request(f'resourceVersion: Invalid value: "{self.resource_version}"')
        return int(self.resource_version)


def asks_to_watch(pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether a query asks for a watch instead of a list."""
    return _flag(dict(pairs), "watch")


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
    if len(rest) >= 3 and rest[0] == "namespaces":
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


def _flag(given: Mapping[str, str], name: str) -> bool:
    return given.get(name, "").lower() in {"true", "1"}


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise bad_request(f'{name}: Invalid value: "{text}": not a number')
    return int(text)
