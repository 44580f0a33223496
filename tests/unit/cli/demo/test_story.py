from __future__ import annotations

import ipaddress
import itertools

import pytest

from nodeipam.cli.demo.story import LEAST, MOST, Await, Join, Kill, Leave, NewPool, Step, tell

SIZES = (LEAST, LEAST + 1, 12, 33, 60, 1000, MOST)


def _pools(story: tuple[Step, ...]) -> dict[str, NewPool]:
    return {step.name: step for step in story if isinstance(step, NewPool)}


def _room(pool: NewPool) -> int:
    return int(ipaddress.ip_network(pool.ipv4).num_addresses >> pool.host_bits)


@pytest.mark.parametrize("nodes", SIZES)
class TestEverySize:
    def test_all_nodes_join_once(self, nodes: int) -> None:
        """Just as many Nodes join as were asked for, each under a name of its own."""
        names = [node.name for step in tell(nodes, 1) if isinstance(step, Join) for node in step.nodes]

        assert (nodes, nodes) == (len(names), len(set(names)))

    def test_first_pool_fills_up(self, nodes: int) -> None:
        """What the first two waves are more than the first pool's blocks is what the story waits for."""
        story = tell(nodes, 1)
        waves = [len(step.nodes) for step in story if isinstance(step, Join)][:2]
        waits = [step.waiting for step in story if isinstance(step, Await)]

        assert [0, sum(waves) - _room(_pools(story)["first"]), 0] == waits[:3]
        assert 0 < waits[1] < waves[1]

    def test_there_is_room_for_all(self, nodes: int) -> None:
        """The second pool alone has room for all Nodes, the third for those of its group."""
        pools = _pools(tell(nodes, 1))

        assert nodes <= _room(pools["second"])
        assert max(1, nodes * 8 // 60) <= _room(pools["gpu"])

    @pytest.mark.parametrize("family", ["ipv4", "ipv6"])
    def test_pools_are_apart(self, nodes: int, family: str) -> None:
        """The pools are valid ranges that share no address."""
        ranges = [ipaddress.ip_network(getattr(pool, family)) for pool in _pools(tell(nodes, 1)).values()]

        assert 3 == len(ranges)
        assert not any(one.overlaps(other) for one, other in itertools.combinations(ranges, 2))

    def test_who_leaves_was_there(self, nodes: int) -> None:
        """Only Nodes of the first wave leave, and not all of them."""
        story = tell(nodes, 1)
        first = {node.name for node in next(step for step in story if isinstance(step, Join)).nodes}
        leaving = {name for step in story if isinstance(step, Leave) for name in step.names}

        assert leaving
        assert leaving < first


def test_same_seed() -> None:
    """The same seed tells the same story, another one another."""
    assert tell(60, 1) == tell(60, 1)
    assert tell(60, 1) != tell(60, 2)


def test_the_leader_dies_amid_joining_nodes() -> None:
    """Nodes join, with no time between, right before the leader is killed, and right after it."""
    story = tell(60, 1)
    at = next(index for index, step in enumerate(story) if isinstance(step, Kill))
    before, after = story[at - 1], story[at + 1]

    assert isinstance(before, Join)
    assert not before.spread
    assert isinstance(after, Join)
