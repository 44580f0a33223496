"""The control plane and what the other e2e tests stand on."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.controlplane import ControlPlane, find
from tests.e2e.controlplane.processes import Process
from tests.e2e.kube import NODES, ApiError, Kube
from tests.e2e.observer import Observer
from tests.e2e.proxy import Proxy
from tests.programs import Unavailable

PATCH = {"spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}}


class TestBinaries:
    def test_neither_assets_nor_go_names_both_ways(self) -> None:
        """Where there is no way to a server, the reason names the two ways to get one."""
        with pytest.raises(Unavailable, match=r"install Go .* KUBEBUILDER_ASSETS"):
            find(print, {"PATH": "/nonexistent"})

    def test_assets_without_programs_are_named(self) -> None:
        """A folder that lacks the programs is named, with the first program that it lacks."""
        with pytest.raises(
            Unavailable, match="KUBEBUILDER_ASSETS=/nonexistent holds no program kube-apiserver"
        ):
            find(print, {"KUBEBUILDER_ASSETS": "/nonexistent"})


class TestProcess:
    def test_it_dies_with_its_parent(self, tmp_path: Path) -> None:
        """A test run that is killed leaves no process behind."""
        program = (
            "import pathlib, signal, os\n"
            "from tests.e2e.controlplane.processes import Process\n"
            "child = Process('child', ['sleep', '60'], log=pathlib.Path(os.devnull))\n"
            "child.start()\n"
            "print(child.pid, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        parent = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert -signal.SIGKILL == parent.returncode
        assert not _lives(int(parent.stdout))

    def test_one_that_is_stopped_can_be_ended(self, tmp_path: Path) -> None:
        """A process in its tracks (SIGSTOP) is woken to take its end."""
        process = Process("child", ["sleep", "60"], log=tmp_path / "log")
        process.start()
        process.send(signal.SIGSTOP)
        assert -signal.SIGTERM == process.stop()


class TestServer:
    async def test_users_have_the_rights_of_their_groups(self, plane: ControlPlane, kube: Kube) -> None:
        """RBAC is on: an administrator may list Nodes, a user without bindings may not."""
        assert [] == await kube.items(NODES)
        async with Kube(plane, token=plane.tokens["limited"]) as limited:
            with pytest.raises(ApiError) as refused:
                await limited.items(NODES)
        assert 403 == refused.value.status

    async def test_service_account_tokens_are_accepted(self, plane: ControlPlane, kube: Kube) -> None:
        """A token that was requested for a ServiceAccount is taken for that account."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "somebody"}}
        await kube.apply([account])
        async with Kube(plane, token=await kube.token_for("default", "somebody")) as somebody:
            with pytest.raises(ApiError, match="system:serviceaccount:default:somebody"):
                await somebody.items(NODES)
        await kube.delete("/api/v1/namespaces/default/serviceaccounts/somebody")

    async def test_a_frozen_server_answers_after_it_is_thawed(self, plane: ControlPlane, kube: Kube) -> None:
        """A frozen server answers nothing, and what it was asked meanwhile once it goes on."""
        plane.freeze()
        asked = asyncio.create_task(kube.create_node("late"))
        done, _ = await asyncio.wait([asked], timeout=0.3)
        assert not done
        plane.thaw()
        assert "late" == (await asked)["metadata"]["name"]

    async def test_nodes_outlive_a_restart(self, plane: ControlPlane, kube: Kube, observer: Observer) -> None:
        """What the server held is there after a restart, and the observer goes on watching."""
        await kube.create_node("before")
        plane.stop_apiserver()
        plane.start_apiserver()
        await kube.create_node("after")
        await observer.wait_for(lambda seen: {"before", "after"} == set(seen.nodes))


class TestObserver:
    async def test_an_overlap_is_a_violation(self, kube: Kube, observer: Observer) -> None:
        """A range given out over another Node's is found, even if that Node terminates."""
        await kube.create_node("first", pod_cidrs=["10.244.0.0/16"], finalizers=["tests/keep"])
        await kube.delete(f"{NODES}/first")
        await kube.create_node("second")
        await kube.patch(f"{NODES}/second", PATCH)
        with pytest.raises(
            AssertionError, match=r"second got 10\.244\.0\.0/24 though terminating Node first"
        ):
            await observer.wait_assigned("second")
        observer.violations.clear()

    async def test_a_foreign_overlap_is_none(self, kube: Kube, observer: Observer) -> None:
        """What a foreign Node brings is nobody's fault."""
        await kube.create_node("first")
        await kube.patch(f"{NODES}/first", PATCH)
        await kube.create_node("second", pod_cidrs=["10.244.0.0/16"])
        await observer.wait_assigned("first", "second")
        assert ["10.244.0.0/16"] == observer.cidrs("second")

    async def test_a_recreated_node_is_another_node(self, kube: Kube, observer: Observer) -> None:
        """A Node of the same name with a new UID may get another range."""
        await kube.create_node("node")
        await kube.patch(f"{NODES}/node", PATCH)
        await kube.delete(f"{NODES}/node")
        await kube.create_node("node")
        await kube.patch(f"{NODES}/node", {"spec": {"podCIDR": "10.9.0.0/24", "podCIDRs": ["10.9.0.0/24"]}})
        await observer.wait_for(lambda seen: seen.cidrs("node") == ["10.9.0.0/24"])


class TestProxy:
    async def test_a_held_write_lands_later(self, kube: Kube, proxy: Proxy, plane: ControlPlane) -> None:
        """A request can be delivered after its sender has gone."""
        await kube.create_node("node")
        patches = proxy.hold("PATCH", NODES)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await _patch(proxy, plane)
        held = await patches.get()
        assert [] == await kube.pod_cidrs("node")
        assert 200 == await proxy.deliver(held)
        assert ["10.244.0.0/24"] == await kube.pod_cidrs("node")

    async def test_an_answer_is_lost(self, kube: Kube, proxy: Proxy, plane: ControlPlane) -> None:
        """A write lands, and its sender is cut off without an answer."""
        await kube.create_node("node")
        patches = proxy.hold("PATCH", NODES)
        sender = asyncio.create_task(_patch(proxy, plane))
        assert 200 == await proxy.lose_answer(await patches.get())
        with pytest.raises(aiohttp.ClientError):
            await sender
        assert ["10.244.0.0/24"] == await kube.pod_cidrs("node")

    async def test_watches_go_through(self, kube: Kube, proxy: Proxy, plane: ControlPlane) -> None:
        """A watch through the proxy gets events as they happen, until the proxy is severed."""
        headers = {"Authorization": f"Bearer {plane.tokens['controller']}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{proxy.url}{NODES}?watch=true") as answer,
        ):
            await kube.create_node("node")
            assert b'"name":"node"' in await answer.content.readline()
            proxy.sever()
            with pytest.raises(aiohttp.ClientError):
                await answer.content.read()


async def _patch(proxy: Proxy, plane: ControlPlane) -> int:
    headers = {
        "Authorization": f"Bearer {plane.tokens['controller']}",
        "Content-Type": "application/merge-patch+json",
    }
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.patch(f"{proxy.url}{NODES}/node", json=PATCH, headers=headers) as answer,
    ):
        return answer.status


def _lives(pid: int) -> bool:
    """Whether a process still runs a moment from now (one that nobody has waited for counts as ended)."""
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.01)
    return True
