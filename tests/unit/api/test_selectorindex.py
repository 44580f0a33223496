from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nodeipam.api.nodeselector import Requirement, Selector, compile_selector
from nodeipam.api.selectorindex import SelectorIndex

KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from(["1", "2", "x", ""])
SOME = st.lists(VALUES, min_size=1, max_size=3)
NAMES = st.sampled_from(["n1", "n2"])


def entry(key: str, operator: str, values: list[str]) -> dict[str, Any]:
    """One requirement."""
    return {"key": key, "operator": operator, "values": values}


EXPRESSIONS = st.one_of(
    st.builds(entry, KEYS, st.sampled_from(["In", "NotIn"]), SOME),
    st.builds(entry, KEYS, st.sampled_from(["Exists", "DoesNotExist"]), st.just([])),
    st.builds(entry, KEYS, st.sampled_from(["Gt", "Lt"]), st.sampled_from([["1"], ["2"]])),
)
FIELDS = st.builds(
    entry, st.just("metadata.name"), st.sampled_from(["In", "NotIn"]), NAMES.map(lambda name: [name])
)
TERMS = st.fixed_dictionaries(
    {
        "matchExpressions": st.lists(EXPRESSIONS, max_size=3),
        "matchFields": st.lists(FIELDS, max_size=1),
    }
)
SELECTORS = st.none() | st.lists(TERMS, max_size=3).map(
    lambda terms: compile_selector({"nodeSelectorTerms": terms})
)
NODES = st.tuples(NAMES, st.dictionaries(KEYS, VALUES))


def brute_force(selectors: dict[int, Selector | None], name: str, labels: dict[str, str]) -> dict[int, int]:
    """The answer of each selector that matches."""
    answers = {key: 0 if one is None else one.match(name, labels) for key, one in selectors.items()}
    return {key: matched for key, matched in answers.items() if matched is not None}


class TestMatch:
    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), SELECTORS), max_size=12), NODES)
    def test_agrees_with_asking_each(
        self, changes: list[tuple[int, bool, Selector | None]], node: tuple[str, dict[str, str]]
    ) -> None:
        """After any additions, replacements and removals the answer is that of all selectors asked."""
        index: SelectorIndex[int] = SelectorIndex()
        held: dict[int, Selector | None] = {}
        for key, goes, selector in changes:
            if goes:
                index.remove(key)
                held.pop(key, None)
            else:
                index.add(key, selector)
                held[key] = selector
        found = index.match(*node)
        assert brute_force(held, *node) == dict(found)
        assert len(found) == len(dict(found))
        assert (len(held), set(held)) == (len(index), {key for key in range(6) if key in index})

    def test_nothing_is_left(self) -> None:
        """An index whose selectors are all removed matches nothing, and can be filled again."""
        index: SelectorIndex[str] = SelectorIndex()
        selector = compile_selector(
            {"nodeSelectorTerms": [{"matchExpressions": [entry("a", "In", ["1", "2"])]}]}
        )
        for _ in range(2):
            index.add("p", selector)
            index.add("q", None)
            assert {"p": 1, "q": 0} == dict(index.match("n", {"a": "2"}))
            index.remove("p")
            index.remove("q")
            index.remove("never there")
            assert [] == index.match("n", {"a": "2"})
        assert not len(index)


class TestCost:
    def test_other_pools_terms_are_not_looked_at(self, monkeypatch: Any) -> None:
        """With 1,000 selectors of 10 terms, all for Linux, a Node is compared with a few terms."""
        index: SelectorIndex[int] = SelectorIndex()
        for pool in range(1_000):
            found = [
                {
                    "matchExpressions": [
                        entry("os", "In", ["linux"]),
                        entry("group", "In", [f"g{pool}-{term}"]),
                    ]
                }
                for term in range(10)
            ]
            index.add(pool, compile_selector({"nodeSelectorTerms": found}))
        compared = 0
        matches = Requirement.matches

        def counted(self: Requirement, value: str | None) -> bool:
            nonlocal compared
            compared += 1
            return matches(self, value)

        monkeypatch.setattr(Requirement, "matches", counted)
        assert [(17, 2)] == index.match("n", {"os": "linux", "group": "g17-3", "zone": "a"})
        assert compared <= 4
