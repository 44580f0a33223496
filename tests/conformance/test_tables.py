"""Tables: what kubectl shows, cell by cell."""

from typing import Any

import pytest

from tests.conformance.target import (
    NODES,
    POOLS,
    TABLE,
    Answered,
    Object,
    Server,
    config_map,
    lease,
    node,
    pool,
)

EPOCH = "1999-01-01T00:00:00Z"
"""So long ago that the age is told in years: it doesn't change while a test runs."""


def heads(answered: Answered, *, priority: int = 0) -> list[str]:
    """The heads of the columns."""
    return [each["name"] for each in answered.body["columnDefinitions"] if each["priority"] <= priority]


def cells(answered: Answered, row: int = 0) -> dict[str, Any]:
    """A row's cells by their heads."""
    return dict(zip(heads(answered, priority=9), answered.body["rows"][row]["cells"], strict=True))


async def shown(server: Server, path: str, **query: str) -> Answered:
    """An object or a list as a Table."""
    return await server.get(path, accept=TABLE, **query)


async def shown_node(server: Server, name: str, spec: Object | None = None, **status: Any) -> Answered:
    """A Node of this status, as a Table."""
    await server.create(NODES, node(name) | {"spec": spec or {}, "status": status})
    return await shown(server, f"{NODES}/{name}")


class TestShape:
    async def test_list(self, server: Server) -> None:
        """A list is one Table: its version, a row for each object, and beside it the object's metadata."""
        await server.create(server.at("configmaps"), config_map("a"))
        made = await server.create(server.at("configmaps"), config_map("b"))
        answered = await shown(server, server.at("configmaps"), labelSelector="")
        assert ("Table", "meta.k8s.io/v1") == (answered.body["kind"], answered.body["apiVersion"])
        assert int(made.version) <= int(answered.version)
        objects = [row["object"] for row in answered.body["rows"]]
        assert ["a", "b"] == [each["metadata"]["name"] for each in objects]
        assert {("PartialObjectMetadata", "meta.k8s.io/v1")} == {
            (each["kind"], each["apiVersion"]) for each in objects
        }
        assert made.metadata == objects[1]["metadata"]

    async def test_page(self, server: Server) -> None:
        """A page of a list is a Table that says where the next one begins."""
        for name in "abc":
            await server.create(server.at("configmaps"), config_map(name))
        answered = await shown(server, server.at("configmaps"), limit="2")
        assert 2 == len(answered.body["rows"])
        assert answered.metadata["continue"]
        assert 1 == answered.metadata["remainingItemCount"]

    async def test_object(self, server: Server) -> None:
        """One object is a Table of one row and of the object's version."""
        made = await server.create(server.at("configmaps"), config_map("a"))
        answered = await shown(server, server.at("configmaps", "a"))
        assert {"resourceVersion": made.version} == answered.metadata
        assert 1 == len(answered.body["rows"])

    async def test_with_objects(self, server: Server) -> None:
        """Rows bring the whole object where that is asked for, or nothing."""
        made = await server.create(server.at("configmaps"), config_map("a", x="1"))
        answered = await shown(server, server.at("configmaps", "a"), includeObject="Object")
        assert made.body == answered.body["rows"][0]["object"]
        answered = await shown(server, server.at("configmaps", "a"), includeObject="None")
        assert answered.body["rows"][0]["object"] is None

    async def test_with_anything_else(self, server: Server) -> None:
        """Rows with another thing are 400."""
        answered = await server.send("GET", NODES, accept=TABLE, includeObject="Colour")
        assert (400, "BadRequest") == answered.reason

    async def test_watch(self, server: Server) -> None:
        """A watch tells the heads of the columns with its first event alone."""
        await server.create(server.at("configmaps"), config_map("a"))
        async with server.watch(server.at("configmaps"), accept=TABLE, resourceVersion="0") as watching:
            first = await watching.event()
            await server.create(server.at("configmaps"), config_map("b", x="1"))
            second = await watching.event()
        assert first
        assert second
        assert "Table" == first["object"]["kind"]
        assert ["Name", "Data", "Age"] == [each["name"] for each in first["object"]["columnDefinitions"]]
        assert second["object"]["columnDefinitions"] is None
        assert ["b", 1] == second["object"]["rows"][0]["cells"][:2]

    async def test_bookmark(self, server: Server) -> None:
        """A bookmark is a Table with a row of which only the metadata counts."""
        async with server.watch(
            server.at("configmaps"),
            accept=TABLE,
            sendInitialEvents="true",
            allowWatchBookmarks="true",
            resourceVersionMatch="NotOlderThan",
        ) as watching:
            event = await watching.event()
        assert event
        assert ("BOOKMARK", "Table") == (event["type"], event["object"]["kind"])
        (row,) = event["object"]["rows"]
        assert ["", 0, "<unknown>"] == row["cells"]
        assert {"k8s.io/initial-events-end": "true"} == row["object"]["metadata"]["annotations"]


class TestNodes:
    async def test_columns(self, server: Server) -> None:
        """A Node has five columns, and five more for who wants it wide."""
        answered = await shown_node(server, server.name)
        assert ["Name", "Status", "Roles", "Age", "Version"] == heads(answered)
        wide = ["Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"]
        assert wide == heads(answered, priority=1)[5:]

    async def test_bare(self, server: Server) -> None:
        """What a Node doesn't tell is unknown, none, or empty."""
        found = cells(await shown_node(server, server.name))
        del found["Age"]
        assert {
            "Name": server.name,
            "Status": "Unknown",
            "Roles": "<none>",
            "Version": "",
            "Internal-IP": "<none>",
            "External-IP": "<none>",
            "OS-Image": "<unknown>",
            "Kernel-Version": "<unknown>",
            "Container-Runtime": "<unknown>",
        } == found

    async def test_full(self, server: Server) -> None:
        """A Node that tells all of it is shown so; of several addresses of a type the first."""
        info = dict.fromkeys(("machineID", "systemUUID", "bootID", "kubeProxyVersion"), "")
        info |= {"kernelVersion": "6.1.0", "osImage": "Debian", "containerRuntimeVersion": "containerd://2"}
        info |= {"kubeletVersion": "v1.37.2", "operatingSystem": "linux", "architecture": "amd64"}
        addresses = [("InternalIP", "fd00::1"), ("InternalIP", "10.0.0.1"), ("ExternalIP", "192.0.2.1")]
        found = cells(
            await shown_node(
                server,
                server.name,
                {"unschedulable": True},
                nodeInfo=info,
                addresses=[{"type": kind, "address": text} for kind, text in addresses],
                conditions=[
                    {"type": "MemoryPressure", "status": "True"},
                    {"type": "Ready", "status": "True"},
                ],
            )
        )
        assert "Ready,SchedulingDisabled" == found["Status"]
        assert ("fd00::1", "192.0.2.1") == (found["Internal-IP"], found["External-IP"])
        assert ("v1.37.2", "Debian", "6.1.0 (amd64)", "containerd://2") == (
            *(found["Version"], found["OS-Image"], found["Kernel-Version"], found["Container-Runtime"]),
        )

    async def test_not_ready(self, server: Server) -> None:
        """A Node of which nobody has heard is not ready."""
        answered = await shown_node(server, server.name, conditions=[{"type": "Ready", "status": "Unknown"}])
        assert "NotReady" == cells(answered)["Status"]

    async def test_roles(self, server: Server) -> None:
        """Roles come from labels of two kinds, sorted."""
        labels = {
            "node-role.kubernetes.io/worker": "",
            "node-role.kubernetes.io/control-plane": "true",
            "kubernetes.io/role": "master",
        }
        await server.create(NODES, node(server.name, labels=labels))
        answered = await shown(server, f"{NODES}/{server.name}")
        assert "control-plane,master,worker" == cells(answered)["Roles"]


class TestOtherKinds:
    async def test_lease(self, server: Server) -> None:
        """A Lease shows its holder."""
        await server.create(server.leases, lease("a", holderIdentity="me"))
        found = cells(await shown(server, f"{server.leases}/a"))
        assert ["Name", "Holder", "Age"] == list(found)
        assert "me" == found["Holder"]

    async def test_config_map(self, server: Server) -> None:
        """A ConfigMap shows how many entries it has."""
        body = config_map("a", x="1", y="2") | {"binaryData": {"z": "AAAA"}}
        await server.create(server.at("configmaps"), body)
        assert 3 == cells(await shown(server, server.at("configmaps", "a")))["Data"]

    @pytest.mark.parametrize(
        "subsets,text",
        [
            ([], "<none>"),
            ([{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}], ""),
            ([{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}], "[fd00::1]:80"),
            (
                [
                    {
                        "addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
                        "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 443}],
                    },
                    {"addresses": [{"ip": "10.0.0.3"}]},
                ],
                "10.0.0.1:80,10.0.0.2:80,10.0.0.1:443 + 2 more...",
            ),
        ],
        ids=["none", "not ready", "IPv6", "several"],
    )
    async def test_endpoints(self, server: Server, subsets: list[Object], text: str) -> None:
        """Endpoints show the first three of them, and how many more there are."""
        body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a"}, "subsets": subsets}
        await server.create(server.at("endpoints"), body)
        assert text == cells(await shown(server, server.at("endpoints", "a")))["Endpoints"]

    async def test_event(self, server: Server) -> None:
        """An Event shows what happened to whom, who says so, when and how often."""
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "a", "namespace": server.namespace},
            "involvedObject": {
                "kind": "Lease",
                "name": "x",
                "namespace": server.namespace,
                "fieldPath": "spec",
            },
            "type": "Warning",
            "reason": "Because",
            "message": " It is so ",
            "source": {"component": "me", "host": "here"},
            "firstTimestamp": EPOCH,
            "lastTimestamp": "1999-06-01T00:00:00Z",
            "count": 5,
        }
        await server.create(server.at("events"), body)
        found = cells(await shown(server, server.at("events", "a")))
        assert found.pop("First Seen").startswith("2")
        assert found.pop("Last Seen").startswith("2")
        assert {
            "Type": "Warning",
            "Reason": "Because",
            "Object": "lease/x",
            "Subobject": "spec",
            "Source": "me, here",
            "Message": "It is so",
            "Count": 5,
            "Name": "a",
        } == found

    async def test_event_series(self, server: Server) -> None:
        """One of events.k8s.io shows its note, its controller, and the count of its series."""
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": "b", "namespace": server.namespace},
            "regarding": {"kind": "Lease", "name": "x", "namespace": server.namespace},
            "type": "Normal",
            "reason": "Because",
            "action": "Doing",
            "note": "It is so",
            "reportingController": "example.com/me",
            "reportingInstance": "me-1",
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:00.000000Z"},
        }
        path = server.at("events", group="events.k8s.io/v1")
        await server.create(path, body)
        found = cells(await shown(server, f"{path}/b"))
        assert ("lease/x", "It is so", "example.com/me, me-1", 3) == (
            *(found["Object"], found["Message"], found["Source"], found["Count"]),
        )


class TestCustomKinds:
    async def test_columns(self, server: Server) -> None:
        """A custom kind has the columns of its definition behind the name."""
        await server.create(POOLS, pool(server.name))
        answered = await shown(server, f"{POOLS}/{server.name}")
        assert ["Name", "Ready", "Reason", "IPv4", "IPv6", "HostBits", "Age"] == heads(answered)
        assert ["Message"] == heads(answered, priority=1)[7:]
        types = [each["type"] for each in answered.body["columnDefinitions"]]
        assert ["string"] * 5 + ["integer", "date", "string"] == types

    async def test_missing(self, server: Server) -> None:
        """What isn't there is null."""
        await server.create(POOLS, pool(server.name))
        found = cells(await shown(server, f"{POOLS}/{server.name}"))
        assert (None, None, "10.244.0.0/16", None, 8) == (
            *(found["Ready"], found["Message"], found["IPv4"], found["IPv6"], found["HostBits"]),
        )

    async def test_condition(self, server: Server) -> None:
        """A path finds the one condition that it filters."""
        await server.create(POOLS, pool(server.name))
        said = {"reason": "Because", "message": "It is so", "lastTransitionTime": EPOCH}
        conditions = [
            {"type": "Other", "status": "False", **said},
            {"type": "Ready", "status": "True", **said},
        ]
        await server.patch(f"{POOLS}/{server.name}/status", {"status": {"conditions": conditions}})
        found = cells(await shown(server, f"{POOLS}/{server.name}"))
        assert ("True", "Because", "It is so") == (found["Ready"], found["Reason"], found["Message"])
