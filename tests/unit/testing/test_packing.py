from __future__ import annotations

import json
from typing import Any

import pytest

from nodeipam.testing import APIServer
from nodeipam.testing.packing import Packing, unpacked
from nodeipam.testing.storage import Record

from .session import NODES, Session, event, node, play, story

NODE = {
    "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"x": "y"}},
    "status": {
        "images": [{"names": ["a", "b"], "sizeBytes": 1}, {"names": ["c"], "sizeBytes": 2}],
        "conditions": [{"type": "Ready", "lastHeartbeatTime": "2026-01-01T00:00:00Z", "status": "True"}] * 2,
        "empty": {},
    },
}


class _Big:
    """Something that fills what may stay open."""

    def pack(self, packing: Packing) -> int:
        return 1 << 30


class TestPacking:
    @pytest.mark.parametrize(
        "text",
        [
            b"{}",
            json.dumps(NODE, separators=(",", ":")).encode(),
            json.dumps(NODE).encode(),
            rb'{"a":"},{","b":"\u0000","c":"Z\",\"","d":[{"e":{"f":1}},{"e":{"f":1}}],"g":"\"},\""}',
        ],
    )
    def test_lossless(self, text: bytes) -> None:
        """What is unpacked is what was packed, also where a string looks like a seam."""
        assert text == unpacked(Packing().packed(text))

    def test_shared(self) -> None:
        """Equal items of lists in different objects are one in memory."""
        packing = Packing()
        one = packing.packed(b'{"own":"1","images":[{"name":"a"},{"name":"b"},{"name":"c"}]}')
        other = packing.packed(b'{"own":"2","images":[{"name":"x"},{"name":"b"},{"name":"y"}]}')
        assert one[1] is other[1]

    def test_record(self) -> None:
        """A record that was packed to make room gives the same object, JSON and metadata as before."""
        packing = Packing()
        record = Record(("", "a"), 1, NODE, packing)
        before = record.json()
        packing.opened(_Big(), 1 << 30)
        assert record.body is not NODE
        assert (NODE, before) == (record.body, record.json())
        assert {"metadata": NODE["metadata"]} == json.loads(record.partial())


class TestLimits:
    def test_limits(self) -> None:
        """With limits, older requests and versions are forgotten; the latest, and all objects, are kept."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.history_limit = server.log_limit = 2
            for number in range(4):
                await me.send("POST", NODES, node(f"n{number}"))
            async with (
                me.watch(NODES, resourceVersion=str(server.version - 3)) as old,
                me.watch(NODES, resourceVersion=str(server.version - 2)) as recent,
            ):
                told = (await event(old))[1]["code"], await story(recent, 2)
            return *told, len(server.log), len(server.nodes())

        assert (410, [("ADDED", "n2"), ("ADDED", "n3")], 3, 4) == play(scene)
