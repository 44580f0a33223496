from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeipam.api.cidr import format_cidr
from nodeipam.api.clustercidr import (
    CLUSTER_CIDRS,
    FINALIZER,
    ClusterCIDR,
    Condition,
    InvalidClusterCIDR,
    PoolSpec,
    validate,
)

EXAMPLES = Path(__file__).parents[3] / "manifests" / "examples"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def stored(spec: Any, **rest: Any) -> ClusterCIDR:
    """What is decoded of an object that holds `spec`."""
    text = json.dumps({"apiVersion": "x/v1", "metadata": {"name": "pool", "uid": "u"}, "spec": spec, **rest})
    return msgspec.json.decode(text, type=ClusterCIDR)


def good(**spec: Any) -> PoolSpec:
    """What `spec` says, which is valid and has 8 host bits if nothing else is said."""
    return validate(stored({"perNodeHostBits": 8, **spec}))


def faults(spec: Any) -> list[str]:
    """The reasons why `spec`, which isn't valid, isn't."""
    with pytest.raises(InvalidClusterCIDR) as refused:
        validate(stored(spec))
    return list(refused.value.reasons)


def outcome(pool: ClusterCIDR) -> PoolSpec | tuple[str, ...]:
    """What is valid, or the reasons why it isn't."""
    try:
        return validate(pool)
    except InvalidClusterCIDR as fault:
        return fault.reasons


class TestDecoding:
    def test_metadata(self) -> None:
        """Name, deletion and finalizer are read, in an object without spec and status too."""
        pool = msgspec.json.decode(
            json.dumps(
                {
                    "metadata": {
                        "name": "p",
                        "deletionTimestamp": "2026-01-01T00:00:00Z",
                        "finalizers": ["x", FINALIZER],
                    }
                }
            ),
            type=ClusterCIDR,
        )
        assert "p" == CLUSTER_CIDRS.request(pool).name
        assert (True, True) == (pool.terminating, pool.finalized)
        assert (False, False) == (stored({}).terminating, stored({}).finalized)

    @settings(deadline=None)
    @given(JSON, JSON)
    def test_anything(self, spec: Any, status: Any) -> None:
        """Whatever JSON is stored is decoded, and it is either valid or has reasons."""
        pool = stored(spec, status=status)
        assert isinstance(pool.conditions, tuple)
        assert outcome(pool)

    @settings(deadline=None)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "perNodeHostBits": st.integers(-2, 130) | JSON,
                "ipv4": st.sampled_from(["10.0.0.0/16", "10.1.2.3/30", "fd00::/64", ""]) | JSON,
                "ipv6": st.sampled_from(["fd00::/64", "fd00::1/126", "10.0.0.0/8", "::/0"]) | JSON,
                "nodeSelector": st.fixed_dictionaries(
                    {}, optional={"nodeSelectorTerms": JSON | st.lists(JSON)}
                )
                | JSON,
            },
        )
    )
    def test_what_is_valid_can_be_served(self, spec: dict[str, Any]) -> None:
        """In a valid ClusterCIDR at least one block fits into every range, and IPv4 comes first."""
        found = outcome(stored(spec))
        assert found
        if isinstance(found, PoolSpec):
            assert found.ranges
            assert all(0 <= found.host_bits <= inside.host_bits for inside in found.ranges)
            assert sorted(inside.family for inside in found.ranges) == [
                inside.family for inside in found.ranges
            ]

    def test_conditions(self) -> None:
        """Conditions are read from the status, and what is none is left out."""
        entry = {
            "type": "Ready",
            "status": "True",
            "reason": "Allocating",
            "observedGeneration": 3,
            "extra": 1,
        }
        pool = stored({}, status={"conditions": [entry, {"type": 5}, "x", None]})
        assert (Condition("Ready", "True", "Allocating", observed_generation=3),) == pool.conditions
        assert () == stored({}, status={"conditions": "x"}).conditions == stored({}, status=7).conditions


class TestWhatIsServed:
    def test_dual_stack(self) -> None:
        """Both ranges are taken, IPv4 first; without nodeSelector it is a catch-all."""
        found = good(ipv6="2001:db8::/110", ipv4="10.244.0.0/16", nodeSelector=None)
        assert ["10.244.0.0/16", "2001:db8::/110"] == [format_cidr(inside) for inside in found.ranges]
        assert (8, None, (), ()) == (found.host_bits, found.selector, found.warnings, found.notes)

    @pytest.mark.parametrize("absent", ["", None])
    def test_an_empty_range_is_none(self, absent: str | None) -> None:
        """ "" counts as absent, as typed clients write it."""  # noqa: D210
        found = good(ipv4="10.0.0.0/16", ipv6=absent)
        assert ["10.0.0.0/16"] == [format_cidr(inside) for inside in found.ranges]

    def test_host_bits_in_the_range_are_masked(self) -> None:
        """10.1.2.3/16 is taken for 10.1.0.0/16, with a warning."""
        found = good(ipv4="10.1.2.3/16", ipv6="fd00::1/64")
        assert ["10.1.0.0/16", "fd00::/64"] == [format_cidr(inside) for inside in found.ranges]
        assert (
            'spec.ipv4: "10.1.2.3/16" is used as 10.1.0.0/16; its host bits are ignored',
            'spec.ipv6: "fd00::1/64" is used as fd00::/64; its host bits are ignored',
        ) == found.warnings

    @pytest.mark.parametrize("bits,addresses", [(0, 1), (1, 2), (2, 4), (3, 8)])
    def test_d20_few_host_bits(self, bits: int, addresses: int) -> None:
        """D-20: 0 to 3 host bits are served where they are stored, with a warning."""
        found = good(perNodeHostBits=bits, ipv4="10.0.0.0/24")
        (warning,) = found.warnings
        assert bits == found.host_bits
        assert f"spec.perNodeHostBits: {bits} gives a Node no more than {addresses} pod addresses" in warning

    def test_d21_wide_ranges(self) -> None:
        """D-21: an IPv6 range of any size is served, with any block that fits."""
        assert 4 == good(perNodeHostBits=4, ipv6="fd00::/8").host_bits
        assert 128 == good(perNodeHostBits=120, ipv6="fd00::/8").host_bits + 8

    def test_a_range_of_one_block(self) -> None:
        """A block may fill the range."""
        assert 8 == good(perNodeHostBits=8, ipv4="10.0.0.0/24", ipv6="fd00::/120").host_bits

    def test_d16_selectors(self) -> None:
        """D-16: a selector without terms is one, and not a catch-all."""
        found = good(ipv4="10.0.0.0/16", nodeSelector={"nodeSelectorTerms": []})
        assert found.selector is not None
        assert 0 == found.selector.match("n", {})

    def test_a_selector_of_empty_terms(self) -> None:
        """A selector that can't match anything is served with a warning and what was probably meant."""
        found = good(ipv4="10.0.0.0/16", nodeSelector={"nodeSelectorTerms": [{}]})
        (warning,) = found.warnings
        assert "leave out nodeSelector to serve every Node" in warning

    def test_notes(self) -> None:
        """Where a selector means something else than it did elsewhere, it is said."""
        exists = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
        named = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
        found = good(ipv4="10.0.0.0/16", nodeSelector={"nodeSelectorTerms": [exists, named, {}]})
        assert (
            "the 3 terms of spec.nodeSelector are ORed, not ANDed",
            "matchFields in spec.nodeSelector ask for the Node's name, not for a label",
            "an empty term in spec.nodeSelector matches no Node, not every Node",
        ) == found.notes
        assert () == good(ipv4="10.0.0.0/16", nodeSelector={"nodeSelectorTerms": [exists]}).notes


class TestWhatIsNot:
    @pytest.mark.parametrize(
        "spec,reason",
        [
            (None, "spec is missing; it needs perNodeHostBits, and ipv4 or ipv6"),
            ([], "spec [] is not an object"),
            ("x", 'spec "x" is not an object'),
            ({"perNodeHostBits": 8}, 'spec has no range; it needs ipv4, such as "10.244.0.0/16"'),
            ({"perNodeHostBits": 8, "ipv4": "", "ipv6": None}, "spec has no range"),
            ({"ipv4": "10.0.0.0/16"}, "spec.perNodeHostBits is missing"),
            ({"perNodeHostBits": None, "ipv4": "10.0.0.0/16"}, "spec.perNodeHostBits is missing"),
            ({"perNodeHostBits": "8", "ipv4": "10.0.0.0/16"}, 'spec.perNodeHostBits "8" is not an integer'),
            ({"perNodeHostBits": 8.5, "ipv4": "10.0.0.0/16"}, "spec.perNodeHostBits 8.5 is not an integer"),
            ({"perNodeHostBits": True, "ipv4": "10.0.0.0/16"}, "spec.perNodeHostBits true is not an integer"),
            (
                {"perNodeHostBits": -1, "ipv4": "10.0.0.0/16"},
                "spec.perNodeHostBits: -1 is negative; use 4 to 16",
            ),
            (
                {"perNodeHostBits": 20, "ipv4": "10.0.0.0/16"},
                "20 is more than 10.0.0.0/16 has, 16; use 4 to 16",
            ),
            (
                {"perNodeHostBits": 17, "ipv4": "10.0.0.0/16", "ipv6": "fd00::/64"},
                "17 is more than 10.0.0.0/16 has",
            ),
            (
                {"perNodeHostBits": 9, "ipv4": "10.0.0.0/16", "ipv6": "fd00::/120"},
                "9 is more than fd00::/120 has, 8",
            ),
            (
                {"perNodeHostBits": 3, "ipv4": "10.0.0.0/30"},
                "3 is more than 10.0.0.0/30 has, 2; use 2, or a wider range",
            ),
            ({"perNodeHostBits": 10**30, "ipv6": "fd00::/8"}, "is more than fd00::/8 has, 120; use 4 to 120"),
            ({"perNodeHostBits": 8, "ipv4": 10}, "spec.ipv4: 10 is not a string"),
            ({"perNodeHostBits": 8, "ipv4": ["10.0.0.0/16"]}, 'spec.ipv4: ["10.0.0.0/16"] is not a string'),
            ({"perNodeHostBits": 8, "ipv4": "10.0.0.0"}, 'spec.ipv4: "10.0.0.0" is no CIDR'),
            ({"perNodeHostBits": 8, "ipv4": "010.0.0.0/8"}, "leading zeros"),
            ({"perNodeHostBits": 8, "ipv4": "fd00::/8"}, "is an IPv6 range; it belongs into spec.ipv6"),
            ({"perNodeHostBits": 8, "ipv6": "10.0.0.0/8"}, "is an IPv4 range; it belongs into spec.ipv4"),
            (
                {"perNodeHostBits": 8, "ipv6": "::ffff:10.0.0.0/104"},
                'written as IPv6; write it as IPv4, as in "10.0.0.0/8"',
            ),
            (
                {"perNodeHostBits": 8, "ipv6": "::/64"},
                '"::/64" contains ::ffff:0.0.0.0/96, which stands for IPv4',
            ),
            (
                {"perNodeHostBits": 8, "ipv4": "10.0.0.0/16", "nodeSelector": "x"},
                "spec.nodeSelector.nodeSelectorTerms",
            ),
            (
                {"perNodeHostBits": 8, "ipv4": "10.0.0.0/16", "nodeSelector": []},
                "spec.nodeSelector.nodeSelectorTerms",
            ),
        ],
    )
    def test_one_fault(self, spec: Any, reason: str) -> None:
        """A fault is named with its field, its value and what would be right."""
        (found,) = faults(spec)
        assert reason in found

    def test_all_faults_at_once(self) -> None:
        """Nobody has to mend one fault to learn of the next."""
        found = faults(
            {
                "perNodeHostBits": -1,
                "ipv4": "10.0.0.0/99",
                "ipv6": 6,
                "nodeSelector": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Inn"}]}]
                },
            }
        )
        assert ["spec.ipv4", "spec.ipv6", "spec.perNodeHostBits"] == [
            reason.partition(":")[0] for reason in found[:3]
        ]
        assert (
            'spec.nodeSelector.nodeSelectorTerms[0].matchExpressions[0].operator: "Inn" is no operator; '
            "use In, NotIn, Exists, DoesNotExist, Gt or Lt"
        ) == found[3]

    def test_the_text_fits_a_condition(self) -> None:
        """A thousand faults make a message of the first few, and a number of others."""
        bad = [{"matchExpressions": [{"key": "a", "operator": "x" * 1000}]}] * 1_000
        with pytest.raises(InvalidClusterCIDR) as refused:
            validate(
                stored(
                    {"perNodeHostBits": 8, "ipv4": "10.0.0.0/16", "nodeSelector": {"nodeSelectorTerms": bad}}
                )
            )
        assert 50 == len(refused.value.reasons)
        assert str(refused.value).endswith("; and at least 42 more")
        assert len(str(refused.value)) < 4_096


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_valid(path: Path) -> None:
    """Every example that we ship is served without a warning."""
    documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    assert documents
    for document in documents:
        assert not validate(msgspec.convert(document, ClusterCIDR)).warnings
