from __future__ import annotations

import pytest

from nodeipam.api.reasons import quote


@pytest.mark.parametrize(
    "value,text",
    [
        ("Inn", '"Inn"'),
        (-1, "-1"),
        (None, "null"),
        (True, "true"),
        (["x"], '["x"]'),
        ("a\nb", '"a\\nb"'),
        ("ü", '"ü"'),
    ],
)
def test_as_it_stands_in_the_manifest(value: object, text: str) -> None:
    """A value is shown as JSON, on one line."""
    assert text == quote(value)


def test_never_long() -> None:
    """However large a value is, it takes no more than part of a line."""
    assert 64 == len(quote("x" * 1_000_000))
    assert quote("x" * 1_000_000).endswith("x…")


def test_no_more_work_than_it_shows() -> None:
    """What is too deep or too odd for JSON is no obstacle where it isn't shown."""
    deep: object = object()
    for _ in range(100_000):
        deep = [deep]
    assert "[" * 63 + "…" == quote(deep)
