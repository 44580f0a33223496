from __future__ import annotations

from nodeipam.runtime.objects import Request
from nodeipam.runtime.ownwrites import OwnWrites

A, B = Request("a"), Request("b")


class TestOwnWrites:
    def test_settled_by_its_version(self) -> None:
        """A write is seen once its version has been processed, and not before."""
        writes = OwnWrites()
        writes.expect(A, 5)
        writes.processed(4)
        early = A in writes
        writes.processed(5)
        assert (True, False) == (early, A in writes)

    def test_latest_write_counts(self) -> None:
        """Of several writes to one object the latest version is waited for, in whatever order they came."""
        writes = OwnWrites()
        for version in (5, 9, 7):
            writes.expect(A, version)
        writes.processed(8)
        early = A in writes
        writes.processed(9)
        assert (True, False) == (early, A in writes)

    def test_set_back(self) -> None:
        """A server that was set back settles everything; then its own, lower versions count."""
        writes = OwnWrites()
        writes.expect(A, 5)
        writes.expect(B, 6)
        writes.set_back()
        settled = len(writes)
        writes.expect(A, 3)
        expected = len(writes)
        writes.processed(3)
        assert (0, 1, 0) == (settled, expected, len(writes))

    def test_notify(self) -> None:
        """Who asked is told once, when the write is seen; at once, when there is none."""
        told: list[str] = []
        writes = OwnWrites()
        writes.expect(A, 5)
        writes.notify(A, lambda: told.append("a"))
        writes.notify(B, lambda: told.append("b"))
        at_once = [*told]
        writes.processed(5)
        writes.processed(6)
        assert (["b"], ["b", "a"]) == (at_once, told)

    def test_told_when_current(self) -> None:
        """By the time that somebody is told, the object is current."""
        states: list[bool] = []
        writes = OwnWrites()
        writes.expect(A, 5)
        writes.notify(A, lambda: states.append(A in writes))
        writes.set_back()
        assert [False] == states

    def test_nothing_is_left(self) -> None:
        """Satisfied expectations vanish."""
        writes = OwnWrites()
        for number in range(100):
            writes.expect(Request(f"n{number}"), number)
        writes.processed(98)
        assert ("<OwnWrites: 1 not seen yet>", 1) == (repr(writes), len(writes))
