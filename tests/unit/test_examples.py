"""The programs in examples/, as processes of their own, on an API server model."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from nodeipam.testing import APIServer

from .bridge import bridge, kubeconfig

EXAMPLES = Path(__file__).parents[2] / "examples"


@asynccontextmanager
async def running(program: str, server: APIServer, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """An example that runs; at the end it is told to stop, and has to do so without an error."""
    async with bridge(server) as address:
        environ = dict(os.environ, KUBECONFIG=str(kubeconfig(folder / "config", address)), PORT="0")
        environ.pop("KUBERNETES_SERVICE_HOST", None)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLES / program)),
            env=environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            _, complaints = await process.communicate()
            assert b"" == complaints
            assert 0 == process.returncode
        finally:
            if process.returncode is None:
                process.kill()
                print((await process.communicate())[1].decode())  # noqa: T201 - pytest shows it


def config_map(name: str, text: str, **metadata: Any) -> dict[str, Any]:
    """A ConfigMap in the namespace "default"."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "data": {"text": text},
    }


async def until(condition: Callable[[], object]) -> None:
    """Wait until a process that runs beside us has made `condition` true."""
    async with asyncio.timeout(25.0):
        while not condition():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.02)


def annotation(server: APIServer, name: str, text: str) -> str:
    """An annotation of a ConfigMap in the namespace "default"."""
    found = server.get("configmaps", name, namespace="default")
    value: str = found["metadata"].get("annotations", {}).get(text, "")
    return value


async def test_embedded(tmp_path: Path) -> None:
    """The controller works inside of the application, whose own pages are served; both stop on a signal."""
    server = APIServer()
    wanted = {"labels": {"example.com/checksum": "wanted"}}
    server.put(config_map("greeting", "hello", **wanted))
    server.put(config_map("other", "hello"))
    async with running("embedded.py", server, tmp_path) as process:
        assert process.stdout
        line = (await process.stdout.readline()).decode().split()
        await until(lambda: annotation(server, "greeting", "example.com/checksum"))
        before = annotation(server, "greeting", "example.com/checksum")
        server.put(config_map("greeting", "good bye", **wanted))
        await until(lambda: annotation(server, "greeting", "example.com/checksum") not in {"", before})
        async with aiohttp.ClientSession() as session, session.get(line[-1]) as answer:
            served = await answer.json()
        assert {"default/greeting": annotation(server, "greeting", "example.com/checksum")} == served
        assert "" == annotation(server, "other", "example.com/checksum")
    (lease,) = server.objects("leases.coordination.k8s.io")
    assert "" == lease["spec"]["holderIdentity"]


async def test_typed_writes(tmp_path: Path) -> None:
    """What the cache shows is written by the typed API: copies are made, kept up to date, and repaired."""
    server = APIServer()
    server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
    annotations = {"example.com/copy-to": "elsewhere"}
    server.put(config_map("greeting", "hello", annotations=annotations))

    def copied() -> str:
        found = [
            each for each in server.objects("configmaps") if "elsewhere" == each["metadata"]["namespace"]
        ]
        return str(found[0]["data"]["text"]) if found else ""

    async with running("typed_writes.py", server, tmp_path):
        await until(lambda: "hello" == copied())
        server.put(config_map("greeting", "good bye", annotations=annotations))
        await until(lambda: "good bye" == copied())
        server.delete("configmaps", "greeting", namespace="elsewhere")
        await until(lambda: "good bye" == copied())
