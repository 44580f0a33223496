"""The chart on a real API server: installed, upgraded, rolled back and uninstalled by helm 3 and helm 4."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.chart.helm import CHART, Helm, Values, values_file
from tests.chart.matrix import GOOD
from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import CLUSTER_CIDRS, Kube, Object, cluster_cidr
from tests.e2e.shipped.reference import reference_chart
from tests.e2e.shipped.release import DEFINITION, DEPLOYMENT, KINDS, NAMESPACE, RELEASE, ours, served
from tests.e2e.shown import kubectl_environment, shell

ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}

pytestmark = pytest.mark.programs("helm4")


class Releases:
    """The one release of one helm in one cluster."""

    def __init__(self, helm: Helm, plane: ControlPlane, folder: Path) -> None:
        self.helm = helm
        self._folder = folder
        self._env = {**os.environ, "HOME": str(folder), "KUBECONFIG": str(plane.kubeconfig("admin"))}

    def run(self, *arguments: str | Path) -> str:
        """What helm prints."""
        return self.helm.run(*arguments, "--namespace", NAMESPACE, env=self._env)

    def install(self, *flags: str, chart: Path = CHART) -> str:
        """As the documentation has it."""
        return self.run("install", RELEASE, chart, "--create-namespace", *flags)

    def upgrade(self, values: Values, *flags: str) -> str:
        """To our chart, with these values and the defaults of all others."""
        return self.run("upgrade", RELEASE, CHART, "--values", values_file(values, self._folder), *flags)

    def roll_back(self) -> str:
        """To the first revision."""
        return self.run("rollback", RELEASE, "1")

    def uninstall(self) -> str:
        """Whether it is there or not."""
        return self.run("uninstall", RELEASE, "--ignore-not-found")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.programs(name)) for name in ("helm3", "helm4")])
def releases(
    request: pytest.FixtureRequest,
    program: Callable[[str], Path],
    plane: ControlPlane,
    tmp_path: Path,
) -> Releases:
    """A helm, in a cluster where nothing is installed."""
    return Releases(Helm(program(request.param)), plane, tmp_path)


async def test_a_release_from_first_to_last(releases: Releases, kube: Kube) -> None:
    """It is installed, changed, changed back, removed and installed again; ClusterCIDRs stay."""
    notes = releases.install("--set", "image.tag=local")
    assert "kubectl -n nodeipam rollout status deployment/node-ipam-controller" in notes
    installed = await kube.get(DEPLOYMENT)
    assert "ghcr.io/nodeipam/nodeipam:local" == _container(installed)["image"]
    assert ROLLING == installed["spec"]["strategy"]
    await _established(kube)
    await kube.create_cluster_cidr("kept", ipv4="10.0.0.0/16")

    releases.upgrade({"replicaCount": 1, "leaderElection": {"enabled": False}, "service": {"port": 9090}})
    changed = await kube.get(DEPLOYMENT)
    assert {"type": "Recreate"} == changed["spec"]["strategy"]
    assert "--webserver-bind-address=:9090" in _container(changed)["args"]
    assert len(KINDS) - 3 == len(await ours(kube))  # neither a Role with its binding nor a disruption budget

    releases.roll_back()
    restored = await kube.get(DEPLOYMENT)
    assert installed["spec"] == restored["spec"]
    assert len(KINDS) == len(await ours(kube))

    releases.uninstall()
    assert [] == await ours(kube)
    assert ["kept"] == [item["metadata"]["name"] for item in await kube.items(CLUSTER_CIDRS)]
    releases.install()
    assert len(KINDS) == len(await ours(kube))


async def test_the_references_release_is_upgraded(releases: Releases, kube: Kube, tmp_path: Path) -> None:
    """The same release, by the same name: nothing of it is in the way, and the way back is a rollback."""
    releases.install(chart=reference_chart(tmp_path))
    await _established(kube)
    before = await kube.get(DEPLOYMENT)
    lax = {"metadata": {"name": "lax"}, "spec": {"ipv4": "10.0.0.0/28", "perNodeHostBits": 2}}
    await kube.create(CLUSTER_CIDRS, {**cluster_cidr("lax", ipv4="10.0.0.0/28"), **lax})

    releases.upgrade({})
    after = await kube.get(DEPLOYMENT)
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
    assert ROLLING == after["spec"]["strategy"]
    assert "status" in (await kube.get(DEFINITION))["spec"]["versions"][0]["subresources"]
    assert ["lax"] == [item["metadata"]["name"] for item in await kube.items(CLUSTER_CIDRS)]

    releases.roll_back()
    assert _container(before)["image"] == _container(await kube.get(DEPLOYMENT))["image"]
    assert "subresources" not in (await kube.get(DEFINITION))["spec"]["versions"][0]
    assert ["lax"] == [item["metadata"]["name"] for item in await kube.items(CLUSTER_CIDRS)]


async def test_the_references_release_is_upgraded_without_an_election(
    releases: Releases, kube: Kube, tmp_path: Path
) -> None:
    """What the API server filled in for the old strategy is in the way of server-side apply only."""
    releases.install(chart=reference_chart(tmp_path))
    assert "rollingUpdate" in (await kube.get(DEPLOYMENT))["spec"]["strategy"]
    client_side = ("--server-side=false",) if releases.helm.run("version").find("v4.") > 0 else ()
    releases.upgrade({"replicaCount": 1, "leaderElection": {"enabled": False}}, *client_side)
    assert {"type": "Recreate"} == (await kube.get(DEPLOYMENT))["spec"]["strategy"]


async def test_every_set_of_values_is_accepted(
    program: Callable[[str], Path], plane: ControlPlane, tmp_path: Path
) -> None:
    """The API server takes what the chart makes, and knows every field of it."""
    helm, env = Helm(program("helm4")), kubectl_environment(plane)
    await shell(f"kubectl create namespace {NAMESPACE} || true", env=env)
    for name, values in GOOD.items():
        objects = helm.render(values, tmp_path)
        known = [body for body in objects if not body["apiVersion"].startswith("monitoring.coreos.com/")]
        file = tmp_path / "objects.yaml"
        file.write_text(yaml.safe_dump_all(known))
        said = await shell(f"kubectl apply --dry-run=server --validate=strict -f {file}", env=env)
        assert len(known) == said.count("created (server dry run)"), (name, said)


async def test_the_manifests_are_accepted(plane: ControlPlane, kube: Kube) -> None:
    """`kubectl apply -k manifests/` installs it all, and may be repeated."""
    env, manifests = kubectl_environment(plane), CHART.parents[1] / "manifests"
    objects = len(KINDS) + 1  # and the definition; the namespace may be there
    first = await shell(f"kubectl apply -k {manifests} 2>/dev/null | grep -v ^namespace/", env=env)
    assert objects == first.count(" created"), first
    again = await shell(f"kubectl apply -k {manifests} 2>/dev/null | grep -v ^namespace/", env=env)
    # A disruption budget's selector is replaced and not merged, so it always counts as changed.
    assert objects == again.count(" unchanged") + again.count("poddisruptionbudget.policy/"), again


def _container(deployment: Object) -> Object:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)


async def _established(kube: Kube) -> None:
    """Wait until ClusterCIDRs are served."""
    async with asyncio.timeout(10.0):
        while not await served(kube, CLUSTER_CIDRS):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)
