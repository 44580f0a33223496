"""An application with an event loop, a web server and signal handling of its own, and a controller in it.

The controller annotates each ConfigMap that is labelled `example.com/checksum` with the checksum of its data;
the web server shows what the controller's cache holds. To try it on the cluster that your kubeconfig names:

    kubectl create configmap greeting --from-literal=text=hello
    kubectl label configmap greeting example.com/checksum=wanted
    python examples/embedded.py &
    curl http://127.0.0.1:8000/checksums
    kill %1

It needs the right to list, watch and patch ConfigMaps, and to get, create, update and watch the Lease
"default/checksums". `PORT` is the port to serve at.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal

import msgspec
from aiohttp import web

from nodeipam.runtime import (
    Client,
    Controller,
    Election,
    Informer,
    Manager,
    ManagerOptions,
    ObjectMeta,
    Request,
    Resource,
    Result,
    connect,
)

CHECKSUM = "example.com/checksum"


# The controller: the fields that it reads, what it does for one object, how it is put together.


class ConfigMap(msgspec.Struct, frozen=True, gc=False):
    """The part of a ConfigMap that is read."""

    metadata: ObjectMeta
    data: dict[str, str] | None = None

    @property
    def checksum(self) -> str:
        """What the annotation should say."""
        return hashlib.sha256(msgspec.json.encode(self.data, order="deterministic")).hexdigest()[:12]


CONFIG_MAPS = Resource("v1", "ConfigMap", plural="configmaps", namespaced=True, type=ConfigMap)


class Reconcile:
    """Brings the annotation of one ConfigMap in line with its data."""

    def __init__(self, client: Client, config_maps: Informer[ConfigMap]) -> None:
        self._client = client
        self._config_maps = config_maps

    async def __call__(self, request: Request) -> Result | None:
        """Look at one ConfigMap. Whatever this raises is retried with backoff, be it a 409 or a bug."""
        config_map = self._config_maps.store.get(request)
        if config_map is None or (config_map.metadata.annotations or {}).get(CHECKSUM) == config_map.checksum:
            return None
        written = await self._client.patch(
            CONFIG_MAPS,
            request,
            {"metadata": {"annotations": {CHECKSUM: config_map.checksum}}},
            uid=config_map.metadata.uid,
            resource_version=config_map.metadata.resource_version,
        )
        self._config_maps.expect(request, written.metadata.resource_version)  # don't look before it is cached
        return None


def build(client: Client) -> tuple[Manager, Informer[ConfigMap]]:
    """The controller and its cache; nothing runs yet."""
    options = ManagerOptions(name="checksums", election=Election(namespace="default", name="checksums"))
    manager = Manager(client, options)
    config_maps = manager.informer(CONFIG_MAPS, label_selector=CHECKSUM)
    manager.add(Controller("checksums", Reconcile(client, config_maps), sources=[config_maps], workers=4))
    return manager, config_maps


# The application, which would be there without the controller too.


def application(config_maps: Informer[ConfigMap]) -> web.Application:
    """The application's web pages, made from the controller's cache."""

    async def checksums(_: web.Request) -> web.Response:
        found = {str(CONFIG_MAPS.request(each)): each.checksum for each in config_maps.store.list()}
        return web.json_response(found)

    app = web.Application()
    app.router.add_get("/checksums", checksums)
    return app


async def serve(app: web.Application, until: asyncio.Event) -> None:
    """Serve until told to stop, or cancelled."""
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", int(os.environ.get("PORT", "8000"))).start()
        host, port = runner.addresses[0][:2]
        print(f"serving at http://{host}:{port}/checksums", flush=True)
        await until.wait()
    finally:
        await runner.cleanup()


async def main() -> None:
    """Run both until a signal comes, or one of them fails."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with connect(user_agent="checksums") as client:
        manager, config_maps = build(client)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(manager.run())
            await manager.synced()
            await serve(application(config_maps), until=stop)
            running.cancel()  # lets running reconciles end, and releases the lease
    print("stopped", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
