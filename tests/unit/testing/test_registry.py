from __future__ import annotations

from typing import Any

import pytest

from nodeipam.runtime.transport import Call
from nodeipam.testing import APIServer

from .session import Session, play, story
from .test_definitions import definition

GADGETS = "/apis/example.com/v1/gadgets"
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
GADGET = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}}


class TestInstalling:
    def test_is_storing(self) -> None:
        """An installed definition is an object, and a deleted one takes its objects and its path along."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.install(definition(type="object"))
            server.put(GADGET)
            async with me.watch(GADGETS, resourceVersion=str(server.version)) as answer:
                server.delete(DEFINITIONS, "gadgets.example.com")
                told = await story(answer, 1)
                rest = await answer.readline(1000)
            answered = server.handle(Call(method="GET", path=GADGETS, timeout=1.0), "me")
            return told, rest, answered, server.objects(DEFINITIONS)

        told, rest, answered, left = play(scene)

        assert ([("DELETED", "g")], b"", 404, []) == (told, rest, answered.status, left)

    def test_unregistering_takes_the_definition_along(self) -> None:
        """What isn't served any more has no definition left."""
        server = APIServer()
        server.install(definition(type="object"))

        server.unregister("gadgets.example.com")

        assert [] == server.objects(DEFINITIONS)
        with pytest.raises(KeyError, match="no kind 'Gadget'"):
            server.put(GADGET)

    def test_again(self) -> None:
        """The same definition again changes nothing for the objects."""
        server = APIServer()
        server.install(definition(type="object"))
        server.put(GADGET)

        server.install(definition(type="object"))

        assert ["g"] == [each["metadata"]["name"] for each in server.objects("gadgets.example.com")]

    def test_watches_end_where_it_changes(self) -> None:
        """A changed definition ends the watches of its kind, and older versions can't be watched from."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.install(definition(type="object"))
            before = str(server.version)
            async with me.watch(GADGETS, resourceVersion=before) as answer:
                server.install(definition(type="object", description="other"))
                end = await answer.readline(1000)
            async with me.watch(GADGETS, resourceVersion=before) as answer:
                return end, await answer.readline(1000)

        end, refused = play(scene)

        assert b"" == end
        assert b'"code":410' in refused
