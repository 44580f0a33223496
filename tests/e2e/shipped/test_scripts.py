"""make setup-test-env, run and teardown-test-env: all but kind itself, for which a program stands in."""

import os
from pathlib import Path

import pytest

from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import CLUSTER_CIDRS, Kube
from tests.e2e.shipped.pages import Operator
from tests.e2e.shipped.release import DEFINITION, DEPLOYMENT
from tests.e2e.shown import shell
from tests.image.engine import BASE, CA_BUNDLE, ROOT, Engine

# Writes down how it is called, and the size of an archive that it is given; its cluster is the test's.
KIND = """#!/bin/sh
echo "$@" >> {calls}
case "$1 $2" in
"create cluster") while [ "$1" != --kubeconfig ]; do shift; done; cp {kubeconfig} "$2" ;;
"load image-archive") test -s "$3" ;;
esac
"""

# What a make that runs the tests would tell the one that they run.
OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}

pytestmark = [pytest.mark.programs("helm4", "podman", "mmdebstrap"), pytest.mark.timeout(300)]


@pytest.fixture
def environment(operator: Operator, plane: ControlPlane, tmp_path: Path) -> dict[str, str]:
    """An operator's, with a kind that stands in and writes to `calls`, and no cluster yet."""
    kind = tmp_path / "bin" / "kind"
    kind.write_text(KIND.format(calls=tmp_path / "calls", kubeconfig=plane.kubeconfig("admin")))
    kind.chmod(0o755)
    found = os.environ | operator.env | {"TEST_ENV_KUBECONFIG_PATH": str(tmp_path / "cluster" / "kubeconfig")}
    return {name: value for name, value in found.items() if name not in {"KUBECONFIG", *OF_MAKE}}


async def test_run(environment: dict[str, str], engine: Engine, kube: Kube, tmp_path: Path) -> None:
    """The cluster is made, the image built and loaded, the chart installed, a ClusterCIDR created."""
    podman = tmp_path / "bin" / "podman"
    podman.write_text(engine.wrapper())
    podman.chmod(0o755)
    building = {"CONTAINER_TOOL": "podman", "BASE_IMAGE": BASE, "CA_FILE": str(CA_BUNDLE)}
    said = await shell("make run", env={**environment, **building}, folder=ROOT, within=240.0)
    assert said.splitlines()[-1] == f"export KUBECONFIG={environment['TEST_ENV_KUBECONFIG_PATH']}"
    deployment = await kube.get(DEPLOYMENT)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "ghcr.io/nodeipam/nodeipam:local" == container["image"]
    assert engine.podman("inspect", "--format={{.Id}}", container["image"])
    assert ["dual"] == [item["metadata"]["name"] for item in await kube.items(CLUSTER_CIDRS)]
    deleted, created, loaded = (tmp_path / "calls").read_text().splitlines()
    assert "delete cluster --name nodeipam" == deleted
    assert created.startswith("create cluster --name nodeipam --config scripts/kind.yaml --kubeconfig ")
    assert loaded.startswith("load image-archive ")


async def test_setup_and_teardown(environment: dict[str, str], kube: Kube, tmp_path: Path) -> None:
    """The cluster has the definition of ClusterCIDR and nothing else of ours, until it is removed."""
    await shell("make setup-test-env", env=environment, folder=ROOT)
    assert "clustercidrs.networking.x-k8s.io" == (await kube.get(DEFINITION))["metadata"]["name"]
    kubeconfig = Path(environment["TEST_ENV_KUBECONFIG_PATH"])
    assert kubeconfig.exists()
    await shell("make teardown-test-env", env=environment, folder=ROOT)
    assert not kubeconfig.exists()
    assert "delete cluster --name nodeipam" == (tmp_path / "calls").read_text().splitlines()[-1]


@pytest.mark.parametrize("missing", ["kind", "helm"])
async def test_a_missing_tool_is_named(environment: dict[str, str], missing: str, tmp_path: Path) -> None:
    """It is said where to get it."""
    (tmp_path / "bin" / missing).unlink()
    line = f"! (source scripts/tools.sh; need {missing}) 2>&1"
    said = await shell(f"bash -c '{line}'", env=environment, folder=ROOT)
    assert said.startswith(f"no {missing}: see https://")
