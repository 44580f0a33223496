from typing import ClassVar

import pytest

from .target import NODES, POOLS, Object, Server, config_map, lease, node, pool

OTHER_UID = "00000000-0000-0000-0000-000000000000"


async def stale(server: Server) -> tuple[str, Object]:
    """The path of a ConfigMap, and its body before its last change."""
    path = f"{server.at('configmaps')}/a"
    made = await server.create(server.at("configmaps"), config_map("a", k="1"))
    await server.patch(path, {"data": {"k": "2"}})
    return path, made.body


class TestReplacing:
    async def test_current(self, server: Server) -> None:
        """A PUT at the current version is taken, and gives a new one."""
        made = await server.create(server.at("configmaps"), config_map("a"))
        path = f"{server.at('configmaps')}/a"
        answered = await server.send("PUT", path, made.body | {"data": {"k": "v"}})
        assert (200, {"k": "v"}) == (answered.code, answered.body["data"])
        assert int(answered.version) > int(made.version)

    async def test_stale(self, server: Server) -> None:
        """A PUT at an older version is 409, and changes nothing."""
        path, body = await stale(server)
        answered = await server.send("PUT", path, body)
        assert (409, "Conflict") == answered.reason
        assert (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
            "please apply your changes to the latest version and try again" == answered.message
        )
        assert {"name": "a", "kind": "configmaps"} == answered.body["details"]
        assert {"k": "2"} == (await server.get(path)).body["data"]

    @pytest.mark.parametrize("version", [None, "", "0"])
    async def test_without_a_version(self, server: Server, version: str | None) -> None:
        """A ConfigMap is replaced whatever its version, if none is named."""
        path, body = await stale(server)
        del body["metadata"]["resourceVersion"]
        if version is not None:
            body["metadata"]["resourceVersion"] = version
        answered = await server.send("PUT", path, body)
        assert (200, {"k": "1"}) == (answered.code, answered.body["data"])

    async def test_lease_without_a_version(self, server: Server) -> None:
        """A Lease isn't replaced without its version: 422."""
        await server.create(server.leases, lease("a"))
        answered = await server.send("PUT", f"{server.leases}/a", lease("a"))
        assert (422, "Invalid") == answered.reason
        assert [("metadata.resourceVersion", "FieldValueInvalid")] == answered.causes
        assert "must be specified for an update" in answered.message

    async def test_custom_without_a_version(self, server: Server) -> None:
        """Nor is a custom object."""
        await server.create(POOLS, pool(server.name))
        answered = await server.send("PUT", f"{POOLS}/{server.name}", pool(server.name))
        assert (422, "Invalid") == answered.reason
        assert [("metadata.resourceVersion", "FieldValueInvalid")] == answered.causes

    async def test_wrong_uid(self, server: Server) -> None:
        """A PUT of an object with another uid is 409: it is somebody else by now."""
        path, body = await stale(server)
        uid = body["metadata"]["uid"]
        body["metadata"] |= {"uid": OTHER_UID}
        del body["metadata"]["resourceVersion"]
        answered = await server.send("PUT", path, body)
        assert (409, "Conflict") == answered.reason
        assert f"Precondition failed: UID in precondition: {OTHER_UID}, UID in object meta: {uid}" in (
            answered.message
        )

    async def test_wrong_uid_and_stale(self, server: Server) -> None:
        """With a stale version too, the uid is what is told."""
        path, body = await stale(server)
        body["metadata"] |= {"uid": OTHER_UID}
        answered = await server.send("PUT", path, body)
        assert (409, "Conflict") == answered.reason
        assert "Precondition failed: UID" in answered.message

    async def test_other_name(self, server: Server) -> None:
        """A body of another name than the path's is 400."""
        path, body = await stale(server)
        body["metadata"]["name"] = "b"
        answered = await server.send("PUT", path, body)
        assert (400, "BadRequest") == answered.reason
        assert "the name of the object (b) does not match the name on the URL (a)" == answered.message

    async def test_nobody(self, server: Server) -> None:
        """A ConfigMap that isn't there isn't made by PUT."""
        answered = await server.send("PUT", f"{server.at('configmaps')}/a", config_map("a"))
        assert (404, "NotFound") == answered.reason

    async def test_the_same_again(self, server: Server) -> None:
        """A PUT that changes nothing leaves the version."""
        made = await server.create(server.at("configmaps"), config_map("a", k="v"))
        answered = await server.send("PUT", f"{server.at('configmaps')}/a", made.body)
        assert made.version == answered.version


class TestLeases:
    async def test_put_creates(self, server: Server) -> None:
        """A PUT makes a Lease that isn't there: 201."""
        answered = await server.send("PUT", f"{server.leases}/a", lease("a", holderIdentity="x"))
        assert (201, "x") == (answered.code, answered.body["spec"]["holderIdentity"])

    @pytest.mark.parametrize(
        "spec,field",
        [
            ({"leaseDurationSeconds": 0}, "spec.leaseDurationSeconds"),
            ({"leaseDurationSeconds": -1}, "spec.leaseDurationSeconds"),
            ({"leaseTransitions": -1}, "spec.leaseTransitions"),
        ],
        ids=str,
    )
    async def test_refused(self, server: Server, spec: Object, field: str) -> None:
        """Numbers that make no sense are refused."""
        answered = await server.send("POST", server.leases, lease("a", **spec))
        assert (422, "Invalid") == answered.reason
        assert [(field, "FieldValueInvalid")] == answered.causes

    async def test_times(self, server: Server) -> None:
        """Times have microseconds."""
        when = "2026-01-02T03:04:05.678901Z"
        made = await server.create(server.leases, lease("a", renewTime=when, acquireTime=when))
        assert {"renewTime": when, "acquireTime": when} == made.body["spec"]

    async def test_bad_time(self, server: Server) -> None:
        """A time that is none is 400."""
        answered = await server.send("POST", server.leases, lease("a", renewTime="today"))
        assert (400, "BadRequest") == answered.reason

    async def test_empty_holder(self, server: Server) -> None:
        """A released Lease may keep an empty holder."""
        await server.create(server.leases, lease("a", holderIdentity="x", leaseDurationSeconds=1))
        answered = await server.patch(f"{server.leases}/a", {"spec": {"holderIdentity": ""}})
        assert {"holderIdentity": "", "leaseDurationSeconds": 1} == answered.body["spec"]


class TestGeneration:
    async def test_spec(self, server: Server) -> None:
        """A custom object counts changes of its spec, not of its metadata."""
        spec = {"perNodeHostBits": 8, "ipv4": "10.244.0.0/16", "ipv6": ""}
        await server.create(POOLS, pool(server.name, spec))
        path = f"{POOLS}/{server.name}"
        assert 1 == (await server.patch(path, {"metadata": {"labels": {"a": "b"}}})).metadata["generation"]
        assert 2 == (await server.patch(path, {"spec": {"ipv6": None}})).metadata["generation"]

    async def test_node(self, server: Server) -> None:
        """A Node has no generation."""
        made = await server.create(NODES, node(server.name))
        assert "generation" not in made.metadata


class TestStatus:
    CONDITION: ClassVar = {
        "type": "Ready",
        "status": "True",
        "reason": "Why",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }

    async def test_custom(self, server: Server) -> None:
        """/status of a custom object changes the status alone, and no generation."""
        made = await server.create(POOLS, pool(server.name))
        patch = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"ipv4": "10.0.0.0/8"},
            "status": {"conditions": [self.CONDITION]},
        }
        answered = await server.patch(f"{POOLS}/{server.name}/status", patch)
        assert {"conditions": [self.CONDITION]} == answered.body["status"]
        assert made.body["spec"] == answered.body["spec"]
        assert "labels" not in answered.metadata
        assert 1 == answered.metadata["generation"]

    async def test_custom_without(self, server: Server) -> None:
        """The object itself doesn't change its status."""
        await server.create(POOLS, pool(server.name))
        path = f"{POOLS}/{server.name}"
        await server.patch(f"{path}/status", {"status": {"conditions": [self.CONDITION]}})
        answered = await server.patch(path, {"status": {"conditions": []}})
        assert [self.CONDITION] == answered.body["status"]["conditions"]

    async def test_get(self, server: Server) -> None:
        """/status is read as the whole object."""
        made = await server.create(POOLS, pool(server.name))
        assert made.body == (await server.get(f"{POOLS}/{server.name}/status")).body

    async def test_node(self, server: Server) -> None:
        """/status of a Node leaves its spec, and labels may change."""
        made = await server.create(NODES, node(server.name))
        patch = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"unschedulable": True},
            "status": {"phase": "Running"},
        }
        answered = await server.patch(f"{NODES}/{server.name}/status", patch)
        assert made.body["spec"].get("unschedulable") == answered.body["spec"].get("unschedulable")
        assert "Running" == answered.body["status"]["phase"]
        assert "b" == answered.metadata["labels"]["a"]

    async def test_node_without(self, server: Server) -> None:
        """A Node itself doesn't change its status."""
        await server.create(NODES, node(server.name))
        answered = await server.patch(f"{NODES}/{server.name}", {"status": {"phase": "Running"}})
        assert "phase" not in answered.body.get("status", {})

    async def test_unknown(self, server: Server) -> None:
        """A subresource that isn't there is 404."""
        await server.create(server.at("configmaps"), config_map("a"))
        answered = await server.send("PATCH", f"{server.at('configmaps')}/a/status", {"data": {}})
        assert 404 == answered.code

    async def test_unknown_custom(self, server: Server) -> None:
        """So it is for a custom kind."""
        await server.create(POOLS, pool(server.name))
        assert 404 == (await server.send("GET", f"{POOLS}/{server.name}/none")).code
