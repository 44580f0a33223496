"""What is measured on a real API server: each scenario starts control planes, and returns a section."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.cluster import Cluster, Clusters
from bench.contestants import BARE, DEFAULTS, FLOOR, LIFTED, NODEIPAM, Contestant, replica
from bench.observer import Seen, observing
from bench.process import usage
from bench.report import DOUBTFUL, Figure, Row, Section, spread
from tests.e2e.controlplane.processes import Process, tail
from tests.e2e.kube import ApiError
from tests.e2e.replica import Replica
from tests.programs import Unavailable

__all__ = ["SCENARIOS", "Bench"]

_PATIENCE = 900.0
_DEFAULTS_NODES = 400
"""kube-controller-manager serves 20 a second at its defaults: 5,000 would be four minutes a run."""
_ENOUGH = 5_000
"""Nodes for which there are targets."""
_JOINING = 15.0
"""Seconds for which Nodes join."""
_RESTING = 30.0
_COUNTED = (400, 1_200)
"""Nodes. Under valgrind everything takes fifty times as long."""
_LEASE_DURATION = 15.0
_UNUSED = 60_000
"""A number that no Node has at the start."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every scenario is given."""

    clusters: Clusters
    repeat: int
    say: Callable[[str], None]


class _Samples:
    """Rows that grow with each run."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, dict[str, list[float]]]] = {}

    def add(self, what: str, unit: str, name: str, *values: float) -> None:
        """Note what was measured of one contestant."""
        _, samples = self._rows.setdefault(what, (unit, defaultdict(list)))
        samples[name] += values

    @property
    def rows(self) -> list[Row]:
        """All, in the order in which they came."""
        return [Row(what, unit, dict(samples)) for what, (unit, samples) in self._rows.items()]

    def all(self, what: str, name: str) -> list[float]:
        """What was measured of one contestant."""
        return self._rows[what][1][name] if what in self._rows else []

    def median(self, what: str, name: str) -> float:
        """The median of that."""
        return statistics.median(self.all(what, name))


async def waiting(bench: Bench, nodes: int) -> Section:
    """Nodes wait for ranges when the process starts.

    The bare client runs before and after everybody else. A time counts as a ratio to its two, and only if
    these lie close together: the speed of a machine that others share changes within minutes.
    """
    samples, dropped = _Samples(), 0
    before = await _serve_all(bench, BARE, nodes, samples)
    for _ in range(bench.repeat):
        for contestant in (NODEIPAM, LIFTED, FLOOR):
            seconds = await _serve_all(bench, contestant, nodes, samples)
            after = await _serve_all(bench, BARE, nodes, samples)
            if spread((before, after)) <= DOUBTFUL:
                samples.add(_RATIO, "", contestant.name, 2 * seconds / (before + after))
            else:
                dropped += 1
            before = after
    if nodes >= _DEFAULTS_NODES:
        what = f"Nodes a second (at defaults: of {_DEFAULTS_NODES})"
        seconds = await _serve_all(bench, DEFAULTS, _DEFAULTS_NODES, _Samples())
        samples.add(what, "", DEFAULTS.name, _DEFAULTS_NODES / seconds)
        for contestant in (NODEIPAM, BARE, LIFTED, FLOOR):
            samples.add(
                what, "", contestant.name, *(nodes / taken for taken in samples.all(_TIME, contestant.name))
            )
    return Section(
        name="waiting",
        title=f"{nodes:,} waiting Nodes of 20 KB: from the start of the process to the last podCIDRs",
        nodes=nodes,
        rows=samples.rows,
        # Of fewer Nodes the start of the process is what is measured.
        targets=list(_targets(nodes, samples)) if nodes >= _ENOUGH else [],
        doubt=f"{dropped} of {3 * bench.repeat} times count for no ratio: {_DOUBT}" if dropped else "",
    )


def _targets(nodes: int, samples: _Samples) -> Iterator[Figure]:
    ours, theirs, floor = (samples.median(_CPU, contestant.name) for contestant in (NODEIPAM, LIFTED, FLOOR))
    if samples.all(_RATIO, NODEIPAM.name) and samples.all(_RATIO, LIFTED.name):
        ratio = samples.median(_RATIO, NODEIPAM.name)
        beside = ratio / samples.median(_RATIO, LIFTED.name)
        yield Figure("time, nodeipam ÷ bare client", ratio, "", 1.08)
        yield Figure("time, nodeipam ÷ kube-controller-manager lifted", beside, "", 1.0)
    yield Figure("CPU, nodeipam ÷ kube-controller-manager lifted", ours / theirs, "", 0.5)
    yield Figure("CPU, nodeipam ÷ the least in asyncio", ours / floor, "", 1.5)
    yield Figure("peak RSS", samples.median(_RSS, NODEIPAM.name), "MiB", 64 if nodes <= 5_000 else 84)


_TIME, _CPU, _RSS = "start to last podCIDRs", "CPU", "peak RSS"
_RATIO = "the same ÷ the bare client before and after"
_DOUBT = f"the bare client's before and after lay more than {DOUBTFUL:.0%} apart"


async def _serve_all(bench: Bench, contestant: Contestant, nodes: int, samples: _Samples) -> float:
    """One run: start, wait until the last Node has ranges, read what it has cost; returns the seconds."""
    name = contestant.name
    async with bench.clusters.start(nodes) as cluster:
        process = await contestant.launch(cluster)
        before = usage(cluster.plane.apiserver.pid)
        async with observing(cluster, nodes) as observer:
            started = time.time()
            process.start()
            try:
                seen = await _while_running(process, observer.seen(within=_PATIENCE))
                cost, after = usage(process.pid), usage(cluster.plane.apiserver.pid)
            finally:
                process.stop(signal.SIGKILL)
        seconds = seen.last - started
        samples.add(_TIME, "s", name, seconds)
        if contestant.lease:
            samples.add(
                "first leadership to last podCIDRs",
                "s",
                name,
                seen.last - await _acquired(cluster, contestant),
            )
        samples.add(_CPU, "s", name, cost.cpu)
        samples.add(_RSS, "MiB", name, cost.peak)
        samples.add("CPU of the API server", "s", name, after.cpu - before.cpu)
        samples.add("peak RSS of the API server", "MiB", name, after.peak)
    bench.say(f"{name}, {nodes} Nodes: {seconds:.2f} s, {cost.cpu:.2f} s of CPU, {cost.peak:.0f} MiB")
    return seconds


async def _while_running(process: Process, seeing: Coroutine[Any, Any, Seen]) -> Seen:
    """What is seen, unless the process ends before."""
    task = asyncio.create_task(seeing)
    while not task.done():
        await asyncio.wait([task], timeout=1.0)
        if not task.done() and not process.running:
            task.cancel()
            raise RuntimeError(f"{process!r} has ended:\n{tail(process.log, 20)}")
    return await task


async def joining(bench: Bench, nodes: int) -> Section:
    """Nodes join a quiet cluster, 20 and 100 a second."""
    samples, targets = _Samples(), []
    for rate in (20, 100):
        for _ in range(max(3, bench.repeat)):
            for contestant in (NODEIPAM, LIFTED):
                await _let_join(bench, contestant, rate, samples)
        for what in (f"p50 at {rate}/s", f"p99 at {rate}/s"):
            ours, theirs = samples.median(what, NODEIPAM.name), samples.median(what, LIFTED.name)
            targets.append(
                Figure(f"{what}, nodeipam minus kube-controller-manager lifted", ours - theirs, "ms", 1.0)
            )
    title = "Nodes join a quiet cluster: from ADDED to podCIDRs, both as an observer sees them"
    return Section("joining", title, nodes, samples.rows, targets)


async def _let_join(bench: Bench, contestant: Contestant, rate: int, samples: _Samples) -> None:
    count = round(rate * _JOINING)
    async with bench.clusters.start() as cluster:
        process = await contestant.launch(cluster)
        process.start()
        try:
            await _leading(cluster, contestant)
            await asyncio.sleep(2.0)
            async with observing(cluster, count) as observer:
                await cluster.make_nodes(f"-nodes={count}", f"-rate={rate}")
                latencies = sorted((await observer.seen(within=60.0)).latencies)
        finally:
            process.stop(signal.SIGKILL)
    p50, p99 = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
    samples.add(f"p50 at {rate}/s", "ms", contestant.name, p50)
    samples.add(f"p99 at {rate}/s", "ms", contestant.name, p99)
    bench.say(f"{contestant.name}, {rate} Nodes a second: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


async def starting(bench: Bench, nodes: int) -> Section:
    """All Nodes have their ranges when the process starts."""
    samples = _Samples()
    for _ in range(max(3, bench.repeat)):
        async with bench.clusters.start(nodes, assigned=True) as cluster:
            ours = await replica(cluster)
            began = time.monotonic()
            ours.start()
            try:
                await ours.ready()
                ready = time.monotonic() - began
                await _leading(cluster, NODEIPAM)
                await asyncio.sleep(1.0)
                cost = usage(ours.process.pid)
            finally:
                ours.kill()
        samples.add("start to ready", "s", NODEIPAM.name, ready)
        samples.add("CPU until idle", "s", NODEIPAM.name, cost.cpu)
        samples.add("peak RSS", "MiB", NODEIPAM.name, cost.peak)
        bench.say(f"nodeipam, {nodes} Nodes with ranges: ready after {ready:.2f} s, {cost.cpu:.2f} s of CPU")
    targets = [
        Figure("start to ready", samples.median("start to ready", NODEIPAM.name), "s", 0.9),
        Figure("CPU until idle", samples.median("CPU until idle", NODEIPAM.name), "s", 0.6),
    ]
    title = f"start with {nodes:,} Nodes that have their ranges"
    return Section("starting", title, nodes, samples.rows, targets)


async def resting(bench: Bench, nodes: int) -> Section:
    """Nothing happens, with all Nodes served."""
    samples = _Samples()
    async with bench.clusters.start(nodes, assigned=True) as cluster:
        ours = await replica(cluster)
        manager = await LIFTED.launch(cluster)
        ours.start()
        manager.start()
        try:
            await ours.ready()
            await _leading(cluster, LIFTED)
            await asyncio.sleep(5.0)
            requests = await _requests(ours)
            processes = {NODEIPAM.name: ours.process, LIFTED.name: manager}
            before = {name: usage(process.pid) for name, process in processes.items()}
            await asyncio.sleep(_RESTING)
            for name, process in processes.items():
                cost = 1000 * (usage(process.pid).cpu - before[name].cpu) / _RESTING
                samples.add("CPU a second", "ms", name, cost)
            done = {
                k: n - requests.get(k, 0)
                for k, n in (await _requests(ours)).items()
                if n > requests.get(k, 0)
            }
        finally:
            ours.kill()
            manager.stop(signal.SIGKILL)
    renewals = done.pop("PUT", 0)
    samples.add("lease renewals", "", NODEIPAM.name, renewals)
    samples.add("other requests", "", NODEIPAM.name, sum(done.values()))
    cost = samples.median("CPU a second", NODEIPAM.name)
    bench.say(f"nodeipam at rest: {cost:.2f} ms a second, {renewals:g} renewals, {done or 'nothing else'}")
    targets = [
        Figure("CPU a second", cost, "ms", 1.0),
        Figure("requests other than renewals of the Lease", sum(done.values()), "", 0),
    ]
    title = f"at rest for {_RESTING:g} s, {nodes:,} Nodes with ranges"
    return Section("resting", title, nodes, samples.rows, targets)


async def _requests(ours: Replica) -> dict[str, float]:
    counts: dict[str, float] = defaultdict(float)
    for labels, value in re.findall(
        r"^rest_client_requests_total\{(.*)\} (\S+)$", await ours.get("/metrics"), re.MULTILINE
    ):
        counts[re.findall(r'method="(\w+)"', labels)[0]] += float(value)
    return counts


async def taking_over(bench: Bench, nodes: int) -> Section:
    """Another replica takes over: how long a Node waits that joins just then."""
    samples = _Samples()
    for _ in range(bench.repeat):
        async with bench.clusters.start(nodes, assigned=True) as cluster:
            await _take_turns(bench, cluster, samples)
    names = ("first release", "later releases", "kill")
    first, later, kill = (samples.median(f"{name} to podCIDRs", NODEIPAM.name) for name in names)
    targets = [
        Figure("first take-over after a release", first, "s", 0.8),
        Figure("later take-overs after a release", later, "s", 0.3),
        Figure("take-over after a kill, beyond the lease duration", kill - _LEASE_DURATION, "s", 1.0),
    ]
    title = (
        f"take-over, {nodes:,} Nodes with ranges: from the signal to podCIDRs of a Node that joins just then"
    )
    return Section("taking-over", title, nodes, samples.rows, targets)


async def _take_turns(bench: Bench, cluster: Cluster, samples: _Samples) -> None:
    leader = await replica(cluster, "replica-0")
    leader.start()
    await leader.ready()
    await _leading(cluster, NODEIPAM)
    turns = (
        ("first release", signal.SIGTERM),
        ("later releases", signal.SIGTERM),
        ("later releases", signal.SIGTERM),
        ("kill", signal.SIGKILL),
    )
    for number, (what, sent) in enumerate(turns, start=1):
        standby = await replica(cluster, f"replica-{number}")
        standby.start()
        await standby.ready()
        await asyncio.sleep(2.0)
        async with observing(cluster, 1) as observer:
            began = time.time()
            leader.send(sent)
            await cluster.make_nodes("-nodes=1", f"-from={_UNUSED + number}")
            seconds = (await observer.seen(within=60.0)).last - began
        samples.add(f"{what} to podCIDRs", "s", NODEIPAM.name, seconds)
        bench.say(f"nodeipam, {what}: {seconds:.2f} s")
        await leader.exited(within=30.0)
        leader = standby
    leader.kill()


async def _leading(cluster: Cluster, contestant: Contestant) -> None:
    async with asyncio.timeout(60.0):
        while True:
            with suppress(ApiError):
                if (await cluster.kube.get(contestant.lease))["spec"].get("holderIdentity"):
                    return
            await asyncio.sleep(0.05)


async def _acquired(cluster: Cluster, contestant: Contestant) -> float:
    lease = await cluster.kube.get(contestant.lease)
    return datetime.fromisoformat(lease["spec"]["acquireTime"]).timestamp()


async def instructions(bench: Bench, _: int) -> Section:
    """What a Node costs in instructions, which are the same however busy the machine is.

    Raises:
        Unavailable: there is no valgrind to count them.
    """
    if shutil.which("valgrind") is None:
        raise Unavailable("no valgrind: install it (on Debian: apt-get install valgrind)")
    samples = _Samples()
    few, many = _COUNTED
    for contestant in (NODEIPAM, FLOOR):
        counts = [await _count(bench, contestant, number) for number in _COUNTED]
        each = (counts[1] - counts[0]) / (many - few)
        samples.add("instructions a Node", "million", contestant.name, each / 1e6)
        samples.add("instructions to start", "million", contestant.name, (counts[0] - few * each) / 1e6)
        bench.say(f"{contestant.name}: {each:,.0f} instructions a Node")
    title = f"instructions in user mode, from the difference between {few} and {many:,} waiting Nodes"
    return Section("instructions", title, many, samples.rows, [])


async def _count(bench: Bench, contestant: Contestant, nodes: int) -> int:
    async with bench.clusters.start(nodes) as cluster:
        process = await contestant.launch(cluster)
        at = process.argv.index(str(cluster.python))
        process.argv[at:at] = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        async with observing(cluster, nodes) as observer:
            process.start()
            await observer.seen(within=_PATIENCE)
        process.stop(within=60.0)
        return int(re.findall(r"Collected : (\d+)", process.log)[0])


Scenario = Callable[[Bench, int], Awaitable[Section]]
SCENARIOS: dict[str, Scenario] = {
    "waiting": waiting,
    "joining": joining,
    "starting": starting,
    "resting": resting,
    "taking-over": taking_over,
    "instructions": instructions,
}
