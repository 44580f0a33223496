import pytest

from .target import NODES, POOLS, Server, config_map, node, pool

EVENTS = "/api/v1/events"


async def three(server: Server) -> str:
    """The path of a collection: a has x=1, b has x=2 and y=z, c has no labels."""
    path = server.at("configmaps")
    await server.create(path, config_map("a", labels={"x": "1"}))
    await server.create(path, config_map("b", labels={"x": "2", "y": "z"}))
    await server.create(path, config_map("c"))
    return path


class TestLabels:
    @pytest.mark.parametrize(
        "selector,names",
        [
            ("x=1", "a"),
            ("x==1", "a"),
            ("x = 1", "a"),
            ("x!=1", "bc"),
            ("x in (1,2)", "ab"),
            ("x  in  ( 1 , 2 ),!y", "a"),
            ("x in ()", ""),
            ("x in (,1)", "a"),
            ("x notin (1)", "bc"),
            ("x notin (1,2)", "c"),
            ("x notin ()", "abc"),
            ("x", "ab"),
            ("!x", "c"),
            ("x ,y", "b"),
            ("x=", ""),
            ("x!=", "abc"),
            ("x=1,x=2", ""),
            ("x>1", "b"),
            ("x<2", "a"),
            ("in in (in)", ""),
            ("example.com/x=1", ""),
            ("", "abc"),
        ],
    )
    async def test_selected(self, server: Server, selector: str, names: str) -> None:
        """Each form of a requirement selects what it says; a missing label differs from any value."""
        found = await server.get(await three(server), labelSelector=selector)
        assert list(names) == found.names

    @pytest.mark.parametrize(
        "selector,message",
        [
            ("x in", "unable to parse requirement: found '' expected: '('"),
            ("x gt 1", "unable to parse requirement: found 'gt', expected: in, notin, =, ==, !=, gt, lt"),
            ("=1", "found '=', expected: !, identifier, or 'end of string'"),
            ("x=1=2", "found '=', expected: ',' or 'end of string'"),
            ("!x=1", "found '=', expected: ',' or 'end of string'"),
            ("x,", "found '', expected: identifier after ','"),
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("x=(1)", "unable to parse requirement: found '(', expected: identifier"),
            ("x=a b", "found 'b', expected: ',' or 'end of string'"),
            ("a/b/c=1", 'unable to parse requirement: <nil>: Invalid value: "a/b/c": a valid label key must'),
            ("x=-", 'unable to parse requirement: values[0][x]: Invalid value: "-": a valid label must be'),
            ("x>a", "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt'"),
        ],
    )
    async def test_refused(self, server: Server, selector: str, message: str) -> None:
        """What is no selector is 400, with the place where reading it ended."""
        answered = await server.send("GET", server.at("configmaps"), labelSelector=selector)
        assert (400, "BadRequest") == answered.reason
        assert answered.message.startswith(message)

    async def test_refused_watch(self, server: Server) -> None:
        """So it is in a watch."""
        answered = await server.send("GET", server.at("configmaps"), watch="1", labelSelector="x in")
        assert (400, "BadRequest") == answered.reason


class TestFields:
    @pytest.mark.parametrize(
        "selector,names",
        [
            ("metadata.name=a", "a"),
            ("metadata.name==a", "a"),
            ("metadata.name!=a", "bc"),
            ("metadata.name=a,metadata.name=b", ""),
            ("metadata.name=a,", "a"),
            ("metadata.namespace=other", ""),
            ("metadata.namespace!=other", "abc"),
            ("metadata.name=a\\,b", ""),
        ],
    )
    async def test_selected(self, server: Server, selector: str, names: str) -> None:
        """Everything can be selected by name and namespace."""
        found = await server.get(await three(server), fieldSelector=selector)
        assert list(names) == found.names

    @pytest.mark.parametrize(
        "selector,message",
        [
            ("data=1", '"data" is not a known field selector: only "metadata.name", "metadata.namespace"'),
            ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
            ("metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
            (
                "metadata.name in (a)",
                "invalid selector: 'metadata.name in (a)'; can't understand 'metadata.name in (a)'",
            ),
        ],
    )
    async def test_refused(self, server: Server, selector: str, message: str) -> None:
        """Other fields, and what is no selector, are 400."""
        answered = await server.send("GET", server.at("configmaps"), fieldSelector=selector)
        assert (400, "BadRequest", message) == (*answered.reason, answered.message)

    @pytest.mark.parametrize("path", [NODES, POOLS, EVENTS, "/api/v1/namespaces"])
    async def test_unsupported(self, server: Server, path: str) -> None:
        """Kinds with fields of their own, and custom kinds, refuse others in other words."""
        answered = await server.send("GET", path, fieldSelector="spec.colour=red")
        assert (400, "field label not supported: spec.colour") == (answered.code, answered.message)

    @pytest.mark.parametrize("path", [NODES, POOLS])
    async def test_no_namespace(self, server: Server, path: str) -> None:
        """What has no namespace can't be selected by it."""
        answered = await server.send("GET", path, fieldSelector="metadata.namespace=a")
        assert (400, "BadRequest") == answered.reason

    async def test_nodes(self, server: Server) -> None:
        """Nodes can be selected by whether they are cordoned."""
        for name, spec in (("a", {"unschedulable": True}), ("b", {})):
            body = node(f"{server.name}-{name}", labels={"test": server.name}) | {"spec": spec}
            await server.create(NODES, body)
        for value, name in (("true", "a"), ("false", "b")):
            query = {"labelSelector": f"test={server.name}", "fieldSelector": f"spec.unschedulable={value}"}
            assert [f"{server.name}-{name}"] == (await server.get(NODES, **query)).names

    async def test_pools(self, server: Server) -> None:
        """A custom object is selected by its name."""
        await server.create(POOLS, pool(server.name))
        found = await server.get(POOLS, fieldSelector=f"metadata.name={server.name}")
        assert [server.name] == found.names

    async def test_namespaces(self, server: Server) -> None:
        """Namespaces can be selected by their phase."""
        found = await server.get("/api/v1/namespaces", fieldSelector="status.phase=Active")
        assert server.namespace in found.names
