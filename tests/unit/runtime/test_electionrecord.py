from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from nodeipam.runtime.electionrecord import LOCKS, RELEASED, Entry, Lock, Sighting, next_transitions

LEADER = "control-plane.alpha.kubernetes.io/leader"
KINDS = pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)


def entry(holder: str = "me", *, transitions: int = 3, released: bool = False) -> Entry:
    """Something to write."""
    return Entry(
        holder=holder,
        duration=15,
        transitions=transitions,
        acquired="2026-01-01T00:00:00Z",
        renewed="2026-01-01T00:00:09Z",
        released=released,
    )


def written(lock: Lock, given: Entry) -> dict[str, Any]:
    """A new lock object that says so."""
    return lock.write(lock.blank("default", "x"), given)


class TestLock:
    @KINDS
    def test_reads_what_it_wrote(self, lock: Lock) -> None:
        """Every kind of lock object keeps holder, duration, transitions and times."""
        record = lock.read(written(lock, entry()))
        assert ("me", 15, 3, False) == (record.holder, record.duration, record.transitions, record.released)
        assert "2026-01-01T00:00:00Z" == record.acquired
        assert "2026-01-01T00:00:09Z" == record.renewed

    @KINDS
    def test_keeps_what_others_put_there(self, lock: Lock) -> None:
        """A PUT sends back labels, annotations, finalizers, uid, version and foreign fields of the object."""
        raw = written(lock, entry("other"))
        raw["metadata"] |= {"labels": {"a": "b"}, "uid": "u", "resourceVersion": "7", "finalizers": ["f/f"]}
        raw["metadata"]["annotations"]["team"] = "blue"
        raw["subsets"] = [{"addresses": []}]
        body = lock.write(raw, entry())
        assert {"a": "b"} == body["metadata"]["labels"]
        assert ("u", "7", ["f/f"]) == tuple(
            body["metadata"][k] for k in ("uid", "resourceVersion", "finalizers")
        )
        assert "blue" == body["metadata"]["annotations"]["team"]
        assert [{"addresses": []}] == body["subsets"]

    @KINDS
    def test_writes_a_copy(self, lock: Lock) -> None:
        """What was read is left as it is, so that a write which failed leaves no trace."""
        raw = written(lock, entry("other"))
        before = json.dumps(raw)
        lock.write(raw, entry(released=True))
        assert before == json.dumps(raw)

    def test_keeps_foreign_fields_of_the_record(self) -> None:
        """Fields of the record that we don't know (strategy, preferredHolder) survive our writes."""
        raw: dict[str, Any] = {"metadata": {}, "spec": {"strategy": "OldestEmulationVersion"}}
        assert "OldestEmulationVersion" == LOCKS["leases"].write(raw, entry())["spec"]["strategy"]
        raw = {"metadata": {"annotations": {LEADER: '{"strategy":"x"}'}}}
        annotations = LOCKS["endpoints"].write(raw, entry())["metadata"]["annotations"]
        assert "x" == json.loads(annotations[LEADER])["strategy"]

    def test_uses_client_go_names_in_the_annotation(self) -> None:
        """Endpoints and ConfigMaps hold the JSON record that client-go wrote, by its field names."""
        annotations = written(LOCKS["configmaps"], entry())["metadata"]["annotations"]
        assert {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T00:00:00Z",
            "renewTime": "2026-01-01T00:00:09Z",
            "leaderTransitions": 3,
        } == json.loads(annotations[LEADER])

    def test_writes_a_lease_as_its_api_has_it(self) -> None:
        """A Lease is of coordination.k8s.io/v1, with the record in its spec."""
        body = written(LOCKS["leases"], entry())
        assert ("coordination.k8s.io/v1", "Lease") == (body["apiVersion"], body["kind"])
        assert ("me", 15, 3) == tuple(
            body["spec"][field] for field in ("holderIdentity", "leaseDurationSeconds", "leaseTransitions")
        )

    @pytest.mark.parametrize(
        "kind, expected",
        [
            ("leases", "2026-01-02T15:04:05.000678Z"),
            ("endpoints", "2026-01-02T15:04:05Z"),
            ("configmaps", "2026-01-02T15:04:05Z"),
        ],
    )
    def test_writes_times_in_the_precision_of_the_kind(self, kind: str, expected: str) -> None:
        """A Lease has MicroTimes, the annotation Times of whole seconds."""
        assert expected == LOCKS[kind].text(datetime(2026, 1, 2, 15, 4, 5, 678, tzinfo=UTC))

    @pytest.mark.parametrize(
        "raw",
        [
            {},
            {"metadata": None, "spec": None},
            {"metadata": [], "spec": "no"},
            {"metadata": {"annotations": [], "uid": 4, "resourceVersion": None}, "spec": []},
            {"spec": {"holderIdentity": 42, "leaseDurationSeconds": "15", "leaseTransitions": True}},
            {"spec": {"holderIdentity": [], "leaseDurationSeconds": -1, "leaseTransitions": -1}},
            {"spec": {"holderIdentity": None, "leaseDurationSeconds": 1e300, "leaseTransitions": 2**40}},
            {"metadata": {"annotations": {LEADER: "{"}}},
            {"metadata": {"annotations": {LEADER: "[1]"}}},
            {"metadata": {"annotations": {LEADER: 7}}},
            {"metadata": {"annotations": {LEADER: "[" * 100_000}}},
            {"metadata": {"annotations": {LEADER: '{"holderIdentity": {}, "leaderTransitions": []}'}}},
        ],
    )
    @KINDS
    def test_reads_and_repairs_anything(self, lock: Lock, raw: dict[str, Any]) -> None:
        """A malformed lock object has no holder, is not released, and can be written over."""
        record = lock.read(raw)
        assert ("", 0, 0, False) == (record.holder, record.duration, record.transitions, record.released)
        assert "me" == lock.read(lock.write(raw, entry())).holder


class TestReleased:
    @KINDS
    def test_is_marked_with_the_number_of_transitions(self, lock: Lock) -> None:
        """A release leaves an empty holder and the annotation that repeats the number of transitions."""
        body = written(lock, entry("", released=True))
        assert "3" == body["metadata"]["annotations"][RELEASED]
        assert lock.read(body).released

    @KINDS
    def test_is_not_said_by_an_empty_holder(self, lock: Lock) -> None:
        """A holder that was cleared by hand, or by client-go, is not released."""
        assert not lock.read(written(lock, entry(""))).released

    @KINDS
    def test_is_not_said_by_a_marker_of_an_earlier_term(self, lock: Lock) -> None:
        """A marker with another number is a left-over."""
        body = written(lock, entry(""))
        body["metadata"]["annotations"][RELEASED] = "2"
        assert not lock.read(body).released

    @KINDS
    def test_is_not_said_under_a_holder(self, lock: Lock) -> None:
        """A marker counts for nothing while there is a holder."""
        body = written(lock, entry("other"))
        body["metadata"]["annotations"][RELEASED] = "3"
        assert not lock.read(body).released

    @KINDS
    def test_marker_goes_with_the_next_holder(self, lock: Lock) -> None:
        """Whoever takes the lock removes the marker."""
        body = lock.write(written(lock, entry("", released=True)), entry(transitions=4))
        assert RELEASED not in body["metadata"]["annotations"]

    def test_is_not_said_without_transitions(self) -> None:
        """A Lease without a number of transitions isn't released, though absent counts as 0 otherwise."""
        raw = {"metadata": {"annotations": {RELEASED: "0"}}, "spec": {"holderIdentity": ""}}
        assert not LOCKS["leases"].read(raw).released


class TestTransitions:
    def test_count_on(self) -> None:
        """One transition more."""
        assert 4 == next_transitions(LOCKS["leases"].read(written(LOCKS["leases"], entry())))

    def test_start_again_where_the_type_ends(self) -> None:
        """The field is an int32: what the server would refuse for ever is never written."""
        last = written(LOCKS["leases"], entry(transitions=2**31 - 1))
        assert 0 == next_transitions(LOCKS["leases"].read(last))


class TestSighting:
    lock = LOCKS["leases"]

    def see(self, sighting: Sighting, now: float, given: Entry, *, version: str = "1", **spec: Any) -> None:
        """Let the candidate see a Lease."""
        raw = written(self.lock, given)
        raw["metadata"] |= {"uid": "u", "resourceVersion": version}
        raw["spec"] |= spec
        sighting.see(self.lock.read(raw), now)

    def test_absent_lock_is_free(self) -> None:
        """A lock object that doesn't exist may be made at once."""
        sighting = Sighting("me", 15)
        sighting.see(None, 5.0)
        assert 0 == sighting.left(5.0)

    def test_rival_is_waited_for_from_first_sight(self) -> None:
        """The same version must have been seen for the duration that it says, whatever its timestamps say."""
        sighting = Sighting("me", 15)
        self.see(
            sighting, 100.0, entry("other"), leaseDurationSeconds=40, renewTime="1999-01-01T00:00:00.000000Z"
        )
        self.see(
            sighting, 110.0, entry("other"), leaseDurationSeconds=40, renewTime="1999-01-01T00:00:00.000000Z"
        )
        assert 30 == sighting.left(110.0)
        assert 0 == sighting.left(140.0)

    def test_each_renewal_starts_the_wait_again(self) -> None:
        """A new version, or another renew time, is a sign of life."""
        sighting = Sighting("me", 15)
        self.see(sighting, 0.0, entry("other"))
        self.see(sighting, 10.0, entry("other"), version="2")
        assert 15 == sighting.left(10.0)
        self.see(sighting, 20.0, entry("other"), version="2", renewTime="2026-01-01T00:00:10.000000Z")
        assert 15 == sighting.left(20.0)

    def test_recreated_lock_starts_the_wait_again(self) -> None:
        """Absent in between, or of another uid: it isn't the same lock object."""
        sighting = Sighting("me", 15)
        self.see(sighting, 0.0, entry("other"))
        sighting.see(None, 5.0)
        self.see(sighting, 10.0, entry("other"))
        assert 15 == sighting.left(10.0)

    def test_rival_without_a_duration_is_waited_for_with_ours(self) -> None:
        """A record that says no duration is given ours."""
        sighting = Sighting("me", 20)
        self.see(sighting, 0.0, entry("other"), leaseDurationSeconds=None)
        assert 20 == sighting.left(0.0)

    @pytest.mark.parametrize("theirs, expected", [(1, 15), (40, 40), (None, 15)])
    def test_cleared_holder_is_waited_for_with_the_longer_duration(
        self, theirs: int | None, expected: int
    ) -> None:
        """Who cleared the holder and what it still does isn't known: the longer of its duration and ours."""
        sighting = Sighting("me", 15)
        self.see(sighting, 0.0, entry(""), leaseDurationSeconds=theirs)
        assert expected == sighting.left(0.0)

    def test_released_lock_is_free(self) -> None:
        """A lock that was released in good order is taken at once."""
        sighting = Sighting("me", 15)
        self.see(sighting, 0.0, entry("", released=True))
        assert 0 == sighting.left(0.0)

    def test_own_lock_is_free(self) -> None:
        """A lock that names us is not waited for."""
        sighting = Sighting("me", 15)
        self.see(sighting, 0.0, entry("me"))
        assert 0 == sighting.left(0.0)
