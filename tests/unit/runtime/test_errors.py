"""What an error of the API server says about an object."""

from __future__ import annotations

import pytest

from nodeipam.runtime import APIError, Cause

UID = (Cause("FieldValueInvalid", "field is immutable", "metadata.uid"),)


@pytest.mark.parametrize(
    "gone, error",
    [
        (True, APIError(404, "NotFound", "no such node")),
        (True, APIError(422, "Invalid", "another node", causes=UID)),
        (False, APIError(404, "", "a page of a proxy", structured=False)),
        (False, APIError(500, "InternalError", "a webhook failed", causes=UID)),
        (False, APIError(409, "Conflict", "the object has been modified")),
        (False, APIError(422, "Invalid", "no", causes=(Cause(field="spec.podCIDRs"),))),
    ],
)
def test_an_object_is_gone_by_the_servers_own_word(error: APIError, *, gone: bool) -> None:
    """A 404, or a 422 about the UID, with a Status body; nothing else."""
    assert gone == error.gone
