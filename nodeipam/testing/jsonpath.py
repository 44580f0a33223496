"""The JSONPath of a CustomResourceDefinition's printer columns.

There are `.a.b`, `['a']`, `[0]`, `[*]`, and filters on equality, `[?(@.type=="Ready")]`; a backslash takes a
dot into a name. Anything else is refused when the definition is registered, not shown as an empty column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Find", "compile_path"]

Find = Callable[[Any], list[Any]]
"""What stands at a path: nothing, one value, or several."""

_STEP = re.compile(
    r"""
    \.(?P<field>(?:[^.\[\]\\]|\\.)+)
    | \[(?P<index>-?\d+)\]
    | \[(?P<every>\*)\]
    | \[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
    | \[\?\(\s*@(?P<path>(?:\.(?:[^.\[\]\\=\s]|\\.)+)+)\s*==\s*(?P<value>'[^']*'|"[^"]*"|[^\s'")]+)\s*\)\]
    """,
    re.VERBOSE,
)


def compile_path(text: str) -> Find:
    """What finds the values at the path `text`.

    Raises:
        ValueError: the path can't be understood.
    """
    steps: list[Find] = []
    at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise ValueError(f"JSONPath {text!r}: the model doesn't know {text[at:]!r}")
        steps.append(_step(step))
        at = step.end()

    def find(document: Any) -> list[Any]:
        found = [document]
        for each in steps:
            found = [value for parent in found for value in each(parent)]
        return found

    return find


def _step(step: re.Match[str]) -> Find:
    if step["field"]:
        return _field(re.sub(r"\\(.)", r"\1", step["field"]))
    if step["quote"]:
        return _field(step["quoted"])
    if step["index"]:
        return _item(int(step["index"]))
    if step["every"]:
        return lambda value: list(_children(value))
    return _filter(compile_path(step["path"]), step["value"].strip("'\""))


def _field(name: str) -> Find:
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _item(index: int) -> Find:
    def find(value: Any) -> list[Any]:
        found = isinstance(value, list) and -len(value) <= index < len(value)
        return [value[index]] if found else []

    return find


def _filter(find: Find, wanted: str) -> Find:
    return lambda value: [child for child in _children(value) if wanted in map(str, find(child))]


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
