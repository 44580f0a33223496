import pytest

from .target import NODES, POOLS, Server, config_map, node, pool


class TestCreation:
    async def test_what_the_server_adds(self, server: Server) -> None:
        """A built-in object gets uid, version, time and namespace, and no generation."""
        made = await server.create(server.at("configmaps"), config_map("a", k="v"))
        assert 201 == made.code
        assert {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"} == (
            made.metadata.keys() - {"managedFields"}
        )
        assert ("ConfigMap", "v1", {"k": "v"}, server.namespace) == (
            made.body["kind"],
            made.body["apiVersion"],
            made.body["data"],
            made.metadata["namespace"],
        )

    async def test_a_custom_object(self, server: Server) -> None:
        """A custom object has generation 1, and no status of the client's."""
        made = await server.create(POOLS, pool(server.name) | {"status": {"conditions": []}})
        assert 1 == made.metadata["generation"]
        assert "status" not in made.body

    async def test_a_name_is_made(self, server: Server) -> None:
        """`generateName` is completed by five characters, and kept."""
        body = config_map("")
        body["metadata"] = {"generateName": "some-"}
        made = await server.create(server.at("configmaps"), body)
        assert "some-" == made.metadata["generateName"]
        assert made.metadata["name"].startswith("some-")
        assert 10 == len(made.metadata["name"])

    async def test_what_is_the_servers(self, server: Server) -> None:
        """A uid, a creation time and a deletion time that the client sends are replaced."""
        body = config_map("a")
        body["metadata"] |= {
            "uid": "mine",
            "creationTimestamp": "2001-01-01T00:00:00Z",
            "deletionTimestamp": "2001-01-01T00:00:00Z",
            "generation": 7,
        }
        made = await server.create(server.at("configmaps"), body)
        assert "mine" != made.metadata["uid"]
        assert "2001-01-01T00:00:00Z" != made.metadata["creationTimestamp"]
        assert "deletionTimestamp" not in made.metadata

    async def test_a_new_uid(self, server: Server) -> None:
        """An object that comes back under its name has another uid."""
        path = server.at("configmaps")
        first = await server.create(path, config_map("a"))
        await server.delete(f"{path}/a")
        second = await server.create(path, config_map("a"))
        assert first.metadata["uid"] != second.metadata["uid"]

    async def test_dry_run(self, server: Server) -> None:
        """With `dryRun=All` the answer is as usual, and nothing is written."""
        path = server.at("configmaps")
        made = await server.create(path, config_map("a"), dryRun="All")
        assert (201, "a") == (made.code, made.metadata["name"])
        assert [] == (await server.get(path)).names

    async def test_unknown_fields(self, server: Server) -> None:
        """Fields that a kind doesn't have are dropped without a word."""
        made = await server.create(server.at("configmaps"), config_map("a") | {"colour": "red"})
        assert "colour" not in made.body

    async def test_unknown_custom_fields(self, server: Server) -> None:
        """So it is for a custom kind, as its schema says."""
        spec = {"perNodeHostBits": 8, "ipv4": "10.244.0.0/16", "colour": "red"}
        made = await server.create(POOLS, pool(server.name, spec))
        assert "colour" not in made.body["spec"]


class TestRefusal:
    async def test_already_there(self, server: Server) -> None:
        """A name that is taken is 409 AlreadyExists, with the kind and the name."""
        await server.create(server.at("configmaps"), config_map("a"))
        answered = await server.send("POST", server.at("configmaps"), config_map("a"))
        assert (409, "AlreadyExists") == answered.reason
        assert 'configmaps "a" already exists' == answered.message
        assert {"name": "a", "kind": "configmaps"} == answered.body["details"]

    async def test_custom_already_there(self, server: Server) -> None:
        """So it is for a custom kind, with its group."""
        await server.create(POOLS, pool(server.name))
        answered = await server.send("POST", POOLS, pool(server.name))
        assert (409, "AlreadyExists") == answered.reason
        assert f'clustercidrs.networking.x-k8s.io "{server.name}" already exists' == answered.message
        assert {"name": server.name, "group": "networking.x-k8s.io", "kind": "clustercidrs"} == (
            answered.body["details"]
        )

    async def test_with_a_version(self, server: Server) -> None:
        """An object to be created has no version yet."""
        body = config_map("a")
        body["metadata"]["resourceVersion"] = "1"
        answered = await server.send("POST", server.at("configmaps"), body)
        assert 500 == answered.code
        assert "resourceVersion should not be set on objects to be created" == answered.message

    async def test_without_a_name(self, server: Server) -> None:
        """Without a name or `generateName` it is 422."""
        body = config_map("")
        body["metadata"] = {}
        answered = await server.send("POST", server.at("configmaps"), body)
        assert (422, "Invalid") == answered.reason
        assert ("metadata.name", "FieldValueRequired") in answered.causes
        assert "name or generateName is required" in answered.message

    @pytest.mark.parametrize("name", ["Upper", "a_b", "-a", "a.", "a" * 254])
    async def test_bad_name(self, server: Server, name: str) -> None:
        """A name that is no DNS subdomain is 422 with the field."""
        answered = await server.send("POST", server.at("configmaps"), config_map(name))
        assert (422, "Invalid") == answered.reason
        assert {("metadata.name", "FieldValueInvalid")} == set(answered.causes)
        assert answered.message.startswith(f'ConfigMap "{name}" is invalid: ')

    @pytest.mark.parametrize("name", ["Upper", "a..b"])
    async def test_bad_node_name(self, server: Server, name: str) -> None:
        """So it is for Nodes."""
        answered = await server.send("POST", NODES, node(name))
        assert (422, "Invalid") == answered.reason
        assert [("metadata.name", "FieldValueInvalid")] == answered.causes

    @pytest.mark.parametrize("labels", [{"a b": "c"}, {"a": "b c"}, {"a": "b" * 64}, {"x/y/z": "a"}])
    async def test_bad_labels(self, server: Server, labels: dict[str, str]) -> None:
        """Labels that can't be selected by are refused."""
        answered = await server.send("POST", server.at("configmaps"), config_map("a", labels=labels))
        assert (422, "Invalid") == answered.reason
        assert [("metadata.labels", "FieldValueInvalid")] == answered.causes

    async def test_other_kind(self, server: Server) -> None:
        """A body of another kind than the path's is 400."""
        answered = await server.send("POST", server.at("configmaps"), config_map("a") | {"kind": "Secret"})
        assert (400, "BadRequest") == answered.reason

    async def test_other_version(self, server: Server) -> None:
        """A body of another version than the path's is 400, and told what is expected."""
        answered = await server.send(
            "POST",
            server.at("leases", group="coordination.k8s.io/v1"),
            config_map("a") | {"kind": "Lease", "apiVersion": "v1"},
        )
        assert (400, "BadRequest") == answered.reason

    async def test_other_custom_version(self, server: Server) -> None:
        """So it is for a custom kind."""
        answered = await server.send(
            "POST", POOLS, pool(server.name) | {"apiVersion": "networking.x-k8s.io/v2"}
        )
        assert (400, "BadRequest") == answered.reason
        assert "does not match the expected API version" in answered.message

    @pytest.mark.parametrize("body", [b"{", b"[]", b"", b'"text"'], ids=["cut", "array", "empty", "string"])
    @pytest.mark.parametrize("custom", [False, True], ids=["built-in", "custom"])
    async def test_malformed(self, server: Server, body: bytes, custom: bool) -> None:  # noqa: FBT001
        """A body that is no JSON object is 400."""
        answered = await server.send("POST", POOLS if custom else server.at("configmaps"), body)
        assert (400, "BadRequest") == answered.reason

    async def test_wrong_type(self, server: Server) -> None:
        """A field of a wrong type is 400 for a built-in kind."""
        answered = await server.send("POST", server.at("configmaps"), config_map("a") | {"data": [1]})
        assert (400, "BadRequest") == answered.reason

    async def test_other_namespace(self, server: Server) -> None:
        """A body of another namespace than the path's is 400."""
        body = config_map("a")
        body["metadata"]["namespace"] = "elsewhere"
        answered = await server.send("POST", server.at("configmaps"), body)
        assert (400, "BadRequest") == answered.reason
        assert (
            "the namespace of the provided object does not match the namespace sent on the request"
            == answered.message
        )

    async def test_missing_namespace(self, server: Server) -> None:
        """A namespace that isn't there is 404."""
        path = "/api/v1/namespaces/not-there/configmaps"
        answered = await server.send("POST", path, config_map("a"))
        assert (404, "NotFound") == answered.reason
        assert 'namespaces "not-there" not found' == answered.message
