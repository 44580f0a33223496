"""The part of CEL that rules of CustomResourceDefinitions use: source in, a function over JSON values out.

Read: literals, lists, `a.b`, `a[b]`, `has()`, `? :`, `||`, `&&`, `!`, comparison, `in`, `+ - * / %`, and the
functions in `_GLOBAL` and `_METHODS`. Macros (`all`, `exists`, `map`) are not; a rule that can't be read is a
`CELError` when it is compiled, never a rule that silently holds. As in CEL, `true || error` is true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

__all__ = ["CELError", "Program", "compile_rule"]

Program = Callable[[Mapping[str, Any]], Any]
"""From the variables to the value.

Raises:
    CELError: it has none, such as for a field that isn't there.
"""


class CELError(Exception):
    """A rule that can't be read, or has no value."""


class Optional(NamedTuple):
    """CEL's optional value."""

    items: tuple[Any, ...] = ()


class _Range(NamedTuple):
    """A CIDR as it was written: host bits are kept."""

    address: IPv4Address | IPv6Address
    network: IPv4Network | IPv6Network


def compile_rule(source: str) -> Program:
    """Read a rule once, to evaluate it often.

    Raises:
        CELError: it can't be read.
    """
    parser = _Parser(source)
    program = parser.expression(0)
    parser.expect("")
    return program


_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.\d+|\d+)|(?P<name>[A-Za-z_]\w*)|(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    |(?P<sign>\|\||&&|[=!<>]=|[-+*/%<>!?:.,()\[\]]))""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_BINDING = {"?": 1, "||": 2, "&&": 3} | dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 4)
_BINDING |= {"+": 5, "-": 5, "*": 6, "/": 6, "%": 6, ".": 8, "[": 8}
_PREFIX = 7


class _Parser:
    """Pratt's: each operator binds as strongly as `_BINDING` says."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens: list[tuple[str, str]] = []
        end, rest = 0, source.rstrip()
        while end < len(rest):
            match = _TOKEN.match(rest, end)
            if match is None:
                raise CELError(f"can't read the rule {source!r} from {rest[end : end + 20]!r} on")
            self.tokens.append((match.lastgroup or "", match[match.lastgroup or ""]))
            end = match.end()
        self.tokens.append(("end", ""))
        self.tokens.reverse()

    def expression(self, binding: int) -> Program:
        left = self._operand()
        while True:
            sign = self.tokens[-1][1] if self.tokens[-1][0] in {"sign", "name"} else ""
            strength = _BINDING.get(sign, 0)
            if strength <= binding:
                return left
            self.tokens.pop()
            left = self._operation(left, sign, strength)

    def expect(self, sign: str) -> None:
        kind, text = self.tokens.pop()
        if text != sign or kind == "text":
            raise CELError(f"the rule {self.source!r} has {text!r} where {sign or 'its end'!r} should be")

    def _operand(self) -> Program:  # noqa: C901 - one case for each form
        kind, text = self.tokens.pop()
        match kind, text:
            case "number", _:
                return _constant(float(text) if "." in text else int(text))
            case "text", _:
                return _constant(re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1]))
            case "name", "true" | "false" | "null":
                return _constant({"true": True, "false": False, "null": None}[text])
            case "name", "has":
                return self._has()
            case "name", _ if self.tokens[-1][1] == "(":
                return self._call(_GLOBAL, text, [])
            case "name", _:
                return lambda variables: _variable(variables, text)
            case "sign", "(":
                inner = self.expression(0)
                self.expect(")")
                return inner
            case "sign", "[":
                items = self._arguments("]")
                return lambda variables: [item(variables) for item in items]
            case "sign", "!" | "-":
                operand = self.expression(_PREFIX)
                if text == "!":
                    return lambda variables: not _truth(operand(variables))
                return lambda variables: -_number(operand(variables))
        raise CELError(f"the rule {self.source!r} has {text or 'its end'!r} where a value should be")

    def _operation(self, left: Program, sign: str, strength: int) -> Program:
        match sign:
            case "?":
                yes = self.expression(0)
                self.expect(":")
                no = self.expression(0)
                return lambda variables: (yes if _truth(left(variables)) else no)(variables)
            case ".":
                return self._member(left)
            case "[":
                key = self.expression(0)
                self.expect("]")
                return lambda variables: _item(left(variables), key(variables))
            case "||" | "&&":
                return _logical(left, self.expression(strength), decisive=sign == "||")
        right, function = self.expression(strength), _BINARY[sign]
        return lambda variables: _applied(sign, function, [left(variables), right(variables)])

    def _member(self, left: Program) -> Program:
        _, name = self.tokens.pop()
        if self.tokens[-1][1] == "(":
            return self._call(_METHODS, name, [left])
        return lambda variables: _item(left(variables), name)

    def _call(self, known: Mapping[str, Callable[..., Any]], name: str, first: list[Program]) -> Program:
        if name not in known:
            raise CELError(
                f"the rule {self.source!r} calls {name}(), which the model can't evaluate; "
                f"it knows {', '.join(sorted(known))}"
            )
        self.expect("(")
        arguments, function = first + self._arguments(")"), known[name]
        return lambda variables: _applied(name, function, [one(variables) for one in arguments])

    def _arguments(self, end: str) -> list[Program]:
        found: list[Program] = []
        while self.tokens[-1][1] != end or self.tokens[-1][0] == "text":
            if found:
                self.expect(",")
            found.append(self.expression(0))
        self.expect(end)
        return found

    def _has(self) -> Program:
        self.expect("(")
        left = self._operand()
        names: list[str] = []
        while self.tokens[-1][1] == ".":
            self.tokens.pop()
            if self.tokens[-2][1] == "(":
                left = self._member(_path(left, names))
                names = []
            else:
                names.append(self.tokens.pop()[1])
        self.expect(")")
        if not names:
            raise CELError(f"the rule {self.source!r} has has() of something that isn't a field")
        owner, last = _path(left, names[:-1]), names[-1]
        return lambda variables: last in owner(variables)


def _path(left: Program, names: list[str]) -> Program:
    def value(variables: Mapping[str, Any]) -> Any:
        found = left(variables)
        for name in names:
            found = _item(found, name)
        return found

    return value


def _constant(value: Any) -> Program:
    return lambda _: value


def _variable(variables: Mapping[str, Any], name: str) -> Any:
    if name not in variables:
        raise CELError(f"undeclared reference to '{name}'")
    return variables[name]


def _item(owner: Any, key: Any) -> Any:
    try:
        return owner[key]
    except (LookupError, TypeError):
        raise CELError(f"no such key: {key}") from None


def _logical(left: Program, right: Program, *, decisive: bool) -> Program:
    """`||` and `&&`: an error counts only where the other side doesn't decide."""

    def value(variables: Mapping[str, Any]) -> bool:
        try:
            if _truth(left(variables)) is decisive:
                return decisive
        except CELError:
            if _truth(right(variables)) is decisive:
                return decisive
            raise
        return _truth(right(variables))

    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CELError(f"{value!r} is not a bool")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CELError(f"{value!r} is not a number")
    return value


def _applied(name: str, function: Callable[..., Any], arguments: list[Any]) -> Any:
    try:
        return function(*arguments)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, re.error):
        raise CELError(f"no such overload: {name}{tuple(arguments)!r}") from None


def _cidr(text: str) -> _Range:
    address, slash, length = text.partition("/")
    network = ip_network(text, strict=False)
    if not slash or "%" in text or str(int(length)) != length:
        raise ValueError(text)
    return _Range(ip_address(address), network)


def _is_cidr(text: str) -> bool:
    try:
        _cidr(text)
    except ValueError:
        return False
    return True


def _divided(one: Any, other: Any) -> Any:
    """Towards zero, as Go divides."""
    if isinstance(one, float):
        return one / other
    return abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: _number(a) * _number(b),
    "/": _divided,
    "%": lambda a, b: a - b * _divided(a, b),
}
_GLOBAL: dict[str, Callable[..., Any]] = {
    "isCIDR": _is_cidr,
    "cidr": _cidr,
    "size": len,
    "int": int,
    "string": str,
}
_METHODS: dict[str, Callable[..., Any]] = {
    "ip": lambda found: found.address,
    "family": lambda found: found.version,
    "prefixLength": lambda found: found.network.prefixlen,
    "size": len,
    "hasValue": lambda found: bool(found.items),
    "value": lambda found: found.items[0],
    "orValue": lambda found, other: found.items[0] if found.items else other,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, part: part in text,
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
}
