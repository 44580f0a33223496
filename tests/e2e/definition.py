"""The definition of ClusterCIDR in the API server: the project's, a lax one or none, as a test wants it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path

from tests.e2e.kube import CLUSTER_CIDRS, CRDS, ApiError, Kube, Object, read_manifests
from tests.e2e.shown import wait_shown

NAME = "clustercidrs.networking.x-k8s.io"
MANIFEST = Path(__file__).parents[2] / "manifests" / "crd.yaml"

_DEFINITION = f"{CRDS}/{NAME}"
_REFUSED = {
    "apiVersion": "networking.x-k8s.io/v1",
    "kind": "ClusterCIDR",
    "metadata": {"name": "probe"},
}


@contextlib.asynccontextmanager
async def lax_definition(kube: Kube) -> AsyncGenerator[None]:
    """Within, ClusterCIDRs may hold anything; after it, the definition of the project is in force again."""
    (strict,) = read_manifests(MANIFEST)
    lax = json.loads(json.dumps(strict))
    (version,) = lax["spec"]["versions"]
    del version["subresources"]
    version["schema"] = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    await _define(kube, lax)
    await _in_force(kube, refuses=False)
    try:
        yield
    finally:
        await _define(kube, strict)
        await _in_force(kube, refuses=True)


@contextlib.asynccontextmanager
async def no_definition(kube: Kube) -> AsyncGenerator[None]:
    """Within, there are no ClusterCIDRs, unless the test calls `define`; after it there may be some again."""
    await kube.delete(_DEFINITION)
    await wait_shown(kube, CRDS, lambda items: NAME not in items, what="no definition")
    try:
        yield
    finally:
        await define(kube)


async def define(kube: Kube) -> None:
    """Have the project's definition in force."""
    await kube.apply(MANIFEST)
    await _in_force(kube, refuses=True)


async def _define(kube: Kube, definition: Object) -> None:
    held = await kube.get(_DEFINITION)
    await kube.replace(_DEFINITION, {**held, "spec": definition["spec"]})


async def _in_force(kube: Kube, *, refuses: bool) -> None:
    """Wait until the API server goes by a definition that refuses what is wrong, or by a lax one."""
    async with asyncio.timeout(20.0):
        while refuses != await _is_refused(kube):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)


async def _is_refused(kube: Kube) -> bool | None:
    """None: there are no ClusterCIDRs yet."""
    try:
        await kube.create(CLUSTER_CIDRS, _REFUSED, dryRun="All")
    except ApiError as error:
        if error.status not in (404, 422):
            raise
        return True if error.status == 422 else None
    return False
