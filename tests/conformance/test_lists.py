import pytest

from .target import PARTIAL_LIST, POOLS, Server, config_map, pool

FUTURE = str(1 << 50)


async def three(server: Server) -> str:
    """The path of a collection with the ConfigMaps a, b and c."""
    path = server.at("configmaps")
    for name in "cab":
        await server.create(path, config_map(name))
    return path


class TestPages:
    async def test_order(self, server: Server) -> None:
        """A list is in the order of names, whatever the order of creation."""
        path = await three(server)
        assert ["a", "b", "c"] == (await server.get(path)).names

    async def test_first_page(self, server: Server) -> None:
        """`limit` cuts a list, which then has a continue token and says how many items are to come."""
        page = await server.get(await three(server), limit="2")
        assert (["a", "b"], 1) == (page.names, page.metadata["remainingItemCount"])
        assert page.metadata["continue"]

    async def test_last_page(self, server: Server) -> None:
        """The last page has neither a token nor a count, and the version of the first."""
        path = await three(server)
        first = await server.get(path, limit="2")
        last = await server.get(path, limit="2", **{"continue": first.metadata["continue"]})
        assert (["c"], {"resourceVersion": first.version}) == (last.names, last.metadata)

    async def test_pages_are_one_state(self, server: Server) -> None:
        """Later pages show the state of the first, whatever has changed since."""
        path = await three(server)
        first = await server.get(path, limit="1")
        await server.delete(f"{path}/c")
        await server.create(path, config_map("bb"))
        last = await server.get(path, **{"continue": first.metadata["continue"]})
        assert ["b", "c"] == last.names

    async def test_no_count_with_a_selector(self, server: Server) -> None:
        """Where a selector is at work, the server doesn't count what is to come."""
        path = server.at("configmaps")
        for name in "ab":
            await server.create(path, config_map(name, labels={"x": "y"}))
        page = await server.get(path, limit="1", labelSelector="x=y")
        assert page.metadata["continue"]
        assert "remainingItemCount" not in page.metadata

    async def test_limit_at_version_0(self, server: Server) -> None:
        """A list at version "0" comes from the cache, whole."""
        path = await three(server)
        version = (await server.get(path)).version
        whole = await server.get(path, resourceVersion=version, resourceVersionMatch="NotOlderThan")
        assert ["a", "b", "c"] == whole.names  # the cache has come as far as this
        assert ["a", "b", "c"] == (await server.get(path, resourceVersion="0", limit="1")).names

    async def test_bad_token(self, server: Server) -> None:
        """A continue token that is none is the client's fault."""
        answered = await server.send("GET", server.at("configmaps"), **{"continue": "none"})
        assert (400, "BadRequest") == answered.reason
        assert "continue key is not valid" in answered.message

    async def test_token_with_a_version(self, server: Server) -> None:
        """A page that goes on can't be asked for at another version."""
        first = await server.get(await three(server), limit="1")
        token = first.metadata["continue"]
        answered = await server.send(
            "GET", server.at("configmaps"), **{"continue": token, "resourceVersion": first.version}
        )
        assert 400 == answered.code

    async def test_bad_limit(self, server: Server) -> None:
        """A limit that is no number is the client's fault."""
        assert (400, "BadRequest") == (await server.send("GET", server.at("configmaps"), limit="x")).reason


class TestVersions:
    async def test_unset(self, server: Server) -> None:
        """Without a version a list shows what was written last, and is at least as new."""
        path = server.at("configmaps")
        made = await server.create(path, config_map("a"))
        found = await server.get(path)
        assert ["a"] == found.names
        assert int(found.version) >= int(made.version)

    async def test_not_older_than(self, server: Server) -> None:
        """A list at a version shows at least that state."""
        path = server.at("configmaps")
        await server.create(path, config_map("a"))
        made = await server.create(path, config_map("b"))
        for match in ({}, {"resourceVersionMatch": "NotOlderThan"}):
            assert ["a", "b"] == (await server.get(path, resourceVersion=made.version, **match)).names

    async def test_exact(self, server: Server) -> None:
        """A list at exactly a version shows that state, and says so."""
        path = server.at("configmaps")
        made = await server.create(path, config_map("a"))
        await server.create(path, config_map("b"))
        found = await server.get(path, resourceVersion=made.version, resourceVersionMatch="Exact")
        assert (["a"], made.version) == (found.names, found.version)

    async def test_limit_at_a_version(self, server: Server) -> None:
        """With a limit and no match, a version means exactly that state."""
        path = server.at("configmaps")
        made = await server.create(path, config_map("a"))
        await server.create(path, config_map("b"))
        assert ["a"] == (await server.get(path, resourceVersion=made.version, limit="5")).names

    async def test_from_the_future(self, server: Server) -> None:
        """A version that isn't there yet, as after a restored etcd, is 504 with a cause of its own."""
        answered = await server.send("GET", server.at("configmaps"), resourceVersion=FUTURE)
        assert (504, "Timeout") == answered.reason
        details = answered.body["details"]
        assert (1, "ResourceVersionTooLarge") == (
            details["retryAfterSeconds"],
            details["causes"][0]["reason"],
        )
        assert f"Too large resource version: {FUTURE}, current: " in answered.message

    async def test_exactly_from_the_future(self, server: Server) -> None:
        """So it is where exactly that version is asked for."""
        answered = await server.send(
            "GET", server.at("configmaps"), resourceVersion=FUTURE, resourceVersionMatch="Exact"
        )
        assert (504, "Timeout") == answered.reason

    async def test_object_from_the_future(self, server: Server) -> None:
        """So it is for a single object."""
        path = await three(server)
        answered = await server.send("GET", f"{path}/a", resourceVersion=FUTURE)
        assert (504, "Timeout") == answered.reason

    @pytest.mark.parametrize(
        "query,field",
        [
            ({"resourceVersionMatch": "Exact"}, "resourceVersionMatch"),
            ({"resourceVersionMatch": "Never", "resourceVersion": "1"}, "resourceVersionMatch"),
            ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, "resourceVersionMatch"),
            ({"sendInitialEvents": "true"}, "sendInitialEvents"),
        ],
        ids=lambda value: value if isinstance(value, str) else "-".join(value.values()),
    )
    async def test_contradictions(self, server: Server, query: dict[str, str], field: str) -> None:
        """Options that contradict each other are refused, with the field."""
        answered = await server.send("GET", server.at("configmaps"), **query)
        assert (422, "Invalid") == answered.reason
        assert answered.causes in ([(field, "FieldValueForbidden")], [(field, "FieldValueNotSupported")])

    async def test_no_number(self, server: Server) -> None:
        """A version that is no number is refused."""
        assert (400, "BadRequest") == (
            await server.send("GET", server.at("configmaps"), resourceVersion="x")
        ).reason


class TestShape:
    async def test_built_in(self, server: Server) -> None:
        """Items of a built-in kind don't name it; the list does."""
        await server.create(server.at("configmaps"), config_map("a"))
        found = (await server.get(server.at("configmaps"))).body
        assert ("ConfigMapList", "v1") == (found["kind"], found["apiVersion"])
        assert not {"kind", "apiVersion"} & found["items"][0].keys()

    async def test_custom(self, server: Server) -> None:
        """Items of a custom kind name it."""
        await server.create(POOLS, pool(server.name, labels={"test": server.name}))
        found = (await server.get(POOLS, labelSelector=f"test={server.name}")).body
        assert ("ClusterCIDRList", "networking.x-k8s.io/v1") == (found["kind"], found["apiVersion"])
        assert "ClusterCIDR" == found["items"][0]["kind"]
        assert "networking.x-k8s.io/v1" == found["items"][0]["apiVersion"]

    async def test_empty(self, server: Server) -> None:
        """A list without items has an empty array of them."""
        assert [] == (await server.get(server.at("configmaps"))).body["items"]

    async def test_partial(self, server: Server) -> None:
        """Whoever asks for metadata alone gets just that, and items name their kind."""
        await server.create(server.at("configmaps"), config_map("a", key="value"))
        found = (await server.get(server.at("configmaps"), accept=PARTIAL_LIST)).body
        assert ("PartialObjectMetadataList", "meta.k8s.io/v1") == (found["kind"], found["apiVersion"])
        (item,) = found["items"]
        assert ("PartialObjectMetadata", "meta.k8s.io/v1") == (item["kind"], item["apiVersion"])
        assert {"kind", "apiVersion", "metadata"} == item.keys()

    async def test_all_namespaces(self, server: Server) -> None:
        """A list over all namespaces holds those of each."""
        await server.create(server.at("configmaps"), config_map(server.name))
        found = await server.get("/api/v1/configmaps", fieldSelector=f"metadata.name={server.name}")
        assert [server.namespace] == [item["metadata"]["namespace"] for item in found.body["items"]]
