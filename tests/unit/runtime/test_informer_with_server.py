"""An informer and the API server model: whatever goes wrong meanwhile, the cache ends up as the server."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from nodeipam.runtime.client import Client
from nodeipam.runtime.informer import Informer
from nodeipam.runtime.objects import Resource
from nodeipam.runtime.reflector import ReflectorOptions
from nodeipam.testing import APIServer, Fault, ModelTransport, VirtualClock, run_virtual
from nodeipam.testing.faults import Action

from .scripted import WIDGETS, Recorder, Widget, running

CORE_NODES: Resource[Any] = Resource("v1", "Node", plural="nodes", namespaced=False, type=dict)

FAULTS: tuple[Action, ...] = ("error_before", "drop_before", "drop_after", "hang", "stall")


class _View:
    """What a handler knows: it refuses what can't follow from what it was told."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}

    def on_add(self, obj: Any, initial: bool) -> None:  # noqa: FBT001 - as in client-go
        """Add to the view."""
        assert obj["metadata"]["name"] not in self.versions
        self.versions[obj["metadata"]["name"]] = obj["metadata"]["resourceVersion"]

    def on_update(self, old: Any, new: Any) -> None:
        """Replace in the view."""
        assert self.versions[old["metadata"]["name"]] == old["metadata"]["resourceVersion"]
        self.versions[new["metadata"]["name"]] = new["metadata"]["resourceVersion"]

    def on_delete(self, obj: Any) -> None:
        """Remove from the view."""
        del self.versions[obj["metadata"]["name"]]


def _client(server: APIServer, seed: int = 1) -> Client:
    return Client(ModelTransport(server), clock=VirtualClock(), rng=random.Random(seed))


def _node(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def _disturb(server: APIServer, rng: random.Random) -> None:
    """Something happens: mostly a change, sometimes a fault."""
    name = f"node-{rng.randrange(12)}"
    held = {node["metadata"]["name"] for node in server.nodes()}
    match rng.randrange(12):
        case 0:
            server.close_watches()
        case 1:
            server.break_watches()
        case 2:
            server.compact()
            server.break_watches()
        case 3:
            status = rng.choice([429, 500, 503])
            server.faults.append(Fault(match=lambda _: True, action=rng.choice(FAULTS), status=status))
        case 4 | 5 if name in held:
            server.delete("nodes", name)
        case _:
            server.put(_node(name, turn=str(rng.random())))


@pytest.mark.parametrize("watch_list", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_converges(seed: int, watch_list: bool) -> None:  # noqa: FBT001 - pytest names it
    """After hundreds of changes and faults, the cache and its handlers hold what the server holds."""

    async def main() -> None:
        rng = random.Random(seed)
        server = APIServer()
        for number in range(6):
            server.put(_node(f"node-{number}"))
        options = ReflectorOptions(page_size=3, watch_list=watch_list, slice=0.0)
        informer = Informer(CORE_NODES, _client(server, seed), options=options)
        early, late = _View(), _View()
        informer.add_handler(early)
        async with running(informer):
            for turn in range(500):
                _disturb(server, rng)
                if turn == 250:
                    informer.add_handler(late)
                await asyncio.sleep(rng.choice([0.0, 0.0, 0.01, 1.0, 20.0]))
            server.faults.clear()
            await asyncio.sleep(300)
            truth = {node["metadata"]["name"]: node["metadata"]["resourceVersion"] for node in server.nodes()}
            held = {obj["metadata"]["name"]: obj["metadata"]["resourceVersion"] for obj in informer.store}
            assert (truth, truth, truth) == (held, early.versions, late.versions)
            assert informer.version >= max(map(int, truth.values()))
            assert informer.problem is None

    run_virtual(main())


def test_quiet_at_rest() -> None:
    """An hour of nothing costs one watch each three to four minutes, and no list."""

    async def main() -> list[str]:
        server = APIServer()
        server.put(_node("node-1"))
        async with running(Informer(CORE_NODES, _client(server))):
            await asyncio.sleep(3600)
        return ["watch" if ("watch", "1") in logged.call.query else "list" for logged in server.log]

    verbs = run_virtual(main())
    assert ["list"] == [verb for verb in verbs if verb == "list"]
    assert 3600 / 240 <= verbs.count("watch") <= 3600 / 200 + 1


def test_definition_comes_and_goes() -> None:
    """A kind whose definition is removed and comes back is read again, and what is gone is told."""

    async def main() -> tuple[list[str], str | None]:
        server, recorder = APIServer(), Recorder()

        def install(*names: str) -> None:
            server.register("example.com/v1", "Widget", "widgets", namespaced=False)
            for name in names:
                server.put({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}})

        install("old")
        informer: Informer[Widget] = Informer(WIDGETS, _client(server))
        informer.add_handler(recorder)
        async with running(informer):
            await asyncio.sleep(10)
            server.unregister(WIDGETS)
            await asyncio.sleep(10)
            problem = informer.problem
            install("new")
            await asyncio.sleep(60)
        return [told.partition("@")[0] for told in recorder.told], problem

    told, problem = run_virtual(main())
    assert "widgets.example.com: 404 the CustomResourceDefinition is missing" == problem
    assert ["initial old", "delete old", "add new"] == told
