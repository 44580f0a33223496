from __future__ import annotations

from itertools import permutations

import pytest

from nodeipam.ipam import Pool, Prefix, order, uses

from .universe import v4, v6


def pool(
    name: str,
    *ranges: Prefix,
    host_bits: int = 8,
    catch_all: bool = False,
    selector_text: str = "group=a",
    terminating: bool = False,
) -> Pool:
    """A pool with what matters to a test."""
    return Pool(
        uid=f"uid-{name}",
        name=name,
        ranges=ranges,
        host_bits=host_bits,
        catch_all=catch_all,
        selector_text="" if catch_all else selector_text,
        terminating=terminating,
    )


NET = v4("10.0.0.0/16")


class TestOrder:
    @pytest.mark.parametrize(
        "candidates",
        [
            pytest.param([(pool("more", NET), 2), (pool("smaller", v4("10.0.0.0/24")), 1)], id="P0"),
            pytest.param(
                [(pool("256", NET), 1), (pool("512", v4("9.0.0.0/16"), host_bits=7), 1)],
                id="P1",
            ),
            pytest.param(
                [(pool("256", v6("fd00::/48"), NET), 1), (pool("512", v4("9.0.0.0/15")), 1)],
                id="P1: of two families the smaller",
            ),
            pytest.param(
                [(pool("bits 7", v4("10.0.0.0/17"), host_bits=7), 1), (pool("bits 8", v4("9.0.0.0/16")), 1)],
                id="P2",
            ),
            pytest.param(
                [
                    (pool("v6", v6("fd00::/112"), host_bits=4), 1),
                    (pool("v4", v4("10.0.0.0/15"), host_bits=5), 1),
                ],
                id="P2: host bits, not mask numbers",
            ),
            pytest.param(
                [
                    (pool("b", NET, selector_text="x=1"), 1),
                    (pool("a", v4("9.0.0.0/16"), selector_text="x=2"), 1),
                ],
                id="P3",
            ),
            pytest.param([(pool("b", v4("9.0.0.0/16")), 1), (pool("a", NET), 1)], id="P4: numeric"),
            pytest.param([(pool("b", NET), 1), (pool("a", v6("::/112")), 1)], id="P4: IPv4 first"),
            pytest.param(
                [(pool("b", NET, v6("fd00::/112")), 1), (pool("a", NET, v6("fd01::/112")), 1)],
                id="P4: the second range",
            ),
            pytest.param([(pool("a", NET), 1), (pool("b", NET), 1)], id="the name"),
            pytest.param(
                [(pool("chosen", NET), 0), (pool("all", v4("9.0.0.0/24"), catch_all=True), 0)],
                id="catch-alls last",
            ),
            pytest.param(
                [(pool("b", v4("9.0.0.0/16"), catch_all=True), 0), (pool("a", NET, catch_all=True), 0)],
                id="catch-alls too",
            ),
        ],
    )
    def test_rule(self, candidates: list[tuple[Pool, int]]) -> None:
        """Each rule decides where those before it leave a tie, whatever order the pools are given in."""
        expected = [candidate for candidate, _ in candidates]
        for given in permutations(candidates):
            assert expected == order(given)

    def test_terminating(self) -> None:
        """A pool that is being deleted serves no Node."""
        leaving, staying = pool("a", NET, terminating=True), pool("b", NET)
        assert [staying] == order([(leaving, 5), (staying, 1)])


class TestUses:
    DUAL = pool("dual", NET, v6("fd00::/64"))

    @pytest.mark.parametrize(
        "expected, holdings",
        [
            (True, [v4("10.0.3.0/24"), v6("fd00::100/120")]),
            (True, [v6("fd00::100/120"), v4("10.0.3.0/24")]),
            (False, [v4("10.0.3.0/24")]),
            (False, [v4("10.0.3.0/24"), v6("fd00::100/121")]),
            (False, [v4("10.1.3.0/24"), v6("fd00::100/120")]),
            (False, [v4("10.0.0.0/15"), v6("fd00::100/120")]),
            (False, []),
        ],
    )
    def test_dual_stack(self, expected: bool, holdings: list[Prefix]) -> None:  # noqa: FBT001
        """A Node uses a pool if, in each family of it, it has a block of its size inside its range."""
        assert expected is uses(self.DUAL, holdings)

    def test_one_family(self) -> None:
        """A pool of one family doesn't mind what else the Node has."""
        assert uses(pool("p", NET), [v6("fd00::/64"), v4("10.0.255.0/24")])
