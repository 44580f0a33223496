"""A plain REST client for the tests, and the objects that they make.

It shares no code with nodeipam: what the tests see and do is independent of what they test.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

from tests.e2e.controlplane import ControlPlane

Object = dict[str, Any]

NODES = "/api/v1/nodes"
CLUSTER_CIDRS = "/apis/networking.x-k8s.io/v1/clustercidrs"
LEASES = "/apis/coordination.k8s.io/v1/leases"
EVENTS = "/apis/events.k8s.io/v1/events"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

# A Node with this annotation got its podCIDRs from the test, not from the controller under test.
FOREIGN = "tests.nodeipam/foreign"

_PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class ApiError(Exception):
    """An answer other than 2xx: `status` is its code, `body` the Status object, or else the text."""

    def __init__(self, method: str, path: str, status: int, body: Any) -> None:
        self.status = status
        self.body = body
        message = body.get("message") if isinstance(body, dict) else body
        super().__init__(f"{method} {path}: {status} {message}")

    @property
    def fields(self) -> list[str]:
        """The fields that the API server finds fault with."""
        causes = self.body.get("details", {}).get("causes", []) if isinstance(self.body, dict) else []
        return [cause.get("field", "") for cause in causes]


class Kube:
    """The API server through one user's eyes; an asynchronous context manager."""

    def __init__(self, plane: ControlPlane, *, token: str | None = None) -> None:
        self._plane = plane
        self._token = token or plane.tokens["admin"]
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            base_url=self._plane.url,
            connector=aiohttp.TCPConnector(ssl=self._plane.tls(), limit=0),
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=aiohttp.ClientTimeout(total=20.0),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """Send one request and return the decoded answer.

        Raises:
            ApiError: the answer is not 2xx.
            aiohttp.ClientError, TimeoutError: there is none.
        """
        data = None if body is None else json.dumps(body)
        try:
            status, text = await self._exchange(method, path, data, params, content_type)
        except (aiohttp.ServerDisconnectedError, ConnectionResetError):
            # The test has restarted the server since this connection was last used.
            status, text = await self._exchange(method, path, data, params, content_type)
        async with asyncio.timeout(20.0):
            while status == 429 and "storage is (re)initializing" in text:
                # So it is for a moment after a start, and after a definition came or changed.
                await asyncio.sleep(0.05)
                status, text = await self._exchange(method, path, data, params, content_type)
        try:
            document = json.loads(text)
        except ValueError:
            document = text
        if status >= 300:
            raise ApiError(method, path, status, document)
        return document

    async def get(self, path: str) -> Object:
        """Read one object."""
        answer: Object = await self.request("GET", path)
        return answer

    async def items(self, path: str, **params: str) -> list[Object]:
        """Read a whole collection."""
        answer = await self.request("GET", path, params=params)
        items: list[Object] = answer["items"]
        return items

    async def create(self, path: str, body: Object, **params: str) -> Object:
        """Create an object in a collection."""
        answer: Object = await self.request("POST", path, body, params=params)
        return answer

    async def replace(self, path: str, body: Object) -> Object:
        """Write an object whole (PUT)."""
        answer: Object = await self.request("PUT", path, body)
        return answer

    async def patch(self, path: str, patch: Any, *, kind: str = "merge", **params: str) -> Object:
        """Patch an object; `kind` is merge, strategic, json or apply."""
        answer: Object = await self.request(
            "PATCH", path, patch, params=params, content_type=_PATCH_TYPES[kind]
        )
        return answer

    async def delete(self, path: str, **params: str) -> None:
        """Delete an object or a collection; one that isn't there is fine."""
        try:
            await self.request("DELETE", path, params=params)
        except ApiError as error:
            if error.status != 404:
                raise

    async def watch(self, path: str, version: str, **params: str) -> AsyncGenerator[Object]:
        """The events of a collection after a resourceVersion, until the server or the caller ends it.

        Close it with `contextlib.aclosing`. A 410 comes as an ERROR event, or as an ApiError.
        """
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true", **params}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
        async with self._opened().get(path, params=query, timeout=timeout) as answer:
            if answer.status >= 300:
                raise ApiError("WATCH", path, answer.status, await answer.text())
            buffer = bytearray()
            async for chunk in answer.content.iter_any():
                buffer += chunk
                *lines, rest = buffer.split(b"\n")
                for line in lines:
                    yield json.loads(line)
                buffer = bytearray(rest)

    async def apply(
        self, manifests: Path | Iterable[Object], *, field_manager: str = "tests"
    ) -> list[Object]:
        """Apply objects, a YAML file or a folder of them, in their order (server-side apply)."""
        objects = read_manifests(manifests) if isinstance(manifests, Path) else list(manifests)
        return [await self._apply_one(each, field_manager) for each in objects]

    async def path_of(self, body: Object) -> str:
        """Where the API server keeps such an object, by its own discovery."""
        api_version, kind, metadata = body["apiVersion"], body["kind"], body["metadata"]
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        for resource in (await self.get(root))["resources"]:
            if resource["kind"] == kind and "/" not in resource["name"]:
                scope = (
                    f"/namespaces/{metadata.get('namespace', 'default')}" if resource["namespaced"] else ""
                )
                return f"{root}{scope}/{resource['name']}/{metadata['name']}"
        raise LookupError(f"the API server knows no kind {kind} in {api_version}")

    async def token_for(self, namespace: str, name: str, *, seconds: int = 3600) -> str:
        """A token of a ServiceAccount, as a kubelet gets it (TokenRequest; 600 seconds at the least)."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        answer = await self.create(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", body)
        token: str = answer["status"]["token"]
        return token

    async def create_node(self, name: str, **options: Any) -> Object:
        """Create a Node that `node` describes."""
        return await self.create(NODES, node(name, **options))

    async def create_cluster_cidr(self, name: str, **options: Any) -> Object:
        """Create a ClusterCIDR that `cluster_cidr` describes."""
        return await self.create(CLUSTER_CIDRS, cluster_cidr(name, **options))

    async def pod_cidrs(self, name: str) -> list[str]:
        """What a Node holds."""
        ranges: list[str] = (await self.get(f"{NODES}/{name}"))["spec"].get("podCIDRs", [])
        return ranges

    async def _exchange(
        self, method: str, path: str, data: str | None, params: Mapping[str, str] | None, content_type: str
    ) -> tuple[int, str]:
        headers = {"Content-Type": content_type}
        request = self._opened().request(method, path, data=data, params=params, headers=headers)
        async with request as answer:
            return answer.status, await answer.text()

    async def _apply_one(self, body: Object, field_manager: str) -> Object:
        path = await self.path_of(body)
        applied = await self.patch(path, body, kind="apply", fieldManager=field_manager, force="true")
        if body["kind"] == "CustomResourceDefinition":
            await self._established(path)
        return applied

    async def _established(self, path: str) -> None:
        """Wait until objects of a definition can be made (a watch, so no polling)."""
        collection, _, name = path.rpartition("/")
        events = self.watch(collection, "0", fieldSelector=f"metadata.name={name}")
        async with asyncio.timeout(10.0), contextlib.aclosing(events):
            async for event in events:
                conditions = event["object"].get("status", {}).get("conditions") or []
                if any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
                    return

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use it as `async with Kube(…) as kube`")
        return self._session


def read_manifests(path: Path) -> list[Object]:
    """The objects of a YAML file, or of all YAML files of a folder in the order of their names."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return [body for file in files for body in yaml.safe_load_all(file.read_text()) if body]


def node(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    pod_cidrs: Sequence[str] = (),
    finalizers: Sequence[str] = (),
) -> Object:
    """A Node. One that comes with podCIDRs is marked as foreign, for the observer."""
    metadata: Object = {"name": name, "labels": dict(labels or {}), "finalizers": list(finalizers)}
    spec: Object = {}
    if pod_cidrs:
        metadata["annotations"] = {FOREIGN: "true"}
        spec = {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def cluster_cidr(
    name: str,
    *,
    ipv4: str | None = None,
    ipv6: str | None = None,
    host_bits: int = 8,
    terms: Sequence[Mapping[str, Any]] | None = None,
) -> Object:
    """A ClusterCIDR. `terms` are nodeSelectorTerms; without any it serves every Node."""
    spec: Object = {"perNodeHostBits": host_bits}
    if ipv4 is not None:
        spec["ipv4"] = ipv4
    if ipv6 is not None:
        spec["ipv6"] = ipv6
    if terms is not None:
        spec["nodeSelector"] = {"nodeSelectorTerms": [dict(term) for term in terms]}
    return {
        "apiVersion": "networking.x-k8s.io/v1",
        "kind": "ClusterCIDR",
        "metadata": {"name": name},
        "spec": spec,
    }


def requires(key: str, operator: str, *values: str) -> Object:
    """A nodeSelectorTerm of one label requirement."""
    expression: Object = {"key": key, "operator": operator}
    if values:
        expression["values"] = list(values)
    return {"matchExpressions": [expression]}
