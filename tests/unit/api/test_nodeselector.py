from __future__ import annotations

from typing import Any

import pytest

from nodeipam.api.nodeselector import InvalidSelector, Selector, compile_selector

LABELS = {"zone": "a", "cpus": "8", "arch": "amd64", "empty": "", "huge": "9223372036854775808"}


def need(key: str, operator: str, *values: str) -> dict[str, Any]:
    """One requirement."""
    return {"key": key, "operator": operator, "values": list(values)}


def terms(*found: dict[str, Any] | None) -> Selector:
    """The selector with these terms."""
    return compile_selector({"nodeSelectorTerms": list(found)})


def expressions(*found: Any) -> dict[str, Any]:
    """A term of requirements on labels."""
    return {"matchExpressions": list(found)}


def fields(*found: Any) -> dict[str, Any]:
    """A term of requirements on the Node's name."""
    return {"matchFields": list(found)}


class TestRequirements:
    @pytest.mark.parametrize(
        "requirement,matched",
        [
            (need("zone", "In", "a"), 1),
            (need("zone", "In", "b", "a"), 1),
            (need("zone", "In", "b"), None),
            (need("absent", "In", "a"), None),
            (need("absent", "In", ""), None),
            (need("empty", "In", ""), 1),
            (need("zone", "NotIn", "b"), 1),
            (need("zone", "NotIn", "b", "a"), None),
            (need("absent", "NotIn", "a"), 1),
            (need("empty", "NotIn", ""), None),
            (need("zone", "Exists"), 1),
            (need("empty", "Exists"), 1),
            (need("absent", "Exists"), None),
            (need("zone", "DoesNotExist"), None),
            (need("empty", "DoesNotExist"), None),
            (need("absent", "DoesNotExist"), 1),
            (need("cpus", "Gt", "7"), 1),
            (need("cpus", "Gt", "8"), None),
            (need("cpus", "Gt", "007"), 1),
            (need("cpus", "Lt", "10"), 1),
            (need("cpus", "Lt", "8"), None),
            (need("absent", "Gt", "0"), None),
            (need("absent", "Lt", "0"), None),
            (need("zone", "Gt", "0"), None),
            (need("zone", "Lt", "9"), None),
            (need("empty", "Lt", "9"), None),
            (need("huge", "Gt", "0"), None),
            (need("huge", "Lt", "9223372036854775807"), None),
        ],
    )
    def test_on_labels(self, requirement: dict[str, Any], matched: int | None) -> None:
        """A requirement on a label holds exactly when the scheduler says so."""
        assert matched == terms(expressions(requirement)).match("node-1", LABELS)

    @pytest.mark.parametrize(
        "requirement,matched",
        [
            (need("metadata.name", "In", "node-1"), 1),
            (need("metadata.name", "In", "node-2"), None),
            (need("metadata.name", "NotIn", "node-1"), None),
            (need("metadata.name", "NotIn", "node-2"), 1),
        ],
    )
    def test_d16_on_the_name(self, requirement: dict[str, Any], matched: int | None) -> None:
        """D-16: matchFields ask for the Node's name, whatever its labels say."""
        labels = {"metadata.name": "node-2"}
        assert matched == terms(fields(requirement)).match("node-1", labels)


class TestTerms:
    def test_d16_are_ored(self) -> None:
        """D-16: one matching term is enough."""
        selector = terms(expressions(need("zone", "In", "b")), expressions(need("arch", "Exists")))
        assert 1 == selector.match("node-1", LABELS)
        assert selector.match("node-1", {"zone": "c"}) is None

    def test_requirements_are_anded(self) -> None:
        """Within a term, expressions and fields all have to hold."""
        selector = terms(
            {
                **expressions(need("zone", "In", "a")),
                **fields(need("metadata.name", "In", "node-1")),
            }
        )
        assert 2 == selector.match("node-1", LABELS)
        assert selector.match("node-2", LABELS) is None
        assert selector.match("node-1", {}) is None

    def test_d16_the_best_term_counts(self) -> None:
        """D-16: what counts for P0 is the matching term with the most requirements, wherever it stands."""
        selector = terms(
            expressions(need("zone", "Exists")),
            expressions(need("zone", "Exists"), need("arch", "Exists")),
            expressions(need("zone", "Exists"), need("arch", "Exists"), need("absent", "Exists")),
        )
        assert 2 == selector.match("node-1", LABELS)

    @pytest.mark.parametrize(
        "empty", [{}, None, {"matchExpressions": []}, {"matchExpressions": None, "matchFields": []}]
    )
    def test_d16_an_empty_term_matches_nothing(self, empty: dict[str, Any] | None) -> None:
        """D-16: a term without requirements matches no Node, and does no harm beside another."""
        assert terms(empty).match("node-1", LABELS) is None
        assert terms(empty).matches_nothing
        beside = terms(empty, expressions(need("zone", "Exists")))
        assert 1 == beside.match("node-1", LABELS)
        assert not beside.matches_nothing

    @pytest.mark.parametrize("raw", [{}, {"nodeSelectorTerms": None}, {"nodeSelectorTerms": []}])
    def test_d16_no_terms_match_every_node(self, raw: dict[str, Any]) -> None:
        """D-16: a selector without terms selects all Nodes, with no requirement matched."""
        selector = compile_selector(raw)
        assert 0 == selector.match("node-1", {})
        assert not selector.matches_nothing


class TestText:
    @pytest.mark.parametrize(
        "requirement,text",
        [
            (need("a", "In", "x"), "a in (x)"),
            (need("a", "In", "y", "x", "Z"), "a in (Z,x,y)"),
            (need("a", "In", "x", "x"), "a in (x,x)"),
            (need("a", "In", ""), "a in ()"),
            (need("a", "NotIn", "z", "y"), "a notin (y,z)"),
            (need("a", "Exists"), "a"),
            (need("a", "DoesNotExist"), "!a"),
            (need("a", "Gt", "5"), "a>5"),
            (need("a", "Lt", "05"), "a<05"),
        ],
    )
    def test_of_a_requirement(self, requirement: dict[str, Any], text: str) -> None:
        """A requirement is printed as Go prints a label selector's."""
        assert text == terms(expressions(requirement)).text == str(terms(expressions(requirement)))

    def test_of_all_terms_together(self) -> None:
        """All requirements of all terms stand in one row, by key, and names as if they were labels."""
        selector = terms(
            {**expressions(need("d", "Gt", "5")), **fields(need("metadata.name", "In", "n"))},
            {},
            expressions(need("c", "DoesNotExist"), need("d", "Exists"), need("a", "In", "y", "x")),
        )
        assert "a in (x,y),!c,d>5,d,metadata.name in (n)" == selector.text

    def test_of_none(self) -> None:
        """A selector without requirements has an empty text."""
        assert "" == terms().text == terms({}).text


WRONG = "nodeSelectorTerms[0].matchExpressions[0]"


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "requirement,reason",
        [
            (need("a", "Inn", "x"), f'{WRONG}.operator: "Inn" is no operator; use In, NotIn, Exists'),
            (need("a", "in", "x"), f'{WRONG}.operator: "in" is no operator'),
            ({"key": "a"}, f"{WRONG}.operator: null is no operator"),
            ({"key": "a", "operator": ["In"]}, f'{WRONG}.operator: ["In"] is no operator'),
            ({"operator": "Exists"}, f"{WRONG}.key: null is not a string"),
            ({"key": 5, "operator": "Exists"}, f"{WRONG}.key: 5 is not a string"),
            (need("", "Exists"), f'{WRONG}.key: "" is no label key'),
            (need("a/b/c", "Exists"), f'{WRONG}.key: "a/b/c" is no label key'),
            (need("A.com/b", "Exists"), f'{WRONG}.key: "A.com/b" is no label key'),
            (need("/b", "Exists"), f'{WRONG}.key: "/b" is no label key'),
            (need("-b", "Exists"), f'{WRONG}.key: "-b" is no label key'),
            (need("a" * 64, "Exists"), "is no label key"),
            (need("b\n", "Exists"), f'{WRONG}.key: "b\\n" is no label key'),
            (need("a", "In"), f"{WRONG}.values: []: In needs at least one value"),
            (need("a", "NotIn"), f"{WRONG}.values: []: NotIn needs at least one value"),
            (need("a", "Exists", "x"), f'{WRONG}.values: ["x"]: Exists takes no values'),
            (need("a", "DoesNotExist", "x"), f'{WRONG}.values: ["x"]: DoesNotExist takes no values'),
            (need("a", "Gt"), f"{WRONG}.values: []: Gt takes exactly one value"),
            (need("a", "Lt", "1", "2"), f'{WRONG}.values: ["1", "2"]: Lt takes exactly one value'),
            (need("a", "Gt", "x"), f'{WRONG}.values: "x" is no 64-bit integer'),
            (need("a", "Gt", "1_0"), f'{WRONG}.values: "1_0" is no 64-bit integer'),
            (need("a", "Gt", "٣"), f'{WRONG}.values: "٣" is no label value'),
            (need("a", "Gt", "-5"), f'{WRONG}.values: "-5" is no label value'),
            (need("a", "Gt", ""), f'{WRONG}.values: "" is no 64-bit integer'),
            (need("a", "Lt", "9223372036854775808"), "is no 64-bit integer"),
            (need("a", "In", "x y"), f'{WRONG}.values: "x y" is no label value'),
            (need("a", "In", "x" * 64), "is no label value"),
            ({"key": "a", "operator": "In", "values": [5]}, f"{WRONG}.values: 5 is not a string"),
            ({"key": "a", "operator": "In", "values": "x"}, f'{WRONG}.values: "x" is not a list'),
            ("a", f'{WRONG}: "a" is no requirement'),
            (None, f"{WRONG}: null is no requirement"),
        ],
    )
    def test_expressions(self, requirement: Any, reason: str) -> None:
        """What Kubernetes refuses is refused, with its place, its value and what would be right."""
        with pytest.raises(InvalidSelector) as refused:
            terms(expressions(requirement))
        (found,) = refused.value.reasons
        assert reason in found

    @pytest.mark.parametrize(
        "requirement,reason",
        [
            (need("name", "In", "x"), '.key: "name" is no field that can be matched'),
            (
                need("metadata.name", "Exists"),
                '.operator: "Exists" can\'t be used on a field; use In or NotIn',
            ),
            (need("metadata.name", "In"), ".values: []: on a field In takes exactly one value"),
            (
                need("metadata.name", "NotIn", "x", "y"),
                '.values: ["x", "y"]: on a field NotIn takes exactly one',
            ),
            (need("metadata.name", "In", "Node_1"), '.values: "Node_1" can be no Node\'s name'),
            (need("metadata.name", "In", "a" * 254), "can be no Node's name"),
        ],
    )
    def test_fields(self, requirement: dict[str, Any], reason: str) -> None:
        """On fields only the name can be asked for, and only with In and NotIn and one value."""
        with pytest.raises(InvalidSelector) as refused:
            terms(fields(requirement))
        (found,) = refused.value.reasons
        assert f"nodeSelectorTerms[0].matchFields[0]{reason}"[-len(reason) :] in found

    @pytest.mark.parametrize(
        "raw,reason",
        [
            (5, "nodeSelectorTerms: missing, since the selector is 5 instead of an object"),
            ([], "nodeSelectorTerms: missing, since the selector is [] instead of an object"),
            ({"nodeSelectorTerms": {}}, "nodeSelectorTerms: {} is not a list"),
            ({"nodeSelectorTerms": ["x"]}, 'nodeSelectorTerms[0]: "x" is no term'),
            (
                {"nodeSelectorTerms": [{"matchFields": 1}]},
                "nodeSelectorTerms[0].matchFields: 1 is not a list",
            ),
        ],
    )
    def test_shapes(self, raw: Any, reason: str) -> None:
        """What isn't shaped like a selector is refused by name."""
        with pytest.raises(InvalidSelector) as refused:
            compile_selector(raw)
        assert reason in refused.value.reasons[0]

    def test_every_fault_is_named(self) -> None:
        """One wrong requirement hides no other, and a valid one beside them doesn't save the selector."""
        with pytest.raises(InvalidSelector) as refused:
            terms(
                expressions(need("zone", "Exists"), need("a", "Inn"), need("-", "Gt", "x")),
                fields(need("x", "Lt")),
            )
        assert [
            "nodeSelectorTerms[0].matchExpressions[1].operator",
            "nodeSelectorTerms[0].matchExpressions[2].key",
            "nodeSelectorTerms[0].matchExpressions[2].values",
            "nodeSelectorTerms[1].matchFields[0].key",
            "nodeSelectorTerms[1].matchFields[0].operator",
        ] == [reason.partition(":")[0] for reason in refused.value.reasons]


class TestTooLarge:
    @pytest.mark.parametrize(
        "found,reason",
        [
            ([{}] * 1_001, "1001 terms are too many; use 1000 at most"),
            (
                [expressions(*[need("a", "Exists")] * 1_000), fields(*[None] * 1_001)],
                "2001 requirements are too many; use 2000 at most",
            ),
            ([expressions(need("a", "In", *["b"] * 10_001))], "10001 values are too many; use 10000 at most"),
        ],
    )
    def test_is_refused(self, found: list[Any], reason: str) -> None:
        """A selector that would block the process is refused, and no other fault looked for."""
        with pytest.raises(InvalidSelector) as refused:
            terms(*found)
        assert (f"nodeSelectorTerms: {reason}",) == refused.value.reasons

    def test_the_largest(self) -> None:
        """As many of each as there may be are compiled."""
        requirement = need("zone", "In", *"abcde")
        found = terms(*[expressions(requirement, requirement)] * 1_000)
        assert (1_000, 2) == (len(found.terms), found.match("n", LABELS))

    @pytest.mark.parametrize(
        "found",
        [
            [7] * 1_000,
            [expressions(*[7] * 2_000)],
            [expressions(need("a", "In", *["-"] * 10_000))],
            [fields(need("metadata.name", "In", *["-"] * 10_000))],
            [expressions({"key": "a", "operator": "In", "values": [7] * 10_000})],
        ],
        ids=["terms", "requirements", "label values", "names", "no strings"],
    )
    def test_number_of_reasons(self, found: list[Any]) -> None:
        """Of thousands of faults some dozens are named."""
        with pytest.raises(InvalidSelector) as refused:
            terms(*found)
        assert 50 <= len(refused.value.reasons) <= 51
