from __future__ import annotations

from collections.abc import Callable

import pytest

from nodeipam.runtime.delivery import Handler
from nodeipam.runtime.lanes import Lane
from nodeipam.runtime.objects import ObjectMeta, PartialObject, Request, Resource
from nodeipam.runtime.source import Feed, Source, Subscription

WIDGETS = Resource("example.com/v1", "Widget", plural="widgets", namespaced=True, type=PartialObject)


def _widget(name: str, **labels: str) -> PartialObject:
    return PartialObject(ObjectMeta(name=name, namespace="shop", labels=labels))


def _owners(widget: PartialObject) -> list[Request]:
    return [Request(owner, "shop") for owner in (widget.metadata.labels or {}).values()]


class _Informer:
    resource = WIDGETS

    def add_handler(self, handler: Handler[PartialObject]) -> Subscription:
        raise NotImplementedError

    def current(self, request: Request) -> bool:
        raise NotImplementedError

    def notify(self, request: Request, callback: Callable[[], None]) -> None:
        raise NotImplementedError


class TestRequests:
    @pytest.mark.parametrize(
        "old, new",
        [
            (None, _widget("a")),
            (_widget("a"), _widget("a", owner="b")),
            (_widget("a"), None),
        ],
    )
    def test_the_object_itself(self, old: PartialObject | None, new: PartialObject | None) -> None:
        """Without a mapping, each change of an object is a request for that object, once."""
        source = Source(_Informer())

        assert (True, [Request("a", "shop")]) == (source.identity, [*source.requests(old, new)])

    def test_mapped(self) -> None:
        """With a mapping, what an object belonged to is looked at as well as what it belongs to now."""
        source = Source(_Informer(), map=_owners)

        requests = [*source.requests(_widget("a", owner="before"), _widget("a", owner="after"))]
        assert (False, [Request("before", "shop"), Request("after", "shop")]) == (source.identity, requests)

    def test_predicate(self) -> None:
        """A change that doesn't matter makes no request; the predicate sees both states."""
        source = Source(_Informer(), predicate=lambda old, new: old is not None and new is None)

        assert [] == [*source.requests(None, _widget("a"))]
        assert [] == [*source.requests(_widget("a"), _widget("a"))]
        assert [Request("a", "shop")] == [*source.requests(_widget("a"), None)]

    def test_repr(self) -> None:
        """A person sees whose changes are meant, and whether they are mapped."""
        assert "<Source widgets.example.com>" == repr(Source(_Informer()))
        assert "<Feed of <Source widgets.example.com, mapped>>" == repr(
            Feed(Source(_Informer(), map=_owners), lambda *_: None)
        )


def test_feed_puts_the_initial_list_in_the_background() -> None:
    """What was there before waits behind what happens now: added, changed and deleted objects are live."""
    added: list[tuple[str, Lane]] = []
    feed = Feed(Source(_Informer()), lambda request, lane: added.append((request.name, lane)))

    feed.on_add(_widget("a"), initial=True)
    feed.on_add(_widget("b"), initial=False)
    feed.on_update(_widget("c"), _widget("c"))
    feed.on_delete(_widget("d"))

    assert [("a", Lane.BACKGROUND), ("b", Lane.LIVE), ("c", Lane.LIVE), ("d", Lane.LIVE)] == added
