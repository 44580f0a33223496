"""Cancels the controller at the k-th suspension of start, take-over, reconcile and stop.

By default k goes up by 17, so that always the same ones are tried; of a stop, which is short, all are.
`NODEIPAM_CANCEL_STRIDE=1` tries all of them everywhere.
"""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any

import pytest

from nodeipam.testing import run_virtual
from tests.unit.controllers.world import World, asks, node, pool, world

from .cancelling import Cancelling

PHASES = ("start", "take-over", "reconcile", "stop")
STRIDE = int(os.environ.get("NODEIPAM_CANCEL_STRIDE", "17"))
NODES = 4
RELEASED = "runtime.nodeipam/released"

_PATCH = asks("PATCH", "nodes")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("again", [None, 1, 5], ids=["once", "again-at-once", "again-soon"])
def test_a_cancel_leaves_nothing_behind(phase: str, again: int | None) -> None:
    """However far it has come, a cancelled controller ends whole, and the next one serves every Node."""
    stride = 1 if phase == "stop" or STRIDE == 1 else STRIDE if again is None else STRIDE * 5
    k = runs = 0
    while run_virtual(_cancelled(phase, *((k,) if again is None else (k, k + again)))):
        k += stride
        runs += 1
    print(f"{phase}: {runs} runs, stride {stride}, {k} suspensions")  # noqa: T201 - the figures of the sweep
    assert runs > 1


async def _cancelled(phase: str, *at: int) -> bool:  # noqa: PLR0915 - one story, told in order
    """One run; whether it came as far as the cancels."""
    problems: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context))
    async with world() as cluster:
        cluster.add(pool("p", "10.0.0.0/16"))
        if phase == "take-over":
            await _unclean(cluster)
        before = asyncio.all_tasks()
        cancelling = Cancelling(*at)
        cancelling.install()
        if phase in ("start", "take-over"):
            cluster.add(*(node(f"n{i}") for i in range(NODES)))
        first = cluster.start("a")
        settled: list[bool] = []
        cancelling.on_cancel = lambda: settled.append(
            first.manager.leading and len(cluster.assigned()) == NODES
        )
        if phase in ("reconcile", "stop"):
            await cluster.until(lambda: first.manager.leading)
            _disturb(cluster)
            cluster.add(*(node(f"n{i}") for i in range(NODES)))
        if phase == "stop":
            await asyncio.sleep(0.02)
            cancelling.begin(first.task)
            first.task.cancel()
        else:
            cancelling.begin(first.task)
            await asyncio.wait({first.task}, timeout=60)
            if not cancelling.reached:
                first.task.cancel()
        await asyncio.wait({first.task})
        loop.set_task_factory(None)
        where = f"{phase}, cancelled at {at}"
        assert first.task.cancelled(), f"{where}: the cancel was swallowed"
        assert before == asyncio.all_tasks(), f"{where}: tasks leaked"
        assert cluster.server.watches == [], f"{where}: watches leaked"
        lease = next(iter(cluster.server.objects("leases.coordination.k8s.io")), None)
        released = lease is not None and not lease["spec"].get("holderIdentity")
        if lease is not None and released:
            marker = lease["metadata"].get("annotations", {}).get(RELEASED)
            assert str(lease["spec"]["leaseTransitions"]) == marker, f"{where}: half a release"
        if phase == "start" and settled == [True]:
            assert released, f"{where}: all was settled, and the lease is left to expire"
        early = cluster.assigned()
        sent = len(cluster.server.log)
        cluster.heal()
        cluster.start("b")
        await cluster.until(lambda: len(cluster.assigned()) == NODES)
        await cluster.rest()
        late = [
            line for line in cluster.server.log[sent:] if line.identity == "a" and 200 <= line.status < 300
        ]
        if released or phase in ("start", "take-over"):
            assert [] == late, f"{where}: a write was carried out after its end"
        now = cluster.assigned()
        assert early == {name: now.get(name) for name in early}, f"{where}: a range has changed"
    gc.collect()  # a task whose failure nobody has asked for tells of it when it goes
    assert [] == problems, where
    return cancelling.reached


async def _unclean(cluster: World) -> None:
    """A predecessor that leads and is killed, with nothing released."""
    dead = cluster.start("dead")
    await cluster.until(lambda: dead.manager.leading)
    await dead.crash()


def _disturb(cluster: World) -> None:
    """Latency for all PATCHes of Nodes, and one each of what can go wrong with them."""
    cluster.fail(_PATCH, "drop_after", delay=0.05)
    cluster.fail(_PATCH, "error_before", 409)
    cluster.fail(_PATCH, "error_after", 500)
    cluster.fail(_PATCH, "late", delay=0.3, identity="a")
    cluster.fail(_PATCH, "delay", times=None, delay=0.05)
