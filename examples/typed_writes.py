"""Cached reads by nodeipam.runtime, writes by the typed API of kubernetes_asyncio, one set of credentials.

The controller keeps copies of ConfigMaps: one that is annotated `example.com/copy-to: <namespace>` is copied
into that namespace under its own name, and again when its data change. To try it on the cluster that your
kubeconfig names:

    kubectl create namespace elsewhere
    kubectl create configmap greeting --from-literal=text=hello
    kubectl annotate configmap greeting example.com/copy-to=elsewhere
    python examples/typed_writes.py &
    kubectl get configmap greeting --namespace elsewhere --output yaml
    kill %1

It needs the right to list, watch, create and update ConfigMaps. There is no election in it: run it once.
"""

from __future__ import annotations

import asyncio
import signal

import msgspec
from kubernetes_asyncio import client as kubernetes
from kubernetes_asyncio import config

from nodeipam.runtime import (
    Client,
    Controller,
    Informer,
    Manager,
    ObjectMeta,
    Request,
    Resource,
    Source,
    connect,
)

COPY_TO = "example.com/copy-to"
COPY_OF = "example.com/copy-of"


class ConfigMap(msgspec.Struct, frozen=True, gc=False):
    """The part of a ConfigMap that is read."""

    metadata: ObjectMeta
    data: dict[str, str] | None = None

    def annotation(self, name: str) -> str:
        """An annotation, or ""."""
        return (self.metadata.annotations or {}).get(name, "")


CONFIG_MAPS = Resource("v1", "ConfigMap", plural="configmaps", namespaced=True, type=ConfigMap)


class Copy:
    """Makes one ConfigMap's copy, or brings it up to date."""

    def __init__(self, api: kubernetes.CoreV1Api, config_maps: Informer[ConfigMap]) -> None:
        self._api = api
        self._config_maps = config_maps

    async def __call__(self, request: Request) -> None:
        """Look at one original. An ApiException is retried with backoff, as whatever a reconciler raises."""
        original = self._config_maps.store.get(request)
        if original is None or not original.annotation(COPY_TO):
            return
        place = Request(request.name, original.annotation(COPY_TO))
        copy = self._config_maps.store.get(place)
        if copy is not None and copy.annotation(COPY_OF) != str(request):
            return  # somebody else's: not ours to overwrite
        if copy is not None and copy.data == original.data:
            return
        body = kubernetes.V1ConfigMap(
            metadata=kubernetes.V1ObjectMeta(
                name=place.name,
                annotations={COPY_OF: str(request)},
                resource_version=copy.metadata.resource_version if copy else None,  # 409 if it has changed
            ),
            data=original.data,
        )
        # The cache may be behind: then the server answers 409, and the copy's own event brings us back here.
        if copy is None:
            await self._api.create_namespaced_config_map(place.namespace, body)
        else:
            await self._api.replace_namespaced_config_map(place.name, place.namespace, body)


def originals(config_map: ConfigMap) -> list[Request]:
    """Whom to look at when this ConfigMap has changed: itself, or what it is a copy of."""
    namespace, _, name = config_map.annotation(COPY_OF).partition("/")
    return [Request(name, namespace) if name else CONFIG_MAPS.request(config_map)]


def build(client: Client, api: kubernetes.CoreV1Api) -> Manager:
    """The controller; nothing runs yet."""
    manager = Manager(client)
    config_maps = manager.informer(CONFIG_MAPS)
    manager.add(Controller("copies", Copy(api, config_maps), sources=[Source(config_maps, map=originals)]))
    return manager


async def main() -> None:
    """Run until a signal comes, or something fails."""
    await config.load_config()  # the kubeconfig where there is one, else the Pod's service account
    async with kubernetes.ApiClient() as api, connect(configuration=api) as client:
        manager = build(client, kubernetes.CoreV1Api(api))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(manager.run())
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, running.cancel)


if __name__ == "__main__":
    asyncio.run(main())
