"""How fast the API server model of `nodeipam.testing` is over HTTP, and how many Nodes it holds.

The Nodes are of 20 KB: labels, managed fields, conditions, and 50 images of the 400 that the cluster has. The
server is a process of its own. The client patches them as a controller does, 16 requests in flight; it does
the least that HTTP asks for, so that it is the server's rate that is told. CPU and memory are the server's
own, from /proc.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import msgspec

from bench.process import usage
from bench.report import Figure
from nodeipam.testing import APIServer, HTTPServer

COUNT = 65_000
PATCHES = 20_000
IN_FLIGHT = 16
LEAST_RATE = 1500
MOST_MEMORY = 400
IMAGES = 400
IMAGES_OF_A_NODE = 50  # what a kubelet reports at the most
_MANAGERS = {
    "kubelet": ("metadata", ("annotations", "labels"), 20),
    "kube-controller-manager": ("spec", ("podCIDR", "podCIDRs", "taints"), 10),
    "kubelet-status": ("status", ("addresses", "allocatable", "capacity", "conditions", "images"), 36),
}


class _Named(msgspec.Struct):
    name: str


class _Node(msgspec.Struct):
    metadata: _Named


class _Page(msgspec.Struct):
    metadata: dict[str, Any]
    items: list[_Node]


def node(number: int) -> dict[str, Any]:
    """A Node as a kubelet reports it, the same at each run."""
    rng = random.Random(number)
    name = f"ip-10-{number >> 8}-{number & 255}.region-{number % 3}.compute.example.com"
    heartbeat = f"2026-01-01T{number % 24:02}:{number % 60:02}:{rng.randrange(60):02}Z"
    labels = {f"node.example.com/label-{i}": f"value-{number % 7}" for i in range(16)}
    labels |= {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{number % 3}"}
    labels |= {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    images = [image(i) for i in sorted(rng.sample(range(IMAGES), IMAGES_OF_A_NODE))]
    size = {"cpu": "32", "memory": "131072000Ki", "pods": "110", "ephemeral-storage": "209702892Ki"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"csi.volume.example.com/nodeid": f'{{"csi":"i-{rng.getrandbits(68):017x}"}}'},
            "managedFields": list(managed(heartbeat)),
        },
        "spec": {"providerID": f"example:///zone-{number % 3}/i-{rng.getrandbits(68):017x}"},
        "status": {
            "capacity": size,
            "allocatable": {**size, "cpu": "31850m"},
            "conditions": conditions(heartbeat),
            "addresses": [
                {"type": "InternalIP", "address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"},
                {"type": "Hostname", "address": name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": f"{rng.getrandbits(128):032x}",
                "systemUUID": f"{rng.getrandbits(128):032x}",
                "bootID": f"{rng.getrandbits(128):032x}",
                "kernelVersion": "6.1.0-28-amd64",
                "osImage": "Debian GNU/Linux 12 (bookworm)",
                "containerRuntimeVersion": "containerd://2.1.4",
                "kubeletVersion": "v1.37.2",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
            "images": images,
        },
    }


def image(number: int) -> dict[str, Any]:
    """One of the cluster's images."""
    repository = f"registry.region-1.internal.example.com/platform/team-{number % 20}/service-{number:03}"
    digest = f"{random.Random(number).getrandbits(256):064x}"
    return {
        "names": [f"{repository}@sha256:{digest}", f"{repository}:v1.{number % 40}.{number % 9}"],
        "sizeBytes": 10_000_000 + number * 4099,
    }


def conditions(heartbeat: str) -> list[dict[str, str]]:
    """What a kubelet says of itself."""
    healthy = {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
    return [
        {
            "type": kind,
            "status": status,
            "lastHeartbeatTime": heartbeat,
            "lastTransitionTime": heartbeat,
            "reason": f"KubeletHas{kind}",
            "message": f"kubelet reports that {kind} is {status}, as it has found on its last look",
        }
        for kind, status in healthy.items()
    ]


def managed(moment: str) -> Iterator[dict[str, Any]]:
    """Who set which fields."""
    for manager, (part, names, count) in _MANAGERS.items():
        fields: dict[str, Any] = {
            f"f:{name}": {".": {}} | {f"f:field-{i}": {} for i in range(count)} for name in names
        }
        yield {
            "manager": manager,
            "operation": "Update",
            "apiVersion": "v1",
            "time": moment,
            "fieldsType": "FieldsV1",
            "fieldsV1": {f"f:{part}": fields},
        }


async def serve(nodes: int) -> None:
    """Fill a model and serve it, until standard input ends."""
    server = APIServer()
    server.log_limit = server.history_limit = 1000
    async with HTTPServer(server) as face:
        for number in range(nodes):
            server.put(node(number))
        print(face.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def patch_all(address: tuple[str, int], work: Iterator[tuple[int, str]]) -> None:
    """Patch one Node after the other on one connection."""
    reader, writer = await asyncio.open_connection(*address)
    for count, name in work:
        text = f"10.{count >> 8 & 255}.{count & 255}.0/24"
        body = msgspec.json.encode({"metadata": {"annotations": {"range": text}}})
        writer.write(
            f"PATCH /api/v1/nodes/{name} HTTP/1.1\r\nHost: model\r\n"
            "Content-Type: application/merge-patch+json\r\n"
            "Accept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"PATCH {name}: {head.decode()}")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
    writer.close()


async def read_watch(address: tuple[str, int], version: str) -> None:
    """Read a watch of all Nodes, until cancelled."""
    reader, writer = await asyncio.open_connection(*address)
    path = f"/api/v1/nodes?watch=1&resourceVersion={version}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: model\r\n\r\n".encode())
    while await reader.read(1 << 20):
        pass


async def listed(url: str) -> tuple[list[str], str]:
    """The names of all Nodes, read in pages as whole objects, and the list's version."""
    names: list[str] = []
    query = {"limit": "500"}
    async with aiohttp.ClientSession(url) as session:
        while True:
            async with session.get("/api/v1/nodes", params=query) as answer:
                page = msgspec.json.decode(await answer.read(), type=_Page)
            names += [each.metadata.name for each in page.items]
            if "continue" not in page.metadata:
                return names, page.metadata["resourceVersion"]
            query["continue"] = page.metadata["continue"]


async def patches(address: tuple[str, int], names: list[str], count: int) -> float:
    """Patch Nodes, as many at once as a controller has in flight; return the seconds."""
    order = random.Random(count)
    work = iter([(number, order.choice(names)) for number in range(count)])
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.create_task(patch_all(address, work))
    return time.monotonic() - began


async def _measure(url: str, pid: int) -> list[Figure]:
    figures = []
    names, version = await listed(url)
    address = "127.0.0.1", int(url.rpartition(":")[2])
    for what in ("PATCH", "PATCH, with a watch open"):
        watch = asyncio.create_task(read_watch(address, version)) if "watch" in what else None
        before = usage(pid).cpu
        seconds = await patches(address, names, PATCHES)
        cpu = usage(pid).cpu - before
        beside = f"{cpu / PATCHES * 1e6:.0f} µs of CPU each, {PATCHES / cpu:,.0f} for a whole second of it"
        if cpu < 0.9 * seconds:
            beside += f"; it had a CPU for {cpu / seconds:.0%} of the time"
        figures.append(Figure(what, PATCHES / seconds, "a second", LEAST_RATE, least=True, beside=beside))
        if watch is not None:
            watch.cancel()
            await asyncio.wait({watch})
    peak = usage(pid).peak
    return [*figures, Figure(f"peak RSS with {COUNT:,} Nodes of 20 KB", peak, "MiB", MOST_MEMORY)]


def measure() -> list[Figure]:
    """The model's rate of PATCH, without and with a watch, and its memory."""
    argv = [sys.executable, "-m", "bench.micro.model"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        url = server.stdout.readline().strip()
        return asyncio.run(_measure(url, server.pid))


if __name__ == "__main__":
    asyncio.run(serve(COUNT))
