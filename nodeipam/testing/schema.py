"""The structural schema of a CustomResourceDefinition: defaults, pruning, validation with ratcheting.

Compiled once, so that a schema which can't be honoured is refused when it is registered. Ratcheting as of
Kubernetes 1.37: a value that is what it was is not blamed for anything but a transition rule.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from nodeipam.runtime.errors import Cause

from .cel import CELError, Optional, Program, compile_rule

__all__ = ["Schema"]

_ABSENT: Any = object()
_JSON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


_BLOCKING = {
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
}
_NOT_CHECKED = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
)


class _Rule(msgspec.Struct, frozen=True, kw_only=True):
    holds: Program
    transition: bool
    optional: bool
    path: str
    reason: str
    message: str
    expression: Program | None


class Schema:
    """One node of the schema, with its children."""

    def __init__(self, given: Mapping[str, Any], path: str = "") -> None:
        """Compile `given`; `path` is said in errors.

        Raises:
            ValueError: a part of it isn't one that the model can honour.
        """
        unknown = sorted(set(given) & {"allOf", "anyOf", "oneOf", "not", "$ref", "multipleOf"})
        if unknown and not given.get("x-kubernetes-int-or-string"):
            raise ValueError(f"{path or 'the schema'}: the model doesn't know {', '.join(unknown)}")
        self.given = given
        self.type: str = given.get("type", "")
        if self.type and self.type not in _JSON_TYPES:
            raise ValueError(f"{path or 'the schema'}: {self.type!r} is not a type of JSON")
        self.properties = {k: Schema(v, f"{path}.{k}") for k, v in (given.get("properties") or {}).items()}
        others = given.get("additionalProperties")
        self.others = Schema(others, f"{path}.*") if isinstance(others, Mapping) else None
        self.items = Schema(given["items"], f"{path}[*]") if "items" in given else None
        self.open = bool(given.get("x-kubernetes-preserve-unknown-fields")) or others is True
        self.pattern = re.compile(given["pattern"]) if "pattern" in given else None
        self.rules = [_rule(rule, path) for rule in given.get("x-kubernetes-validations") or []]
        self._is_root = not path

    def complete(self, value: Any) -> Any:
        """`value` with defaults, and without the fields that the schema doesn't know."""
        if isinstance(value, list) and self.items is not None:
            return [self.items.complete(item) for item in value]
        if not isinstance(value, dict):
            return value
        made: dict[str, Any] = {}
        for name, item in value.items():
            child = self.properties.get(name) or self.others
            if self._is_root and name == "metadata":
                made[name] = item
            elif child is not None:
                if item is not None or child.given.get("nullable"):  # else null is as good as absent
                    made[name] = child.complete(item)
            elif self.open or self._embedded(name):
                made[name] = item
        for name, child in self.properties.items():
            if name not in made and "default" in child.given:
                made[name] = child.complete(copy.deepcopy(child.given["default"]))
        return made

    def unknown(self, value: Any, path: str = "") -> Iterator[str]:
        """The paths of the fields that `complete` drops because the schema doesn't know them."""
        if isinstance(value, list) and self.items is not None:
            for index, item in enumerate(value):
                yield from self.items.unknown(item, f"{path}[{index}]")
        for name, item in value.items() if isinstance(value, dict) else ():
            child = self.properties.get(name) or self.others
            inner = f"{path}.{name}".lstrip(".")
            if self._is_root and name == "metadata":
                continue
            if child is not None:
                yield from child.unknown(item, inner)
            elif not self.open and not self._embedded(name):
                yield inner

    def faults(self, value: Any, old: Any = _ABSENT, path: str = "") -> list[Cause]:
        """What is wrong with `value`, given what it was.

        The rules aren't tried on a value whose shape they can't rely on, and the answer says so.
        """
        causes = list(self._wrong(value, old, path))
        if any(cause.reason in _BLOCKING for cause in causes):
            return [*causes, _NOT_CHECKED]
        return causes + list(self._broken(value, old, path))

    def _wrong(self, value: Any, old: Any, path: str) -> Iterator[Cause]:
        if old is not _ABSENT and value == old:
            return
        if value is None and self.given.get("nullable"):
            return
        if not self._fits(value):
            shown = msgspec.json.encode(_type_of(value)).decode()
            message = f"Invalid value: {shown}: {path} in body must be of type {self.type}: {shown}"
            yield Cause("FieldValueTypeInvalid", message, path)
            return
        for test in (_length, _bounds, _choices):
            for reason, message in test(self.given, value, path):
                yield Cause(reason, message, path)
        if self.pattern and isinstance(value, str) and not self.pattern.search(value):
            message = f"Invalid value: {_shown(value)}: {path} in body should match '{self.pattern.pattern}'"
            yield Cause("FieldValueInvalid", message, path)
        for name in self.given.get("required") or () if isinstance(value, dict) else ():
            if name not in value:
                yield Cause("FieldValueRequired", "Required value", f"{path}.{name}".lstrip("."))
        for child, item, before, inner in self._children(value, old, path):
            yield from child._wrong(item, before, inner)  # noqa: SLF001 - of the same class

    def _broken(self, value: Any, old: Any, path: str) -> Iterator[Cause]:
        unchanged = old is not _ABSENT and value == old
        for rule in self.rules:
            if rule.transition and not rule.optional and old is _ABSENT:
                continue
            if unchanged and not rule.transition:
                continue
            before = Optional(() if old is _ABSENT else (old,)) if rule.optional else old
            if (cause := _tried(rule, value, before, path)) is not None:
                yield cause
        for child, item, was, inner in self._children(value, old, path):
            yield from child._broken(item, was, inner)  # noqa: SLF001 - of the same class

    def _children(self, value: Any, old: Any, path: str) -> Iterator[tuple[Schema, Any, Any, str]]:
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for name, item in value.items():
                child = self.properties.get(name) or self.others
                if child is not None and not (self._is_root and name == "metadata"):
                    yield child, item, before.get(name, _ABSENT), f"{path}.{name}".lstrip(".")
        elif isinstance(value, list) and self.items is not None:
            was = self._by_key(old)
            for index, item in enumerate(value):
                yield self.items, item, was(item), f"{path}[{index}]"

    def _by_key(self, old: Any) -> Callable[[Any], Any]:
        """Which old item is the same one: only lists of type map tell."""
        keys = self.given.get("x-kubernetes-list-map-keys") or ()
        if not keys or not isinstance(old, list):
            return lambda _: _ABSENT

        def identity(item: Any) -> list[Any]:
            return [item.get(key) if isinstance(item, dict) else None for key in keys]

        return lambda item: next((o for o in old if identity(o) == identity(item)), _ABSENT)

    def _fits(self, value: Any) -> bool:
        if self.given.get("x-kubernetes-int-or-string"):
            return isinstance(value, int | str) and not isinstance(value, bool)
        if not self.type:
            return True
        if isinstance(value, bool):
            return self.type == "boolean"
        if self.type == "integer" and isinstance(value, float):
            return bool(value.is_integer())
        return isinstance(value, _JSON_TYPES[self.type])

    def _embedded(self, name: str) -> bool:
        embedded = self._is_root or bool(self.given.get("x-kubernetes-embedded-resource"))
        return embedded and name in {"apiVersion", "kind", "metadata"}


def _rule(given: Mapping[str, Any], path: str) -> _Rule:
    source = given["rule"]
    expression = given.get("messageExpression")
    try:
        return _Rule(
            holds=compile_rule(source),
            transition=re.search(r"\boldSelf\b", source) is not None,
            optional=bool(given.get("optionalOldSelf")),
            path=given.get("fieldPath", ""),
            reason=given.get("reason", "FieldValueInvalid"),
            message=given.get("message") or f"failed rule: {' '.join(source.split())}",
            expression=compile_rule(expression) if expression else None,
        )
    except CELError as error:
        raise ValueError(f"{path or 'the schema'}: {error}") from None


def _tried(rule: _Rule, value: Any, old: Any, path: str) -> Cause | None:
    """None where the rule holds; a rule that can't be evaluated is broken, as in a real server."""
    variables = {"self": value} if old is _ABSENT else {"self": value, "oldSelf": old}
    message = rule.message
    try:
        if rule.holds(variables) is True:
            return None
        if rule.expression is not None:
            message = rule.expression(variables)
    except CELError as error:
        message = f"{message} ({error})" if rule.expression is None else message
    field = f"{path}{rule.path}".lstrip(".")
    prefix = {
        "FieldValueRequired": "Required value: ",
        "FieldValueForbidden": "Forbidden: ",
        "FieldValueDuplicate": "Duplicate value: ",
    }.get(rule.reason, "Invalid value: " + ("" if isinstance(value, dict | list) else f"{_shown(value)}: "))
    return Cause(rule.reason, prefix + message, field)


def _length(given: Mapping[str, Any], value: Any, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, str | list | dict):
        return
    unit = "Length" if isinstance(value, str) else "Items" if isinstance(value, list) else "Properties"
    least, most = given.get(f"min{unit}"), given.get(f"max{unit}")
    if most is not None and len(value) > most:
        if unit == "Length":
            yield "FieldValueTooLong", f"Too long: may not be more than {most} bytes"
        else:
            yield "FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items"
    if least is not None and len(value) < least:
        message = f"Invalid value: {_shown(value)}: {path} in body should be at least {least} long"
        yield "FieldValueInvalid", message


def _bounds(given: Mapping[str, Any], value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    least, most = given.get("minimum"), given.get("maximum")
    if least is not None and (value < least or (given.get("exclusiveMinimum") and value == least)):
        yield (
            "FieldValueInvalid",
            (f"Invalid value: {value}: {path} in body should be greater than or equal to {least}"),
        )
    if most is not None and (value > most or (given.get("exclusiveMaximum") and value == most)):
        yield (
            "FieldValueInvalid",
            (f"Invalid value: {value}: {path} in body should be less than or equal to {most}"),
        )


def _choices(given: Mapping[str, Any], value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ARG001
    choices = given.get("enum")
    if choices is not None and value not in choices:
        supported = ", ".join(_shown(choice) for choice in choices)
        yield "FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {supported}"


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return next(name for name, known in _JSON_TYPES.items() if isinstance(value, known))
