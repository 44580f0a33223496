"""Label and field selectors of a list or watch, as far as controllers use them.

Labels: `key=value`, `key==value`, `key!=value`, `key` and `!key`, joined by commas. Fields: `metadata.name`
and `metadata.namespace` by `=`, `==` and `!=`. Anything else is refused as the API server refuses what it
can't select by, rather than silently ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .status import bad_request

__all__ = ["Matches", "compile_selectors"]

Matches = Callable[[Mapping[str, Any]], bool]
"""Whether an object is selected."""

_FIELDS = ("metadata.name", "metadata.namespace")


def compile_selectors(label_selector: str, field_selector: str) -> Matches | None:
    """A predicate over objects, None when everything is selected.

    Raises:
        Refusal: a part can't be understood, or names a field that can't be selected by.
    """
    parts = [_label(part.strip()) for part in label_selector.split(",") if part.strip()]
    parts += [_field(part.strip()) for part in field_selector.split(",") if part.strip()]
    if not parts:
        return None
    return lambda obj: all(part(obj) for part in parts)


def _label(part: str) -> Matches:
    key, operator, value = _split(part)
    if not key or any(c in key + value for c in "() <>"):
        raise bad_request(f'unable to parse requirement: found "{part}", expected: identifier')
    if operator == "!=":
        return lambda obj: _labels(obj).get(key) != value
    if operator == "=":
        return lambda obj: _labels(obj).get(key) == value
    if key.startswith("!"):
        return lambda obj: key[1:] not in _labels(obj)
    return lambda obj: key in _labels(obj)


def _field(part: str) -> Matches:
    key, operator, value = _split(part)
    if not operator:
        raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
    if key not in _FIELDS:
        raise bad_request(f"field label not supported: {key}")
    name = key.removeprefix("metadata.")
    if operator == "!=":
        return lambda obj: obj["metadata"].get(name, "") != value
    return lambda obj: obj["metadata"].get(name, "") == value


def _split(part: str) -> tuple[str, str, str]:
    for operator in ("!=", "==", "="):
        key, found, value = part.partition(operator)
        if found:
            return key.strip(), "!=" if operator == "!=" else "=", value.strip()
    return part, "", ""


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}
