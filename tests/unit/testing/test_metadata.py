from __future__ import annotations

from typing import Any

import pytest

from nodeipam.testing.metadata import faults_of_metadata
from nodeipam.testing.names import rfc1123_subdomain

OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}


def faults(before: dict[str, Any], after: dict[str, Any], *, custom: bool = False) -> list[tuple[str, str]]:
    """Field and reason of each fault."""
    found = faults_of_metadata(rfc1123_subdomain, before, after, custom=custom)
    return [(cause.field, cause.reason) for cause in found]


class TestOwners:
    @pytest.mark.parametrize("missing", ["apiVersion", "kind", "name", "uid"])
    def test_are_complete(self, missing: str) -> None:
        """An owner is named by apiVersion, kind, name and uid."""
        owner = OWNER | {missing: ""}
        expected = [(f"metadata.ownerReferences[1].{missing}", "FieldValueRequired")]
        assert expected == faults({}, {"name": "a", "ownerReferences": [OWNER, owner]})


class TestUpdates:
    def test_look_at_what_changes(self) -> None:
        """What was bad before is left alone as long as it isn't changed."""
        bad = {"labels": {"a b": "c"}, "annotations": {"a b": "c"}, "finalizers": ["bad"]}
        assert [] == faults({"name": "a", **bad}, {"name": "a", **bad})

    def test_of_custom_kinds_are_compared_twice(self) -> None:
        """A finalizer that is new on something that goes is told twice for a custom kind."""
        before = {"name": "a", "finalizers": ["example.com/a"], "deletionTimestamp": "now"}
        after = before | {"finalizers": ["example.com/a", "example.com/b"]}
        fault = ("metadata.finalizers", "FieldValueForbidden")
        assert [[fault], [fault] * 2] == [faults(before, after, custom=custom) for custom in (False, True)]


class TestNames:
    @pytest.mark.parametrize("prefix,wrong", [("some-", []), ("some.", []), ("Some-", ["generateName"])])
    def test_of_prefixes(self, prefix: str, wrong: list[str]) -> None:
        """A prefix of names may end where a name may not."""
        found = faults({}, {"name": "some-name", "generateName": prefix})
        assert [(f"metadata.{field}", "FieldValueInvalid") for field in wrong] == found
