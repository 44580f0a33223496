"""What is wrong is named, with the value, and all else goes on: objects, rights, flags, answers."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MANIFESTS
from tests.e2e.conftest import Replicas
from tests.e2e.controlplane import ControlPlane
from tests.e2e.definition import define, lax_definition, no_definition
from tests.e2e.kube import CLUSTER_CIDRS, NODES, Kube, Object, read_manifests
from tests.e2e.observer import Observer
from tests.e2e.proxy import Held, Proxy
from tests.e2e.replica import Replica
from tests.e2e.shown import condition, join, notes, wait_event, wait_gone, wait_reason

LOCK = "--leader-elect-namespace=default"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"

# What is stored, and what is said about it.
MALFORMED: dict[str, tuple[Any, str]] = {
    "no-spec": (None, "spec is missing; it needs perNodeHostBits, and ipv4 or ipv6"),
    "no-range": ({"perNodeHostBits": 8}, 'spec has no range; it needs ipv4, such as "10.244.0.0/16"'),
    "empty-ranges": ({"perNodeHostBits": 8, "ipv4": "", "ipv6": ""}, "spec has no range"),
    "garbage": ({"perNodeHostBits": 8, "ipv4": "garbage"}, 'spec.ipv4: "garbage"'),
    "long": ({"perNodeHostBits": 8, "ipv4": "1" * 2000}, 'spec.ipv4: "1111'),
    "netmask": ({"perNodeHostBits": 8, "ipv4": "10.1.0.0/255.255.0.0"}, 'spec.ipv4: "10.1.0.0/255.255.0.0"'),
    "leading-zeros": ({"perNodeHostBits": 8, "ipv4": "10.01.0.0/16"}, 'spec.ipv4: "10.01.0.0/16"'),
    "wrong-family": ({"perNodeHostBits": 8, "ipv6": "10.1.0.0/16"}, '"10.1.0.0/16" is an IPv4 range'),
    "bits-negative": ({"perNodeHostBits": -1, "ipv4": "10.1.0.0/16"}, "spec.perNodeHostBits: -1 is negative"),
    "bits-many": (
        {"perNodeHostBits": 20, "ipv4": "10.1.0.0/16"},
        "spec.perNodeHostBits: 20 is more than 10.1.0.0/16 has, 16; use 4 to 16",
    ),
    "operator": (
        {
            "perNodeHostBits": 8,
            "ipv4": "10.1.0.0/16",
            "nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Inn"}]}]},
        },
        'spec.nodeSelector.nodeSelectorTerms[0].matchExpressions[0].operator: "Inn"',
    ),
}

# The API server can't even evaluate its rules on these, and takes no condition for them: an event has to do.
MISTYPED: dict[str, tuple[Any, str]] = {
    "text": ("8", 'spec "8" is not an object'),
    "number": ({"perNodeHostBits": 8, "ipv4": 10}, "spec.ipv4: 10 is not a string"),
    "no-bits": ({"ipv4": "10.1.0.0/16"}, "spec.perNodeHostBits is missing"),
    "bits-text": (
        {"perNodeHostBits": "8", "ipv4": "10.1.0.0/16"},
        'spec.perNodeHostBits "8" is not an integer',
    ),
    "selector": (
        {"perNodeHostBits": 8, "ipv4": "10.1.0.0/16", "nodeSelector": ["a"]},
        "spec.nodeSelector.nodeSelectorTerms: missing",
    ),
}


def stored(name: str, spec: Any) -> Object:
    """A ClusterCIDR, whatever its spec; None makes one without."""
    body = {"apiVersion": "networking.x-k8s.io/v1", "kind": "ClusterCIDR", "metadata": {"name": name}}
    return body if spec is None else {**body, "spec": spec}


async def until(predicate: Callable[[], Any], *, within: float = 15.0) -> None:
    """Wait for what no watch tells: a probe, a metric, what a proxy has seen."""
    async with asyncio.timeout(within):
        while not await predicate():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


class TestClusterCIDRs:
    async def test_d20_malformed_ones_are_explained(
        self, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """D-20: a ClusterCIDR that can't be served says why, others serve, and it can be deleted."""
        async with lax_definition(kube):
            for name, (spec, _) in (MALFORMED | MISTYPED).items():
                await kube.create(CLUSTER_CIDRS, stored(name, spec))
            few = {"perNodeHostBits": 2, "ipv4": "10.2.0.0/24", "ipv6": ""}
            await kube.create(CLUSTER_CIDRS, stored("few-bits", few))
        replicas.start("a", LOCK)
        assert [["10.2.0.0/30"]] == await join(kube, observer, "n1")
        for name, (_, why) in MALFORMED.items():
            said = await wait_reason(kube, name, "Invalid")
            assert ("False", True) == (said["status"], why in said["message"]), (name, said)
            assert said["message"] == await wait_event(kube, name, "InvalidClusterCIDR")
            assert len(said["message"]) < 300
        for name, (_, why) in MISTYPED.items():
            assert why in await wait_event(kube, name, "InvalidClusterCIDR")
        warning = condition(await kube.get(f"{CLUSTER_CIDRS}/few-bits"), "Warning")
        assert "spec.perNodeHostBits: 2 gives a Node no more than 4 pod addresses" in warning["message"]
        for name in MALFORMED | MISTYPED:
            await kube.delete(f"{CLUSTER_CIDRS}/{name}")
            await wait_gone(kube, name)

    async def test_a_lax_definition_suffices(
        self, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """Where the definition has no status, events tell what is wrong, one log line why, and all works."""
        async with lax_definition(kube):
            await kube.create(CLUSTER_CIDRS, stored("garbage", {"perNodeHostBits": 8, "ipv4": "garbage"}))
            await kube.create_cluster_cidr("good", ipv4="10.1.0.0/16")
            replica = replicas.start("a", LOCK)
            assert [["10.1.0.0/24"]] == await join(kube, observer, "n1")
            assert 'spec.ipv4: "garbage"' in await wait_event(kube, "garbage", "InvalidClusterCIDR")
            await kube.create_cluster_cidr("more", ipv4="10.2.0.0/16")
            await replica.logs("clusterCIDR=more")
            assert 1 == replica.log.count(
                "no conditions: the installed CRD or Role has no clustercidrs/status"
            )
            assert "status" not in await kube.get(f"{CLUSTER_CIDRS}/good")
            assert replica.process.running
            await kube.delete(f"{NODES}/n1")
            for name in ("garbage", "good", "more"):
                await kube.delete(f"{CLUSTER_CIDRS}/{name}")
                await wait_gone(kube, name)


class TestMissing:
    async def test_definition(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """Without the CRD it lives, says so, and isn't ready; once that is installed the work begins."""
        async with no_definition(kube):
            replica = replicas.start("a", LOCK)
            check = "/readyz/informer-clustercidrs.networking.x-k8s.io"
            await until(lambda: _says(replica, check, "404 the CustomResourceDefinition is missing"))
            assert (200, 500) == (await replica.status("/healthz"), await replica.status("/readyz"))
            await define(kube)
            await replica.ready(within=20.0)
            await kube.create_cluster_cidr("pool", ipv4="10.1.0.0/16")
            assert [["10.1.0.0/24"]] == await join(kube, observer, "n1")
        assert 1 == replica.log.count("can't list or watch")

    async def test_rights(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """A missing right is named where it shows, once, and used as soon as it is granted."""
        (role,) = [each for each in read_manifests(MANIFESTS / "rbac.yaml") if each["kind"] == "ClusterRole"]
        rules = [
            *role["rules"],
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
        ]
        reading, *others = rules
        assert "patch" in reading["verbs"]
        reading = {**reading, "verbs": [verb for verb in reading["verbs"] if verb != "patch"]}
        await kube.create_cluster_cidr("pool", ipv4="10.1.0.0/16")
        await kube.create_node("n1")
        async with granted(kube, "limited", []) as grant:
            replica = replicas.start("a", LOCK, user="limited")
            await until(
                lambda: _says(replica, "/readyz/informer-nodes", "403 no right to list and watch: nodes")
            )
            await grant([reading, *others])
            await replica.ready(within=20.0)
            cause = await wait_event(kube, "n1", "CIDRAssignmentFailed")
            assert "the API server refuses podCIDRs 10.1.0.0/24" in cause
            assert 'User "limited" cannot patch resource "nodes"' in cause
            await until(
                lambda: _above(replica, "controller_runtime_reconcile_errors_total", 4, controller="nodes")
            )
            assert [f"CIDRAssignmentFailed: {cause}"] == await notes(kube, "n1")
            await grant(rules)
            await observer.wait_assigned("n1", within=20.0)


async def _says(replica: Replica, path: str, text: str) -> bool:
    try:
        return text in await replica.get(path)
    except OSError:
        return False


async def _above(replica: Replica, name: str, value: float, **labels: str) -> bool:
    return (await replica.metric(name, **labels) or 0.0) > value


@contextlib.asynccontextmanager
async def granted(
    kube: Kube, user: str, rules: list[Object]
) -> AsyncGenerator[Callable[[list[Object]], Any]]:
    """Within, a user has these rights; what is yielded replaces them by others."""
    name = "tests-granted"
    role: Object = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    }
    binding: Object = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }

    async def grant(rules: list[Object]) -> None:
        await kube.patch(f"{RBAC}/clusterroles/{name}", {"rules": rules})

    await kube.create(f"{RBAC}/clusterroles", role)
    try:
        await kube.create(f"{RBAC}/clusterrolebindings", binding)
        yield grant
    finally:
        await kube.delete(f"{RBAC}/clusterrolebindings/{name}")
        await kube.delete(f"{RBAC}/clusterroles/{name}")


class TestCommandLine:
    @pytest.mark.parametrize(
        "flags,message",
        [
            (["--kubeconfigg=x"], "nodeipam: there is no flag --kubeconfigg; did you mean --kubeconfig?"),
            (["--leader-elect-lease-duration=15"], '--leader-elect-lease-duration: "15"'),
            (["--leader-elect-lease-duration=5s"], "the lease duration (5 s) must be longer"),
            (
                ["--enable-leader-election", "false"],
                "write --enable-leader-election=false, with an equals sign",
            ),
            (["--cluster-cidr=10.0.0.0/33"], '"10.0.0.0/33"'),
        ],
    )
    async def test_flags(self, plane: ControlPlane, flags: list[str], message: str) -> None:
        """A flag that doesn't exist or makes no sense ends it, with exit code 1 and a line with the value."""
        assert message in await ended(f"--kubeconfig={plane.kubeconfig('controller')}", *flags)

    async def test_kubeconfig_without_a_user(self, plane: ControlPlane, tmp_path: Path) -> None:
        """A kubeconfig whose context has no user, or one that isn't there, is named with that context."""
        config = json.loads(plane.kubeconfig("controller").read_text())
        nameless, unknown = tmp_path / "nameless", tmp_path / "unknown"
        unknown.write_text(json.dumps({**config, "users": []}))
        (context,) = config["contexts"]
        del context["context"]["user"]
        nameless.write_text(json.dumps(config))
        for path in (nameless, unknown):
            line = await ended(f"--kubeconfig={path}", "--log-level=error")
            assert str(path) in line
            assert "user" in line

    async def test_port_in_use(self, plane: ControlPlane) -> None:
        """An address where somebody else listens is named."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            line = await ended(
                f"--kubeconfig={plane.kubeconfig('controller')}",
                f"--webserver-bind-address={address}",
                "--log-level=error",
            )
        assert address in line


async def ended(*flags: str) -> str:
    """The one line with which the controller ends at once, with exit code 1."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nodeipam",
        *flags,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if not key.startswith("IPAM_")},
    )
    try:
        async with asyncio.timeout(15.0):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert (1, b"") == (process.returncode, output), errors.decode()
    (line,) = errors.decode().splitlines()
    return line


class TestAnswers:
    async def test_html(self, kube: Kube, observer: Observer, proxy: Proxy, replicas: Replicas) -> None:
        """HTML for lists, watches and writes is an error; with JSON again, Nodes get their ranges."""
        await kube.create_cluster_cidr("pool", ipv4="10.1.0.0/16")
        await kube.create_node("n1")
        reads, writes = proxy.hold("GET", "/api/v1/nodes"), proxy.hold("PATCH", "/api/v1/nodes")
        replica = replicas.start("a", LOCK, server=proxy.url)
        proxy.answer(await reads.get(), 200, HTML, content_type="text/html")
        proxy.answer(await reads.get(), 502, HTML, content_type="text/html")
        await until(lambda: _says(replica, "/readyz/informer-nodes", "502"))
        listed = await reads.get()
        assert "watch" not in listed.target
        await proxy.deliver(listed)
        watched = await reads.get()
        assert "watch=" in watched.target
        proxy.answer(watched, 200, HTML + b"\n", content_type="text/html")
        await _let_through(proxy, reads)
        first = await writes.get()
        proxy.answer(first, 200, HTML, content_type="text/html")
        second = await writes.get()
        proxy.answer(second, 502, HTML, content_type="text/html")
        assert [["10.1.0.0/24"]] * 2 == [
            json.loads(each.body)["spec"]["podCIDRs"] for each in (first, second)
        ]
        await _let_through(proxy, writes)
        await observer.wait_assigned("n1", within=20.0)
        assert ["10.1.0.0/24"] == observer.cidrs("n1")
        assert [["10.1.1.0/24"]] == await join(kube, observer, "n2")
        await asyncio.to_thread(replica.stop)  # while there is a proxy through which it can say goodbye

    async def test_restart_of_the_api_server(
        self, plane: ControlPlane, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """An API server is killed amid the work and comes back, and the same process goes on."""
        await kube.create_cluster_cidr("pool", ipv4="10.0.0.0/8")
        names = [f"n{number}" for number in range(200)]
        await asyncio.gather(*(kube.create_node(name) for name in names))
        replica = replicas.start("a", LOCK)
        await observer.wait_for(
            lambda seen: any(node.pod_cidrs for node in seen.nodes.values()), what="the first range"
        )
        plane.stop_apiserver(signal.SIGKILL)
        assert not observer.assigned(*names)
        plane.start_apiserver()
        await observer.wait_assigned(*names, within=40.0)
        assert 200 == len({text for name in names for text in observer.cidrs(name)})
        await join(kube, observer, "last")
        assert 1 == replica.log.count("runtime.election: leading")


async def _let_through(proxy: Proxy, queue: "asyncio.Queue[Held]") -> None:
    """Hold no more of these, and deliver those that came meanwhile."""
    proxy.pass_on(queue)
    while not queue.empty():
        await proxy.deliver(queue.get_nowait())
