"""kubectl, unchanged, on the API server model over HTTP, and the same commands on a real API server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from nodeipam.testing import APIServer, HTTPServer
from tests.conftest import MANIFESTS
from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import Kube, read_manifests
from tests.e2e.shown import kubectl_environment, shell

NODES = """
apiVersion: v1
kind: Node
metadata:
  name: n1
  labels: {node-role.kubernetes.io/control-plane: ""}
status:
  conditions: [{type: Ready, status: "True"}]
  addresses: [{type: InternalIP, address: 10.0.0.1}]
  nodeInfo:
    {machineID: "", systemUUID: "", bootID: "", kubeProxyVersion: "", operatingSystem: linux,
     architecture: amd64, kubeletVersion: v1.37.2, osImage: Debian, kernelVersion: 6.1.0,
     containerRuntimeVersion: containerd://2}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
"""
POOL = """
apiVersion: networking.x-k8s.io/v1
kind: ClusterCIDR
metadata: {name: small}
spec: {perNodeHostBits: 8, ipv4: 10.244.0.0/16}
"""
CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: kubectl-test}
data: {a: "1", b: "2"}
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A shell whose kubectl talks to one of the two servers."""

    env: Mapping[str, str]
    folder: Path

    async def run(self, line: str, *, stdin: str = "") -> list[str]:
        """What a command prints, line by line, with every age the same; it may fail."""
        (self.folder / "stdin").write_text(stdin)
        text = await shell(f"({line}) < stdin || true", env=self.env, folder=self.folder)
        return _ageless(text)


@pytest.fixture(params=["model", "kube-apiserver"])
async def cluster(
    request: pytest.FixtureRequest, plane: ControlPlane, kube: Kube, tmp_path: Path
) -> AsyncIterator[Cluster]:
    """The same commands on either; what is made on the real one is removed at the end."""
    env = kubectl_environment(plane)
    if request.param == "kube-apiserver":
        yield Cluster(env, tmp_path)
        await kube.delete("/api/v1/namespaces/default/configmaps/kubectl-test")
    else:
        async with _model() as face:
            config = plane.kubeconfig("admin", server=face.url)
            yield Cluster({**env, "HOME": str(tmp_path), "KUBECONFIG": str(config)}, tmp_path)


@pytest.fixture
async def model(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Cluster]:
    """The model alone."""
    async with _model() as face:
        config = plane.kubeconfig("admin", server=face.url)
        yield Cluster(
            {**kubectl_environment(plane), "HOME": str(tmp_path), "KUBECONFIG": str(config)}, tmp_path
        )


def _model() -> HTTPServer:
    server = APIServer()
    (definition,) = read_manifests(MANIFESTS / "crd.yaml")
    server.install(definition)
    return HTTPServer(server)


def _ageless(text: str) -> list[str]:
    lines = [re.sub(r"(?<= )\d+[smh](\d+[smh])?(?= |$)", "AGE", line) for line in text.splitlines()]
    return [re.sub(r" {2,}", "  ", line.rstrip()) for line in lines]


class TestGet:
    async def test_nodes(self, cluster: Cluster) -> None:
        """`get nodes` shows what a real server shows, and `-o wide` more of it."""
        assert ["node/n1 created", "node/n2 created"] == await cluster.run("kubectl create -f -", stdin=NODES)
        assert [
            "NAME  STATUS  ROLES  AGE  VERSION",
            "n1  Ready  control-plane  AGE  v1.37.2",
            "n2  Unknown  <none>  AGE",
        ] == await cluster.run("kubectl get no")
        heads, first, second = await cluster.run("kubectl get nodes -o wide")
        assert heads.endswith("INTERNAL-IP  EXTERNAL-IP  OS-IMAGE  KERNEL-VERSION  CONTAINER-RUNTIME")
        assert first.endswith("v1.37.2  10.0.0.1  <none>  Debian  6.1.0 (amd64)  containerd://2")
        assert second.endswith("AGE  <none>  <none>  <unknown>  <unknown>  <unknown>")

    async def test_other_forms(self, cluster: Cluster) -> None:
        """Names, labels, columns of one's own, an order of one's own, pages, and selections work."""
        await cluster.run("kubectl create -f -", stdin=NODES)
        assert ["node/n1", "node/n2"] == await cluster.run("kubectl get nodes -o name --chunk-size=1")
        assert ["n1"] == await cluster.run(
            "kubectl get no --no-headers -l node-role.kubernetes.io/control-plane"
            " -o custom-columns=N:.metadata.name"
        )
        assert ["n2  Unknown  <none>  AGE"] == await cluster.run(
            "kubectl get no --no-headers --field-selector metadata.name=n2"
        )
        assert ["n2", "n1"] == [
            line.split()[0]
            for line in await cluster.run("kubectl get no --no-headers --sort-by=.status.nodeInfo.osImage")
        ]

    async def test_pools(self, cluster: Cluster) -> None:
        """`get clustercidrs` shows the columns of the definition."""
        await cluster.run("kubectl create -f -", stdin=POOL)
        await cluster.run(
            "kubectl patch clustercidr small --subresource=status --type=merge --patch-file stdin",
            stdin="""
status:
  conditions:
  - {type: Ready, status: "True", reason: Allocating, message: all of it,
     lastTransitionTime: "2026-01-01T00:00:00Z"}
""",
        )
        assert [
            "NAME  READY  REASON  IPV4  IPV6  HOSTBITS  AGE  MESSAGE",
            "small  True  Allocating  10.244.0.0/16  8  AGE  all of it",
        ] == await cluster.run("kubectl get clustercidrs -o wide")

    async def test_lease(self, cluster: Cluster) -> None:
        """`get leases` shows who holds them."""
        lease = """
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: kubectl-test}
spec: {holderIdentity: me}
"""
        await cluster.run("kubectl create -f -", stdin=lease)
        assert ["NAME  HOLDER  AGE", "kubectl-test  me  AGE"] == await cluster.run(
            "kubectl get leases kubectl-test"
        )

    async def test_nothing(self, cluster: Cluster) -> None:
        """What isn't there is said as ever."""
        assert ["No resources found"] == await cluster.run("kubectl get nodes")
        assert ['Error from server (NotFound): nodes "n1" not found'] == await cluster.run(
            "kubectl get node n1"
        )

    async def test_watch(self, cluster: Cluster) -> None:
        """`get -w` shows what is there, and then each change as a line below the same heads."""
        await cluster.run("kubectl create -f -", stdin=NODES)
        watching = await asyncio.create_subprocess_exec(
            *("kubectl", "get", "nodes", "-w"), env=dict(cluster.env), stdout=asyncio.subprocess.PIPE
        )
        try:
            assert watching.stdout
            seen = [(await watching.stdout.readline()).decode() for _ in range(3)]
            await cluster.run("kubectl cordon n2")
            seen.append((await watching.stdout.readline()).decode())
            await cluster.run("kubectl delete node n1")
            seen.append((await watching.stdout.readline()).decode())
        finally:
            watching.kill()
            await watching.communicate()
        assert [
            "NAME  STATUS  ROLES  AGE  VERSION",
            "n1  Ready  control-plane  AGE  v1.37.2",
            "n2  Unknown  <none>  AGE",
            "n2  Unknown,SchedulingDisabled  <none>  AGE",
        ] == _ageless("".join(seen))[:4]


class TestApply:
    @pytest.mark.parametrize(
        "manifest,change,name",
        [
            (
                POOL,
                "metadata: {name: small|metadata: {labels: {a: b}, name: small",
                "clustercidr.networking.x-k8s.io/small",
            ),
            (CONFIG_MAP, 'b: "2"|c: "3"', "configmap/kubectl-test"),
            (NODES.partition("---")[2], "name: n2|labels: {a: b}, name: n2", "node/n2"),
        ],
        ids=["custom kind", "ConfigMap", "Node"],
    )
    async def test_three_times(self, cluster: Cluster, manifest: str, change: str, name: str) -> None:
        """With validation on, `apply` creates, and from then on changes what isn't as it should be."""
        before, _, after = change.partition("|")
        changed = manifest.replace(before, after)
        apply = "kubectl apply -f -"
        assert [f"{name} created"] == await cluster.run(apply, stdin=manifest)
        assert [f"{name} unchanged"] == await cluster.run(apply, stdin=manifest)
        assert [f"{name} configured"] == await cluster.run(apply, stdin=changed)
        assert [f"{name} unchanged"] == await cluster.run(apply, stdin=changed)

    async def test_removed(self, cluster: Cluster) -> None:
        """What the manifest no longer has goes; what others have added stays."""
        await cluster.run("kubectl apply -f -", stdin=CONFIG_MAP)
        other = '{"data": {"theirs": "4"}}'
        await cluster.run(f"kubectl patch configmap kubectl-test --type merge -p '{other}'")
        await cluster.run("kubectl apply -f -", stdin=CONFIG_MAP.replace('b: "2"', 'c: "3"'))
        assert ['{"a":"1","c":"3","theirs":"4"}'] == await cluster.run(
            "kubectl get cm kubectl-test -o jsonpath={.data}"
        )

    async def test_misspelt(self, cluster: Cluster) -> None:
        """A field that the kind doesn't have is refused, by its path."""
        (refused,) = await cluster.run(
            "kubectl apply -f -", stdin=POOL.replace("spec: {", "spec: {colour: red, ")
        )
        assert refused.endswith('strict decoding error: unknown field "spec.colour"')

    async def test_invalid(self, cluster: Cluster) -> None:
        """What the definition's rules forbid is refused, with the field."""
        refused = await cluster.run("kubectl apply -f -", stdin=POOL.replace("8,", "40,"))
        assert 'The ClusterCIDR "small" is invalid' in refused[0]
        assert "spec.perNodeHostBits" in "".join(refused)

    async def test_server_side(self, model: Cluster) -> None:
        """Server-side apply isn't modelled, and kubectl says so."""
        (refused,) = await model.run("kubectl apply --server-side -f -", stdin=POOL)
        assert refused.startswith("error: Server-side apply not available on the server")


class TestChange:
    async def test_create_twice(self, cluster: Cluster) -> None:
        """`create` of what is there is refused."""
        assert ["clustercidr.networking.x-k8s.io/small created"] == await cluster.run(
            "kubectl create -f -", stdin=POOL
        )
        (refused,) = await cluster.run("kubectl create -f -", stdin=POOL)
        assert "Error from server (AlreadyExists)" in refused
        assert 'clustercidrs.networking.x-k8s.io "small" already exists' in refused

    async def test_label(self, cluster: Cluster) -> None:
        """`label` sets and removes labels."""
        await cluster.run("kubectl create -f -", stdin=NODES)
        assert ["node/n2 labeled"] == await cluster.run("kubectl label no n2 zone=a")
        assert ["node/n2"] == await cluster.run("kubectl get no -l zone=a -o name")
        assert ["node/n2 unlabeled"] == await cluster.run("kubectl label no n2 zone-")

    async def test_other_verbs(self, cluster: Cluster) -> None:
        """`annotate`, `taint`, `cordon` and `replace` work as well."""
        await cluster.run("kubectl create -f -", stdin=CONFIG_MAP + "---" + NODES)
        assert ["node/n2 annotated"] == await cluster.run("kubectl annotate no n2 a=b")
        assert ["node/n2 tainted"] == await cluster.run("kubectl taint node n2 a=b:NoSchedule")
        assert ["node/n2 cordoned"] == await cluster.run("kubectl cordon n2")
        changed = CONFIG_MAP.replace('b: "2"', 'c: "3"')
        assert ["configmap/kubectl-test replaced"] == await cluster.run("kubectl replace -f -", stdin=changed)
        assert ['{"a":"1","c":"3"}'] == await cluster.run("kubectl get cm kubectl-test -o jsonpath={.data}")

    @pytest.mark.parametrize(
        "kind,patch",
        [
            ("json", '[{"op":"add","path":"/metadata/annotations","value":{"x":"1"}}]'),
            ("merge", '{"metadata":{"annotations":{"x":"1"}}}'),
            ("strategic", '{"metadata":{"annotations":{"x":"1"}}}'),
        ],
    )
    async def test_patch(self, cluster: Cluster, kind: str, patch: str) -> None:
        """`patch` works with each kind of patch, and tells when nothing changes."""
        await cluster.run("kubectl create -f -", stdin=NODES)
        line = f"kubectl patch node n2 --type={kind} -p '{patch}'"
        assert ["node/n2 patched"] == await cluster.run(line)
        assert ["node/n2 patched (no change)"] == await cluster.run(line)

    async def test_delete(self, cluster: Cluster) -> None:
        """`delete` removes one, or all of a kind."""
        await cluster.run("kubectl create -f -", stdin=NODES)
        assert ['node "n2" deleted'] == await cluster.run("kubectl delete node n2")
        assert ['node "n1" deleted'] == await cluster.run("kubectl delete nodes --all")
        assert ["No resources found"] == await cluster.run("kubectl get nodes")

    async def test_delete_waits(self, cluster: Cluster) -> None:
        """`delete` waits for finalizers."""
        held = POOL.replace("{name: small}", "{name: small, finalizers: [example.com/hold]}")
        await cluster.run("kubectl create -f -", stdin=held)
        deleting = asyncio.create_task(cluster.run("kubectl delete clustercidr small"))
        wait = "kubectl wait clustercidr small --for=jsonpath={.metadata.deletionTimestamp} --timeout=10s"
        assert ["clustercidr.networking.x-k8s.io/small condition met"] == await cluster.run(wait)
        assert not deleting.done()
        off = '{"metadata":{"finalizers":null}}'
        await cluster.run(f"kubectl patch clustercidr small --type merge -p '{off}'")
        assert ['clustercidr.networking.x-k8s.io "small" deleted'] == await deleting


class TestDiscovery:
    async def test_api_resources(self, model: Cluster, plane: ControlPlane) -> None:
        """The model's resources are told as those of a real server are."""
        line = "kubectl api-resources --no-headers"
        real = await Cluster(kubectl_environment(plane), model.folder).run(line)
        assert 6 < len(await model.run(line))
        assert [] == [found for found in await model.run(line) if found not in real]

    async def test_explain(self, cluster: Cluster) -> None:
        """`explain` tells of a custom kind what its definition says."""
        told = await cluster.run("kubectl explain clustercidr.spec.ipv4")
        assert "FIELD: ipv4 <string>" in told
        assert any("The IPv4 range in CIDR notation" in line for line in told)

    async def test_describe(self, cluster: Cluster) -> None:
        """`describe` tells the same of a ClusterCIDR."""
        await cluster.run("kubectl create -f -", stdin=POOL)
        told = await cluster.run("kubectl describe clustercidr small")
        assert "API Version:  networking.x-k8s.io/v1" in told
        assert "Events:  <none>" in told

    async def test_version(self, model: Cluster) -> None:
        """`version` tells that it is the model."""
        assert "Server Version: v1.37.0-model" in await model.run("kubectl version")
