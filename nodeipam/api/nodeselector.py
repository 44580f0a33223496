"""NodeSelector, compiled: which Nodes a selector means, by the rules that the Kubernetes scheduler goes by.

Terms are ORed; the requirements of a term (matchExpressions on labels, matchFields on metadata.name) are
ANDed; a term without requirements matches nothing. The one addition: no terms at all match every Node.
The rules are those of `k8s.io/component-helpers/scheduling/corev1/nodeaffinity` and of the validation of
core/v1 NodeSelector. A selector that breaks them is refused as a whole: what it was meant to say isn't known.
So is one that is too large: whatever is stored, compiling it takes no longer than some 25 ms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any

import msgspec

from .reasons import quote

__all__ = ["NAME_FIELD", "InvalidSelector", "Operator", "Requirement", "Selector", "Term", "compile_selector"]

NAME_FIELD = "metadata.name"
"""The only field that matchFields can ask for."""

MOST_TERMS = 1_000
MOST_REQUIREMENTS = 2_000
MOST_VALUES = 10_000
"""How large a selector may be, each number counted in all of it."""

_FAULTS = 50
"""Reasons after which no more faults are looked for."""
_INT64 = range(-(1 << 63), 1 << 63)
_INTEGER = re.compile(r"[+-]?[0-9]{1,64}")  # a label has 63 characters at most
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


class Operator(StrEnum):
    """What a requirement asks of a label or field."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


_OPERATORS = frozenset(Operator)
_ALTERNATIVES = "In, NotIn, Exists, DoesNotExist, Gt or Lt"


class InvalidSelector(ValueError):
    """Raised by `compile_selector` for a selector that breaks the rules; `reasons` has the faults in it.

    When there are very many, it has the first ones.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


class Requirement(msgspec.Struct, frozen=True, gc=False):
    """One requirement on a label, or on metadata.name where `field` is set."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    field: bool = False

    def matches(self, value: str | None) -> bool:
        """Whether `value` meets it; None where the Node has no such label.

        NotIn and DoesNotExist hold for an absent label; Gt and Lt compare 64-bit integers, and nothing else
        is greater or less than anything.
        """
        operator = self.operator
        if operator is Operator.IN:
            return value in self.values
        if operator is Operator.EXISTS:
            return value is not None
        if operator is Operator.NOT_IN:
            return value not in self.values
        if operator is Operator.DOES_NOT_EXIST:
            return value is None
        number = None if value is None else _int64(value)
        if number is None:
            return False
        bound = int(self.values[0])
        return number > bound if operator is Operator.GT else number < bound

    def __str__(self) -> str:
        """As Go's `labels.Requirement.String` prints it; a field like a label of its name."""
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.IN | Operator.NOT_IN:
                return f"{self.key} {self.operator.lower()} ({','.join(sorted(self.values))})"
            case _:
                return f"{self.key}{'>' if self.operator is Operator.GT else '<'}{self.values[0]}"


class Term(msgspec.Struct, frozen=True, gc=False):
    """One term: requirements that all have to hold. Without any it matches nothing."""

    requirements: tuple[Requirement, ...]

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a Node of this name and these labels meets every requirement."""
        for requirement in self.requirements:
            if not requirement.matches(name if requirement.field else labels.get(requirement.key)):
                return False
        return bool(self.requirements)


class Selector(msgspec.Struct, frozen=True, gc=False):
    """A compiled NodeSelector."""

    terms: tuple[Term, ...] = ()
    text: str = ""
    """All requirements of all terms, sorted by key, as Go's `labels.Selector.String` prints them.

    It only ranks pools. It says neither which requirements form a term nor which of them are fields.
    """

    @property
    def matches_nothing(self) -> bool:
        """Whether it has terms, and all are empty."""
        return bool(self.terms) and not any(term.requirements for term in self.terms)

    def match(self, name: str, labels: Mapping[str, str]) -> int | None:
        """How many requirements the best matching term has; None if no term matches.

        The best term is the one with the most requirements. Without terms every Node matches, with 0.
        """
        if not self.terms:
            return 0
        return max(
            (len(term.requirements) for term in self.terms if term.matches(name, labels)), default=None
        )

    def __str__(self) -> str:
        return self.text


def compile_selector(raw: Any) -> Selector:
    """Compile a decoded core/v1 NodeSelector, whatever it holds; null counts as absent everywhere.

    Raises:
        InvalidSelector: it breaks the rules. Each reason names the field below the selector, such as
            `nodeSelectorTerms[0].matchExpressions[1].operator`, its value, and what would be right.
    """
    reasons: list[str] = _excess(raw)
    terms = () if reasons else _compile(raw, reasons)
    if reasons:
        raise InvalidSelector(reasons)
    requirements = [requirement for term in terms for requirement in term.requirements]
    requirements.sort(key=lambda requirement: requirement.key)
    return Selector(terms, ",".join(map(str, requirements)))


def _excess(raw: Any) -> list[str]:
    """The reason why the selector is too large, if it is. What isn't shaped like a selector has no size."""
    terms = _entries(raw, "nodeSelectorTerms")
    if len(terms) > MOST_TERMS:
        return [f"nodeSelectorTerms: {len(terms)} terms are too many; use {MOST_TERMS} at most"]
    lists = [_entries(term, key) for term in terms for key in ("matchExpressions", "matchFields")]
    count = sum(map(len, lists))
    if count > MOST_REQUIREMENTS:
        return [f"nodeSelectorTerms: {count} requirements are too many; use {MOST_REQUIREMENTS} at most"]
    values = sum(len(_entries(requirement, "values")) for found in lists for requirement in found)
    if values > MOST_VALUES:
        return [f"nodeSelectorTerms: {values} values are too many; use {MOST_VALUES} at most"]
    return []


def _entries(parent: Any, key: str) -> list[Any]:
    found = parent.get(key) if isinstance(parent, dict) else None
    return found if isinstance(found, list) else []


def _compile(raw: Any, reasons: list[str]) -> tuple[Term, ...]:
    if not isinstance(raw, dict):
        reasons.append(f"nodeSelectorTerms: missing, since the selector is {quote(raw)} instead of an object")
        return ()
    terms = []
    for at, term in _items(raw, "nodeSelectorTerms", "nodeSelectorTerms", reasons):
        if not isinstance(term, dict | None):
            reasons.append(
                f"{at}: {quote(term)} is no term, which is an object with matchExpressions or matchFields"
            )
            continue
        found: list[Requirement | None] = []
        for where, entry in _items(term or {}, "matchExpressions", f"{at}.matchExpressions", reasons):
            found.append(_expression(where, entry, reasons))
        for where, entry in _items(term or {}, "matchFields", f"{at}.matchFields", reasons):
            found.append(_field(where, entry, reasons))
        terms.append(Term(tuple([requirement for requirement in found if requirement is not None])))
    return tuple(terms)


def _expression(at: str, entry: Any, reasons: list[str]) -> Requirement | None:
    """A requirement on a label. Go: `labels.NewRequirement`."""
    parts = _parts(at, entry, reasons)
    if parts is None:
        return None
    key, operator, values = parts
    if not _is_label_key(key):
        reasons.append(
            f"{at}.key: {quote(key)} is no label key that a Node can have; "
            'use one such as "topology.kubernetes.io/zone"'
        )
    wrong = _count_fault(operator, len(values))
    if wrong:
        reasons.append(f"{at}.values: {quote(list(values))}: {wrong}")
    reasons += islice(_value_faults(at, operator, values), _FAULTS)
    return Requirement(key, operator, values)


def _value_faults(at: str, operator: Operator, values: Sequence[str]) -> Iterator[str]:
    """What is wrong with the values of a requirement on a label."""
    for value in values:
        if value and not _NAME.fullmatch(value):
            yield (
                f"{at}.values: {quote(value)} is no label value: at most 63 letters, digits, '-', '_', '.', "
                "of which the first and the last are letters or digits"
            )
        elif operator in {Operator.GT, Operator.LT} and _int64(value) is None:
            yield f"{at}.values: {quote(value)} is no 64-bit integer, which {operator} compares with"


def _field(at: str, entry: Any, reasons: list[str]) -> Requirement | None:
    """A requirement on the Node's name. Go: `nodeSelectorRequirementsAsFieldSelector`, `ValidateNodeName`."""
    parts = _parts(at, entry, reasons)
    if parts is None:
        return None
    key, operator, values = parts
    if key != NAME_FIELD:
        reasons.append(
            f"{at}.key: {quote(key)} is no field that can be matched; the only one is {NAME_FIELD!r}"
        )
    if operator not in {Operator.IN, Operator.NOT_IN}:
        reasons.append(f"{at}.operator: {quote(operator)} can't be used on a field; use In or NotIn")
    elif len(values) != 1:
        reasons.append(f"{at}.values: {quote(list(values))}: on a field {operator} takes exactly one value")
    odd = (value for value in values if len(value) > 253 or not _SUBDOMAIN.fullmatch(value))
    reasons += [f"{at}.values: {quote(value)} can be no Node's name" for value in islice(odd, _FAULTS)]
    return Requirement(key, operator, values, field=True)


def _parts(at: str, entry: Any, reasons: list[str]) -> tuple[str, Operator, tuple[str, ...]] | None:
    """Key, operator and values of a requirement, if they are of the right types at least."""
    if not isinstance(entry, dict):
        reasons.append(
            f"{at}: {quote(entry)} is no requirement, which is an object with key, operator and values"
        )
        return None
    faults = len(reasons)
    key, operator = entry.get("key"), entry.get("operator")
    if not isinstance(key, str):
        reasons.append(f"{at}.key: {quote(key)} is not a string; name a label")
    if not isinstance(operator, str) or operator not in _OPERATORS:
        reasons.append(f"{at}.operator: {quote(operator)} is no operator; use {_ALTERNATIVES}")
    values = [value for _, value in _items(entry, "values", f"{at}.values", reasons)]
    odd = (value for value in values if not isinstance(value, str))
    reasons += [
        f"{at}.values: {quote(value)} is not a string; write it in quotation marks"
        for value in islice(odd, _FAULTS)
    ]
    return None if len(reasons) > faults else (str(key), Operator(str(operator)), tuple(values))


def _items(parent: dict[str, Any], key: str, path: str, reasons: list[str]) -> Iterator[tuple[str, Any]]:
    """The entries of the list `parent[key]`, each with its path, until there are enough reasons.

    Of anything else none, and a reason.
    """
    found = parent.get(key)
    if found is None:
        return
    if not isinstance(found, list):
        reasons.append(f"{path}: {quote(found)} is not a list")
        return
    for number, entry in enumerate(found):
        if len(reasons) >= _FAULTS:
            return
        yield f"{path}[{number}]", entry


def _count_fault(operator: Operator, count: int) -> str:
    """What is wrong with this number of values, if anything."""
    match operator:
        case Operator.IN | Operator.NOT_IN:
            return "" if count else f"{operator} needs at least one value"
        case Operator.EXISTS | Operator.DOES_NOT_EXIST:
            return f"{operator} takes no values" if count else ""
        case _:
            return "" if count == 1 else f"{operator} takes exactly one value, an integer"


def _is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return bool(_NAME.fullmatch(name)) and (
        not slash or (len(prefix) <= 253 and bool(_SUBDOMAIN.fullmatch(prefix)))
    )


def _int64(text: str) -> int | None:
    """As Go's `strconv.ParseInt(text, 10, 64)`; None where that fails."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if number in _INT64 else None
