"""The definition of ClusterCIDR in the API server: the project's, the reference's, a lax one or none."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from tests.e2e.kube import CLUSTER_CIDRS, CRDS, ApiError, Kube, Object, read_manifests
from tests.e2e.shown import wait_shown

NAME = "clustercidrs.networking.x-k8s.io"
MANIFEST = Path(__file__).parents[2] / "manifests" / "crd.yaml"
REFERENCE = Path(__file__).parent / "manifests" / "reference-crd.yaml"

_DEFINITION = f"{CRDS}/{NAME}"
# What the definition of the project refuses and laxer ones take: no spec, and too few host bits.
_WITHOUT_SPEC: Object = {
    "apiVersion": "networking.x-k8s.io/v1",
    "kind": "ClusterCIDR",
    "metadata": {"name": "probe"},
}
_FEW_BITS: Object = _WITHOUT_SPEC | {"spec": {"perNodeHostBits": 2, "ipv4": "10.0.0.0/16"}}


@contextlib.asynccontextmanager
async def lax_definition(kube: Kube) -> AsyncGenerator[None]:
    """Within, ClusterCIDRs may hold anything; after it, the definition of the project is in force again."""
    (lax,) = read_manifests(MANIFEST)
    (version,) = lax["spec"]["versions"]
    del version["subresources"]
    version["schema"] = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    async with _instead(kube, lax, takes=_WITHOUT_SPEC):
        yield


@contextlib.asynccontextmanager
async def reference_definition(kube: Kube) -> AsyncGenerator[None]:
    """Within, ClusterCIDRs are defined as by the reference; after it, as by the project again."""
    (reference,) = read_manifests(REFERENCE)
    async with _instead(kube, reference, takes=_FEW_BITS):
        yield


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
    await _in_force(kube, _WITHOUT_SPEC, refused=True)


@contextlib.asynccontextmanager
async def _instead(kube: Kube, definition: Object, *, takes: Object) -> AsyncGenerator[None]:
    """Within, a laxer definition is in force: it takes an object that the project's refuses."""
    (strict,) = read_manifests(MANIFEST)
    await _replace(kube, definition)
    await _in_force(kube, takes, refused=False)
    try:
        yield
    finally:
        await _replace(kube, strict)
        await _in_force(kube, takes, refused=True)


async def _replace(kube: Kube, definition: Object) -> None:
    held = await kube.get(_DEFINITION)
    await kube.replace(_DEFINITION, {**held, "spec": definition["spec"]})


async def _in_force(kube: Kube, probe: Object, *, refused: bool) -> None:
    """Wait until the API server goes by a definition: discovery shows it earlier than writes feel it."""
    async with asyncio.timeout(20.0):
        while refused != await _is_refused(kube, probe):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)


async def _is_refused(kube: Kube, probe: Object) -> bool | None:
    """None: there are no ClusterCIDRs yet."""
    try:
        await kube.create(CLUSTER_CIDRS, probe, dryRun="All")
    except ApiError as error:
        if error.status not in (404, 422):
            raise
        return True if error.status == 422 else None
    return False
