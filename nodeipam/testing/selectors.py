"""Label and field selectors: which objects a list, a watch or a deletion means.

Labels are selected by `key=value` (`==`, `!=`), `key in (a, b)`, `notin`, `key`, `!key`, `key > 1` and `<`;
fields by `=`, `==` and `!=`, and of each kind only those that the API server knows. Commas mean "and".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .kinds import Kind
from .names import label_value, qualified_name
from .status import bad_request

__all__ = ["Matches", "compile_selectors"]

Matches = Callable[[Mapping[str, Any]], bool]
"""Whether an object is selected."""

_OPERATORS = "in, notin, =, ==, !=, gt, lt"


def compile_selectors(kind: Kind, label_selector: str, field_selector: str) -> Matches | None:
    """A predicate over objects of this kind, None when everything is selected.

    Raises:
        Refusal: 400, a part can't be read, or names a field that this kind can't be selected by.
    """
    parts = _Labels(label_selector).read() if label_selector else []
    parts += [_field(kind, text) for text in re.split(r"(?<!\\),", field_selector) if text]
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    return lambda obj: all(part(obj) for part in parts)


class _Labels:
    """Reads a label selector, token by token."""

    def __init__(self, text: str) -> None:
        self._tokens = re.findall(r"[=!<>]+|[(),]|[^\s=!<>(),]+", text)
        self._at = 0

    def read(self) -> list[Matches]:
        found: list[Matches] = []
        while True:
            if self._next not in {"!", ""} and not _is_word(self._next):
                raise bad_request(f"found '{self._next}', expected: !, identifier, or 'end of string'")
            found.append(self._requirement())
            if not self._next:
                return found
            if self._next != ",":
                raise bad_request(f"found '{self._next}', expected: ',' or 'end of string'")
            self._take()
            if self._next != "!" and not _is_word(self._next):
                raise bad_request(f"found '{self._next}', expected: identifier after ','")

    @property
    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._next
        self._at += 1
        return token

    def _requirement(self) -> Matches:
        absent = self._next == "!"
        if absent:
            self._take()
        if not _is_word(self._next):
            raise bad_request(f"unable to parse requirement: found '{self._next}', expected: identifier")
        key = self._take()
        _check(qualified_name(key), "<nil>", key)
        if absent:
            return lambda obj: key not in _labels(obj)
        if self._next in {",", ""}:
            return lambda obj: key in _labels(obj)
        operator = self._take()
        if operator in {"in", "notin"}:
            return _among(key, self._values(key), negated=operator == "notin")
        if operator in {"=", "==", "!="}:
            return _among(key, {self._value(key)}, negated=operator == "!=")
        if operator in {">", "<"}:
            return _compared(key, operator, self._value(key))
        raise bad_request(f"unable to parse requirement: found '{operator}', expected: {_OPERATORS}")

    def _value(self, key: str) -> str:
        if self._next in {",", ""}:
            return ""
        if not _is_word(self._next):
            raise bad_request(f"unable to parse requirement: found '{self._next}', expected: identifier")
        value = self._take()
        _check(label_value(value), f"values[0][{key}]", value)
        return value

    def _values(self, key: str) -> set[str]:
        if self._next != "(":
            raise bad_request(f"unable to parse requirement: found '{self._next}' expected: '('")
        self._take()
        values = {self._value(key)} if self._next != ")" else {""}
        while self._next == ",":
            self._take()
            values.add(self._take() if _is_word(self._next) else "")
        if self._next != ")":
            raise bad_request(f"unable to parse requirement: found '{self._next}', expected: ',' or ')'")
        self._take()
        for index, value in enumerate(sorted(values)):
            _check(label_value(value), f"values[{index}][{key}]", value)
        return values


def _is_word(token: str) -> bool:
    return bool(token) and token[0] not in "=!<>(),"


def _check(faults: tuple[str, ...], where: str, text: str) -> None:
    if faults:
        raise bad_request(f'unable to parse requirement: {where}: Invalid value: "{text}": {faults[0]}')


def _among(key: str, values: set[str], *, negated: bool) -> Matches:
    """An object without the label has none of the values."""
    if negated:
        return lambda obj: _labels(obj).get(key) not in values
    return lambda obj: _labels(obj).get(key) in values


def _compared(key: str, operator: str, value: str) -> Matches:
    if not _INTEGER.fullmatch(value):
        raise bad_request(
            f'unable to parse requirement: values[0]: Invalid value: "{value}": '
            "for 'Gt', 'Lt' operators, the value must be an integer"
        )
    limit = int(value)

    def matches(obj: Mapping[str, Any]) -> bool:
        text = _labels(obj).get(key, "")
        if not _INTEGER.fullmatch(text):
            return False
        return int(text) > limit if operator == ">" else int(text) < limit

    return matches


_INTEGER = re.compile("-?[0-9]+")


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}


def _field(kind: Kind, part: str) -> Matches:
    found = re.match(r"([^=!]*)(!=|==|=)(.*)", part)
    if found is None:
        raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
    name, operator, value = found.groups()
    if "=" in value.replace("\\=", ""):
        raise bad_request(f"invalid field selector: unescaped character in value: {ord('=')}")
    value = re.sub(r"\\(.)", r"\1", value)
    find = kind.fields_selected.get(name) or _ALWAYS.get(name)
    if find is None or (name == "metadata.namespace" and _is_strict(kind) and not kind.namespaced):
        raise bad_request(_unknown(kind, name))
    if operator == "!=":
        return lambda obj: find(obj) != value
    return lambda obj: find(obj) == value


def _is_strict(kind: Kind) -> bool:
    """Kinds with fields of their own refuse others in words of their own, as custom kinds do."""
    return kind.custom or bool(kind.fields_selected)


def _unknown(kind: Kind, name: str) -> str:
    if _is_strict(kind):
        return f"field label not supported: {name}"
    return f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"'


_ALWAYS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "metadata.name": lambda obj: str(obj["metadata"].get("name", "")),
    "metadata.namespace": lambda obj: str(obj["metadata"].get("namespace", "")),
}
