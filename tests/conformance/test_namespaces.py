import pytest

from .target import Server, config_map, lease

NAMESPACES = "/api/v1/namespaces"


def namespace(name: str) -> dict[str, object]:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


class TestNamespace:
    async def test_of_every_cluster(self, server: Server) -> None:
        """Four namespaces are there from the beginning."""
        found = (await server.get(NAMESPACES)).names
        assert {"default", "kube-node-lease", "kube-public", "kube-system"} <= set(found)

    async def test_creation(self, server: Server) -> None:
        """A new one is active, and has a label with its name."""
        made = await server.get(f"{NAMESPACES}/{server.namespace}")
        assert {"kubernetes.io/metadata.name": server.namespace} == made.metadata["labels"]
        assert {"finalizers": ["kubernetes"]} == made.body["spec"]
        assert {"phase": "Active"} == made.body["status"]

    async def test_label_comes_back(self, server: Server) -> None:
        """The label can't be taken off."""
        path = f"{NAMESPACES}/{server.namespace}"
        answered = await server.patch(path, {"metadata": {"labels": None}})
        assert {"kubernetes.io/metadata.name": server.namespace} == answered.metadata["labels"]

    @pytest.mark.parametrize("name", ["Upper", "a.b", "a" * 64])
    async def test_bad_name(self, server: Server, name: str) -> None:
        """Its name is a DNS label, without dots."""
        answered = await server.send("POST", NAMESPACES, namespace(name))
        assert (422, "Invalid") == answered.reason
        assert ("metadata.name", "FieldValueInvalid") in answered.causes

    @pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
    async def test_protected(self, server: Server, name: str) -> None:
        """Those of the system can't be deleted."""
        answered = await server.send("DELETE", f"{NAMESPACES}/{name}")
        assert (403, "Forbidden") == answered.reason
        assert f'namespaces "{name}" is forbidden: this namespace may not be deleted' == answered.message

    async def test_not_all_at_once(self, server: Server) -> None:
        """Nor can all of them be deleted at once."""
        assert 405 == (await server.send("DELETE", NAMESPACES)).code


class TestMissing:
    async def test_list(self, server: Server) -> None:
        """A list in a namespace that isn't there is empty."""
        assert [] == (await server.get(f"{NAMESPACES}/not-there/configmaps")).names

    async def test_put(self, server: Server) -> None:
        """A PUT that would create there is 404 of the namespace."""
        path = "/apis/coordination.k8s.io/v1/namespaces/not-there/leases/a"
        answered = await server.send("PUT", path, lease("a"))
        assert 'namespaces "not-there" not found' == answered.message

    async def test_patch(self, server: Server) -> None:
        """A patch there is 404 of the object."""
        answered = await server.send("PATCH", f"{NAMESPACES}/not-there/configmaps/a", {})
        assert 'configmaps "a" not found' == answered.message

    async def test_before_validation(self, server: Server) -> None:
        """The namespace is looked for before the object is looked at."""
        answered = await server.send("POST", f"{NAMESPACES}/not-there/configmaps", config_map("Upper"))
        assert (404, "NotFound") == answered.reason


class TestTerminating:
    async def test_stays(self, server: Server) -> None:
        """A deleted one stays until its content is gone, which somebody else sees to."""
        path = f"{NAMESPACES}/{server.namespace}"
        answered = await server.delete(path)
        assert "Terminating" == answered.body["status"]["phase"]
        assert answered.metadata["deletionTimestamp"]
        assert answered.version == (await server.delete(path)).version

    async def test_nothing_new(self, server: Server) -> None:
        """Nothing is made there any more: 403, with a cause of its own."""
        await server.delete(f"{NAMESPACES}/{server.namespace}")
        answered = await server.send("POST", server.leases, lease("a"))
        assert (403, "Forbidden") == answered.reason
        assert [("metadata.namespace", "NamespaceTerminating")] == answered.causes
        assert {"name": "a", "group": "coordination.k8s.io", "kind": "leases"} == {
            key: value for key, value in answered.body["details"].items() if key != "causes"
        }
        assert "unable to create new content in namespace" in answered.message
