import pytest

from .target import NODES, Answered, Object, Server, node

FORBIDDEN = ("spec.podCIDRs", "FieldValueForbidden")


def with_spec(server: Server, **spec: object) -> Object:
    """A Node of this spec."""
    return node(server.name) | {"spec": spec}


def ranges(answered: Answered) -> tuple[str | None, list[str] | None]:
    """What podCIDR and podCIDRs are."""
    spec = answered.body["spec"]
    return spec.get("podCIDR"), spec.get("podCIDRs")


class TestRangesOfANewNode:
    @pytest.mark.parametrize(
        "spec,many",
        [
            ({"podCIDR": "10.0.1.0/24"}, ["10.0.1.0/24"]),
            ({"podCIDRs": ["10.0.1.0/24"]}, ["10.0.1.0/24"]),
            ({"podCIDRs": ["10.0.1.0/24", "fd00::/64"]}, ["10.0.1.0/24", "fd00::/64"]),
            ({"podCIDRs": ["fd00::/64", "10.0.1.0/24"]}, ["fd00::/64", "10.0.1.0/24"]),
            ({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.1.0/24"]}, ["10.0.0.0/24"]),
            ({"podCIDR": "", "podCIDRs": ["10.0.1.0/24"]}, ["10.0.1.0/24"]),
        ],
        ids=["one", "many", "dual stack", "IPv6 first", "mismatch", "empty one"],
    )
    async def test_agree(self, server: Server, spec: Object, many: list[str]) -> None:
        """The podCIDR is the first of podCIDRs, and where they differ podCIDR alone counts."""
        made = await server.create(NODES, with_spec(server, **spec))
        assert (many[0], many) == ranges(made)

    async def test_none(self, server: Server) -> None:
        """Empty podCIDRs are none."""
        made = await server.create(NODES, with_spec(server, podCIDRs=[]))
        assert (None, None) == ranges(made)

    @pytest.mark.parametrize(
        "text", ["x", "", "10.0.0.0", "10.0.0.1/24", "::ffff:10.0.0.0/120", "010.0.0.0/24", "10.0.0.0/024"]
    )
    async def test_bad_text(self, server: Server, text: str) -> None:
        """Each must be a range in its usual form: 422 with its index."""
        answered = await server.send("POST", NODES, with_spec(server, podCIDRs=[text]))
        assert (422, "Invalid") == answered.reason
        assert ("spec.podCIDRs[0]", "FieldValueInvalid") in answered.causes

    @pytest.mark.parametrize(
        "many",
        [
            ["10.0.0.0/24", "10.0.1.0/24"],
            ["fd00::/64", "fd01::/64"],
            ["10.0.0.0/24", "fd00::/64", "10.0.1.0/24"],
        ],
        ids=["IPv4", "IPv6", "three"],
    )
    async def test_one_a_family(self, server: Server, many: list[str]) -> None:
        """There is one of each family at most."""
        answered = await server.send("POST", NODES, with_spec(server, podCIDRs=many))
        assert (422, [("spec.podCIDRs", "FieldValueInvalid")]) == (answered.code, answered.causes)


class TestRangesOfANode:
    @pytest.mark.parametrize("patch", ["merge", "strategic"])
    async def test_given(self, server: Server, patch: str) -> None:
        """A Node without ranges gets them by a patch, once."""
        await server.create(NODES, node(server.name))
        spec = {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24", "fd00::/64"]}
        answered = await server.patch(f"{NODES}/{server.name}", {"spec": spec}, patch=patch)
        assert ("10.0.1.0/24", ["10.0.1.0/24", "fd00::/64"]) == ranges(answered)

    @pytest.mark.parametrize(
        "spec",
        [
            {"podCIDR": "10.0.2.0/24", "podCIDRs": ["10.0.2.0/24"]},
            {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24", "fd00::/64"]},
            {"podCIDR": "10.0.2.0/24"},
            {"podCIDR": None, "podCIDRs": None},
        ],
        ids=["others", "one more", "another", "none"],
    )
    async def test_never_changed(self, server: Server, spec: Object) -> None:
        """Ranges that are set are never changed: 422 with cause spec.podCIDRs, and nothing is written."""
        made = await server.create(NODES, node(server.name, "10.0.1.0/24"))
        answered = await server.send("PATCH", f"{NODES}/{server.name}", {"spec": spec})
        assert (422, "Invalid", [FORBIDDEN]) == (*answered.reason, answered.causes)
        why = 'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
        assert f'Node "{server.name}" is invalid: {why}' in answered.message
        assert made.version == (await server.get(f"{NODES}/{server.name}")).version

    @pytest.mark.parametrize("patch", ["merge", "strategic"])
    async def test_merged(self, server: Server, patch: str) -> None:
        """The same ranges again change nothing."""
        made = await server.create(NODES, node(server.name, "10.0.1.0/24"))
        spec = {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}
        answered = await server.patch(f"{NODES}/{server.name}", {"spec": spec}, patch=patch)
        assert made.version == answered.version

    async def test_many_alone(self, server: Server) -> None:
        """Other podCIDRs without a podCIDR are lost without a word: 200, and nothing is written."""
        made = await server.create(NODES, node(server.name, "10.0.1.0/24"))
        answered = await server.patch(f"{NODES}/{server.name}", {"spec": {"podCIDRs": ["10.0.2.0/24"]}})
        assert (200, made.version) == (answered.code, answered.version)
        assert ("10.0.1.0/24", ["10.0.1.0/24"]) == ranges(answered)

    async def test_bad_and_changed(self, server: Server) -> None:
        """A change to what is no range has both causes."""
        await server.create(NODES, node(server.name, "10.0.1.0/24"))
        spec = {"podCIDR": "x", "podCIDRs": ["x"]}
        answered = await server.send("PATCH", f"{NODES}/{server.name}", {"spec": spec})
        assert {("spec.podCIDRs[0]", "FieldValueInvalid"), FORBIDDEN} == set(answered.causes)

    async def test_by_status(self, server: Server) -> None:
        """Its status subresource gives no ranges."""
        await server.create(NODES, node(server.name))
        patch = {"spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}}
        assert (None, None) == ranges(await server.patch(f"{NODES}/{server.name}/status", patch))

    async def test_while_going(self, server: Server) -> None:
        """A Node that is being deleted may still get them."""
        await server.create(NODES, node(server.name, finalizers=["example.com/x"]))
        await server.delete(f"{NODES}/{server.name}")
        spec = {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}
        answered = await server.patch(f"{NODES}/{server.name}", {"spec": spec})
        assert ("10.0.1.0/24", ["10.0.1.0/24"]) == ranges(answered)


class TestWritesThatWereDecidedEarlier:
    async def test_stale_with_ranges(self, server: Server) -> None:
        """Of a stale version and changed ranges, the version is told: 409."""
        made = await server.create(NODES, node(server.name, "10.0.1.0/24"))
        await server.patch(f"{NODES}/{server.name}", {"metadata": {"labels": {"a": "b"}}})
        patch = {
            "metadata": {"resourceVersion": made.version},
            "spec": {"podCIDR": "10.0.2.0/24", "podCIDRs": ["10.0.2.0/24"]},
        }
        answered = await server.send("PATCH", f"{NODES}/{server.name}", patch)
        assert (409, "Conflict") == answered.reason

    async def test_recreated(self, server: Server) -> None:
        """Of a Node that came back under its name, the version is told too, and without it the uid."""
        made = await server.create(NODES, node(server.name))
        await server.delete(f"{NODES}/{server.name}")
        await server.create(NODES, node(server.name))
        spec = {"podCIDR": "10.0.2.0/24", "podCIDRs": ["10.0.2.0/24"]}
        preconditions = {"uid": made.metadata["uid"], "resourceVersion": made.version}
        both = await server.send("PATCH", f"{NODES}/{server.name}", {"metadata": preconditions, "spec": spec})
        del preconditions["resourceVersion"]
        uid = await server.send("PATCH", f"{NODES}/{server.name}", {"metadata": preconditions, "spec": spec})
        assert (409, "Conflict") == both.reason
        assert (422, [("metadata.uid", "FieldValueInvalid")]) == (uid.code, uid.causes)
