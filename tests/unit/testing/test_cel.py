from __future__ import annotations

from typing import Any

import pytest

from nodeipam.testing.cel import CELError, compile_rule


@pytest.mark.parametrize(
    "rule, value",
    [
        ("1 + 2 * 3 - 4", 3),
        ("(1 + 2) * 3", 9),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("!false && 1 < 2 || false", True),
        ("true ? 1 : false ? 2 : 3", 1),
        ("false ? 1 : false ? 2 : 3", 3),
        ("'a' + \"b\" == 'ab'", True),
        ("'it\\'s'", "it's"),
        ("2 in [1, 2]", True),
        ("size('abc') + 'ab'.size()", 5),
        ("has(self.x) && !has(self.y)", True),
        ("has(self.o.p)", True),
        ("self.l[1]", 5),
        ("true || self.none", True),
        ("self.none || true", True),
        ("self.none && false", False),
        ("cidr('10.1.2.3/16').prefixLength()", 16),
        ("cidr('2001:db8::/64').ip().family()", 6),
        ("isCIDR('10.0.0.0') || isCIDR('10.0.0.0/016') || isCIDR('010.0.0.0/8')", False),
        ("self.l.hasValue", None),
    ],
)
def test_values(rule: str, value: Any) -> None:
    """A rule has the value that CEL gives it; None: it has none."""
    program = compile_rule(rule)
    variables = {"self": {"x": 1, "o": {"p": 2}, "l": [4, 5]}}
    if value is None:
        with pytest.raises(CELError):
            program(variables)
    else:
        assert value == program(variables)


@pytest.mark.parametrize("rule", ["", "1 +", "(1", "a ~ b", "1 2", "self.all(x, x > 0)", "has(self)", "f(1)"])
def test_unreadable(rule: str) -> None:
    """What isn't understood is refused when it is compiled."""
    with pytest.raises(CELError):
        compile_rule(rule)
