"""How the storage keeps many large objects in little memory, whatever they are.

The JSON of an object is cut where objects begin and end and around times, and pieces that are equal are kept
once: Nodes that hold the same images share them. What was made or read last stays as it is, in memory that is
limited by the size of the JSON. Invariant: unpacking gives the very bytes that were packed.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

__all__ = ["Packable", "Packed", "Packing", "unpacked"]

Packed = tuple[bytes | tuple[bytes, ...], ...]
"""JSON in pieces, and some of them in pieces again."""

_CUT = b"\0"
"""JSON never has it, not even within a string."""
_IN_LISTS = b"},{"
_SEAMS = (
    (b'}],"', b'}],\0"'),  # behind a list of objects
    (b'"},"', b'"},\0"'),  # behind an object
    (b'":{"', b'":{\0"'),  # before an object that isn't empty
    (b'ime":"', b'ime":"\0'),  # before a time
    (b'Z","', b'Z",\0"'),  # behind one
)
_BEHIND_TIME = b'Z","'
_OPEN_LIMIT = 1024 * 1024
"""Bytes of JSON that stay unpacked, as objects of Python too, which take about four times as much."""
_GENERATION = 1 << 15
"""Pieces that are remembered, to be shared, before those that weren't met again are forgotten."""


class Packable(Protocol):
    """Something that can keep itself packed."""

    def pack(self, packing: Packing) -> int:
        """Do so; return the bytes of JSON that it had open."""


class Packing:
    """What is open, the oldest first, and the pieces met lately."""

    def __init__(self) -> None:
        self._open: deque[Packable] = deque()
        self._size = 0
        self._pieces: dict[bytes, bytes] = {}
        self._older: dict[bytes, bytes] = {}

    def opened(self, packable: Packable, size: int) -> None:
        """Take note of an object that is open, with its JSON's size; the oldest ones are packed for it."""
        self._open.append(packable)
        self._size += size
        while self._size > _OPEN_LIMIT and len(self._open) > 1:
            self._size -= self._open.popleft().pack(self)

    def packed(self, text: bytes) -> Packed:
        """JSON in pieces that are shared where they can be."""
        return tuple(map(self._piece, text.split(_IN_LISTS)))

    def _piece(self, piece: bytes) -> bytes | tuple[bytes, ...]:
        if _BEHIND_TIME not in piece:
            return self._shared(piece)
        return tuple(map(self._shared, _cut(piece)))  # as a whole, hardly any other object has it

    def _shared(self, piece: bytes) -> bytes:
        found = self._pieces.get(piece)
        if found is not None:
            return found
        found = self._older.get(piece, piece)
        if len(self._pieces) >= _GENERATION:
            self._older, self._pieces = self._pieces, {}
        self._pieces[found] = found
        return found


def unpacked(packed: Packed) -> bytes:
    """The JSON that was packed."""
    return _IN_LISTS.join([piece if isinstance(piece, bytes) else b"".join(piece) for piece in packed])


def _cut(text: bytes) -> list[bytes]:
    for seam, marked in _SEAMS:
        text = text.replace(seam, marked)
    return text.split(_CUT)
