from __future__ import annotations

from typing import Any

import pytest

from nodeipam.testing import APIServer

from .session import NODES, Session, fields, node, play, reason


class TestPodCIDRs:
    @pytest.mark.parametrize(
        "spec",
        [
            {"podCIDR": "10.0.0.0/24"},
            {"podCIDRs": ["10.0.0.0/24"]},
            {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.9.0.0/24"]},
        ],
    )
    def test_both_fields(self, spec: dict[str, Any]) -> None:
        """Both fields always agree afterwards, and podCIDR wins where they did not."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            return await me.send("PATCH", f"{NODES}/a", {"spec": spec})

        assert {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]} == play(scene)[1]["spec"]

    def test_never_changed(self) -> None:
        """Ranges that a Node has can't be changed: 422 with the cause spec.podCIDRs."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a", podCIDR="10.0.0.0/24"))
            patch = {"spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}}
            return await me.send("PATCH", f"{NODES}/a", patch)

        answer = play(scene)

        assert ((422, "Invalid"), ["spec.podCIDRs"]) == (reason(answer), fields(answer))

    def test_plural_alone(self) -> None:
        """A patch of podCIDRs without podCIDR, on a Node that has another, is a 200 that writes nothing."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a", podCIDR="10.0.0.0/24"))
            before = server.version
            status, _ = await me.send("PATCH", f"{NODES}/a", {"spec": {"podCIDRs": ["10.0.1.0/24"]}})
            return status, server.version - before, server.nodes()[0]["spec"]["podCIDRs"]

        assert (200, 0, ["10.0.0.0/24"]) == play(scene)

    @pytest.mark.parametrize(
        "cidrs, field",
        [
            (["10.0.0.0/24", "10.0.1.0/24"], "spec.podCIDRs"),
            (["10.0.0.1/24"], "spec.podCIDRs[0]"),
            (["fd00::/64", "10.0.0.0/33"], "spec.podCIDRs[1]"),
            (["10.0.0.0/024"], "spec.podCIDRs[0]"),
        ],
    )
    def test_malformed(self, cidrs: list[str], field: str) -> None:
        """What is no CIDR, has host bits, or is the second of its family is a 422 that names the field."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            return await me.send("PATCH", f"{NODES}/a", {"spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}})

        answer = play(scene)

        assert (422, [field]) == (answer[0], fields(answer))
