"""Lists and watches of the API server model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from . import status
from .listoptions import Query
from .output import Output, continue_token, read_continue_token
from .routing import Target
from .selectors import compile_selectors
from .storage import Key, Record, Storage
from .watch import Watch, WatchTerms

__all__ = ["Page", "check_version", "list_page", "open_watch"]


class Page(NamedTuple):
    """A list, or the part of it that one answer holds."""

    records: list[Record]
    metadata: dict[str, str | int]


def list_page(storage: Storage, target: Target, query: Query) -> Page:
    """One page of a list: of the present state, or of the state in which the first page was taken.

    With `limit` and resourceVersion "0" the limit is ignored, as a real server does from its cache.

    Raises:
        Refusal: 400; 410, the version is compacted; 504, the version isn't there yet.
    """
    selected = _selection(target, query)
    start: Key | None = None
    if query.continue_:
        version, start = read_continue_token(query.continue_, compacted=storage.compacted)
    else:
        version = _list_version(storage, query)
    records = [r for r in _after(storage.collection(target.kind.name).at(version), start) if selected(r)]
    metadata: dict[str, str | int] = {"resourceVersion": str(version)}
    limit = 0 if query.version == 0 else query.limit
    if limit > 0 and len(records) > limit:
        metadata["continue"] = continue_token(version, records[limit - 1].key)
        if not query.label_selector and not query.field_selector:
            metadata["remainingItemCount"] = len(records) - limit
        records = records[:limit]
    return Page(records, metadata)


def open_watch(
    storage: Storage,
    target: Target,
    query: Query,
    output: Output,
    *,
    bookmark_interval: float,
    buffer: int,
) -> Watch:
    """A watch from a version; without one, and with "0", it begins with every object that is there.

    `sendInitialEvents` overrides that. A version that is compacted is told by an ERROR event, as
    kube-apiserver does, and one that isn't there yet by silence.

    Raises:
        Refusal: 400, a selector can't be read.
    """
    collection = storage.collection(target.kind.name)
    version = query.version or 0
    terms = WatchTerms(
        name=target.kind.name,
        selected=_selection(target, query),
        encode=output.events(),
        bookmark=output.bookmark,
        bookmarks=query.bookmarks,
        timeout=query.timeout,
        buffer=buffer,
    )
    initial = query.send_initial_events
    watch = Watch(
        collection,
        terms,
        version=storage.version if initial or not version else version,
        current=lambda: storage.version,
        bookmark_interval=bookmark_interval,
    )
    if initial or (initial is None and not version):
        watch.initial(
            collection.at(storage.version), end=storage.version if initial and query.bookmarks else None
        )
    elif version and version < (begun := max(storage.compacted, collection.begun)):
        watch.refuse(status.expired(f"too old resource version: {version} ({begun})"))
    elif version:
        watch.replay(collection.since(version))
    return watch


def check_version(storage: Storage, query: Query) -> None:
    """Refuse to read a state that isn't there yet: 504."""
    if query.version and query.version > storage.version:
        raise status.too_large_version(query.version, storage.version)


def _list_version(storage: Storage, query: Query) -> int:
    asked = query.version
    check_version(storage, query)
    if not asked or not query.exactly:
        return storage.version
    if asked < storage.compacted:
        raise status.expired(f"The resourceVersion for the provided list is too old: {asked}")
    return asked


def _selection(target: Target, query: Query) -> Callable[[Record], bool]:
    matches = compile_selectors(target.kind, query.label_selector, query.field_selector)
    namespace = target.namespace
    return lambda record: (
        (not namespace or record.key[0] == namespace) and (matches is None or matches(record.body))
    )


def _after(records: list[Record], start: Key | None) -> list[Record]:
    if start is None:
        return records
    return records[bisect_right(records, start, key=_key_of) :]


def _key_of(record: Record) -> Key:
    return record.key
