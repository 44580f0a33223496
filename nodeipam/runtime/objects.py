"""What the runtime knows about Kubernetes objects: how to name a kind and one object, and its metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from .errors import ConfigurationError

__all__ = ["HasMetadata", "Metadata", "ObjectMeta", "PartialObject", "Request", "Resource", "version_number"]

T = TypeVar("T")


class Request(msgspec.Struct, frozen=True, order=True, gc=False):
    """The name of one object, as a reconciler receives it: what to look at, never what happened to it."""

    name: str
    namespace: str = ""
    """Empty for cluster-scoped kinds."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Metadata(Protocol):
    """The least metadata that a cached object must have."""

    @property
    def name(self) -> str:
        """Unique within its namespace."""

    @property
    def uid(self) -> str:
        """Unique for ever: an object that was deleted and created again has another."""

    @property
    def resource_version(self) -> str:
        """Which state of the object this is."""


class HasMetadata(Protocol):
    """An object that can be cached: anything with metadata."""

    @property
    def metadata(self) -> Metadata:
        """Its metadata."""


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """An object's metadata as far as controllers usually read it. Fields that are not listed are skipped.

    Everything is optional, since the objects inside BOOKMARK and ERROR events have next to nothing.
    """

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None


_NO_META = ObjectMeta()


class PartialObject(msgspec.Struct, frozen=True, gc=False):
    """PartialObjectMetadata: what the server is asked to answer to a write."""

    metadata: ObjectMeta = _NO_META


@dataclass(frozen=True, slots=True)
class Resource(Generic[T]):
    """One kind of object on the API server, and the type that its objects are decoded into.

    `type` is any type msgspec can decode (a Struct that names just the fields which are read) or `dict`.
    Objects that are cached need a `metadata` with name, uid and resource_version (and namespace, where
    `namespaced`), unless they are dicts.
    """

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    type: type[T]

    def __post_init__(self) -> None:
        group, _, version = self.api_version.rpartition("/")
        if not version or "/" in group or not self.kind or not self.plural:
            raise ConfigurationError(
                f"a Resource needs an apiVersion such as 'v1' or 'apps/v1', a kind and a plural, "
                f"not {self.api_version!r}, {self.kind!r}, {self.plural!r}"
            )

    def __str__(self) -> str:
        group, _, _ = self.api_version.rpartition("/")
        return f"{self.plural}.{group}" if group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of the collection, of one object in it, or of a subresource, percent-encoded."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def metadata(self, obj: T) -> Metadata:
        """The metadata of `obj`, be it a struct or a dict."""
        if isinstance(obj, dict):
            return msgspec.convert(obj.get("metadata", {}), ObjectMeta)
        found: Any = obj
        return found.metadata  # type: ignore[no-any-return]

    def request(self, obj: T) -> Request:
        """The name under which `obj` is cached and reconciled."""
        meta: Any = self.metadata(obj)
        return Request(meta.name, meta.namespace if self.namespaced else "")


def version_number(resource_version: str) -> int:
    """A resourceVersion as a number, -1 where there is none.

    Kubernetes promises since KEP-5504 that versions of one resource can be compared as integers.

    Raises:
        ValueError: the text is not a number.
    """
    return int(resource_version) if resource_version else -1
