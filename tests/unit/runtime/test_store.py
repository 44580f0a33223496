from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam.runtime.objects import Request, Resource
from nodeipam.runtime.store import Change, Store

from .scripted import WIDGETS, Widget, widget

A1, A2 = widget("a", 1), widget("a", 2)


def _store(*objects: Widget) -> Store[Widget]:
    return Store(WIDGETS, indexes={"size": lambda obj: [obj.size]}, objects=objects)


def _made(changes: Iterator[Change[Widget] | None]) -> list[Change[Widget]]:
    return [change for change in changes if change is not None]


class TestReading:
    def test_get(self) -> None:
        """An object is found under its name, and nothing under another."""
        assert (A1, None) == (_store(A1).get(Request("a")), _store(A1).get(Request("b")))

    def test_snapshot(self) -> None:
        """Iterating shows what the store held when it began, whatever changes meanwhile."""
        store = _store(A1)
        iterating = iter(store)
        store.put(widget("b", 2))
        assert ([A1], 2) == (list(iterating), len(store))

    def test_namespaced(self) -> None:
        """Objects of one name in two namespaces are two."""
        things = Resource("example.com/v1", "Thing", plural="things", namespaced=True, type=dict)
        store = Store(
            things,
            objects=[
                {"metadata": {"name": "a", "namespace": space, "uid": space, "resourceVersion": "1"}}
                for space in ("x", "y")
            ],
        )
        assert "x" == store.get(Request("a", "x"))["metadata"]["uid"]  # type: ignore[index]

    def test_repr(self) -> None:
        """A store says what it holds, and how many."""
        assert "<Store widgets.example.com: 1 objects>" == repr(_store(A1))


class TestPut:
    def test_add(self) -> None:
        """A new name is an addition."""
        assert ((None, A1),) == _store().put(A1)

    def test_update(self) -> None:
        """A newer version of the object that is held is an update, with what it was before."""
        assert ((A1, A2),) == _store(A1).put(A2)

    @pytest.mark.parametrize("late", [A1, A2, widget("a", 1, uid="before")])
    def test_not_newer(self, late: Widget) -> None:
        """What isn't newer than what is held is not taken, whatever its UID."""
        store = _store(A2)
        assert ((), A2) == (store.put(late), store.get(Request("a")))

    def test_other_uid(self) -> None:
        """A new UID under an old name is a deletion and an addition."""
        new = widget("a", 2, uid="other")
        assert ((A1, None), (None, new)) == _store(A1).put(new)

    def test_versions_are_numbers(self) -> None:
        """Version 10 is newer than version 9."""
        assert 1 == len(_store(widget("a", 9)).put(widget("a", 10)))


class TestRemove:
    def test_last_state(self) -> None:
        """A deletion tells the last state, which is the event's."""
        store = _store(A1)
        assert (((A2, None),), 0) == (store.remove(A2), len(store))

    def test_older_version(self) -> None:
        """A deletion of the UID that is held is taken at any version: UIDs don't come back."""
        assert 1 == len(_store(A2).remove(A1))

    def test_other_uid(self) -> None:
        """The deletion of a predecessor leaves the object that has its name now."""
        store = _store(A2)
        assert ((), A2) == (store.remove(widget("a", 1, uid="before")), store.get(Request("a")))

    def test_unknown(self) -> None:
        """The deletion of what isn't held changes nothing."""
        assert () == _store().remove(A1)


class TestSwap:
    def test_deletions_first(self) -> None:
        """The changes are deletions first, then additions and updates."""
        gone, new = widget("gone", 1), widget("new", 3)
        reborn = widget("reborn", 1), widget("reborn", 3, uid="other")
        store = _store(gone, A1, reborn[0])
        changes = store.swap(_store(A2, new, reborn[1]))
        assert [(gone, None), (reborn[0], None), (A1, A2), (None, new), (None, reborn[1])] == _made(changes)

    def test_at_once(self) -> None:
        """The store holds the new content before the first change is told."""
        store = _store(A1)
        store.swap(_store(widget("b", 2)))
        assert [widget("b", 2)] == store.list()

    def test_unchanged(self) -> None:
        """What hasn't changed isn't told."""
        assert [] == _made(_store(A1).swap(_store(widget("a", 1))))

    def test_can_be_interrupted(self) -> None:
        """Looking at what hasn't changed gives a chance to pause as well."""
        many = [widget(f"w{number}", 1) for number in range(10)]
        assert [None] * 20 == list(_store(*many).swap(_store(*many)))

    def test_older(self) -> None:
        """A list is the truth even where its objects are older."""
        assert [(A2, A1)] == _made(_store(A2).swap(_store(A1)))

    def test_same_version_other_content(self) -> None:
        """An object that differs under one version, as after a restore, is an update."""
        assert [(A1, widget("a", 1, size=5))] == _made(_store(A1).swap(_store(widget("a", 1, size=5))))


class TestIndex:
    def test_follows(self) -> None:
        """An index follows additions, updates, deletions and swaps."""
        store = _store(widget("a", 1, size=1), widget("b", 1, size=1))
        store.put(widget("a", 2, size=2))
        store.remove(widget("b", 2, size=1))
        by_events = store.index("size", 1), store.index("size", 2)
        store.swap(_store(widget("c", 3, size=1)))
        assert ([], [widget("a", 2, size=2)]) == by_events
        assert [widget("c", 3, size=1)] == store.index("size", 1)

    def test_unknown_index(self) -> None:
        """An index that wasn't asked for is an error, not an empty answer."""
        with pytest.raises(KeyError):
            _store().index("colour", "red")

    @given(
        st.lists(
            st.tuples(st.booleans(), st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 2)),
            max_size=30,
        )
    )
    def test_agrees_with_a_scan(self, steps: list[tuple[bool, str, int, int]]) -> None:
        """Whatever happens, an index finds what looking at every object finds."""
        store = _store()
        for put, name, version, size in steps:
            (store.put if put else store.remove)(widget(name, version, uid=f"{name}{version % 2}", size=size))
        for size in range(3):
            assert sorted(obj.metadata.name for obj in store if obj.size == size) == sorted(
                obj.metadata.name for obj in store.index("size", size)
            )


def test_memory() -> None:
    """The store adds little to each object: its name and a place in a dict."""
    store: Store[Widget] = Store(WIDGETS)
    widgets = [widget(f"widget-{number}", 1) for number in range(10_000)]
    gc.collect()
    before = sys.getallocatedblocks()
    for obj in widgets:
        store.put(obj)
    assert (sys.getallocatedblocks() - before) / len(widgets) <= 1.1
