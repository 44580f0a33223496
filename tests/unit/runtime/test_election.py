from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from nodeipam.runtime.election import RELEASED, Election, Elector, Lease
from nodeipam.runtime.electionrecord import LOCKS
from nodeipam.runtime.errors import ConfigurationError, LeadershipLost
from nodeipam.testing import VirtualClock, run_virtual

from .electing import Hall, Work, running, time, until


class TestElection:
    def test_has_client_go_defaults(self) -> None:
        """15 s, 10 s and 2 s, none of which needs to be shortened."""
        election = Election(namespace="default", name="x")
        assert (15, 10, 2) == (election.lease_duration, election.renew_deadline, election.retry_period)
        assert (10, 2) == (election.effective_renew_deadline, election.effective_retry_period)

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"namespace": ""}, "not '' and 'x'"),
            ({"name": ""}, "not 'default' and ''"),
            ({"lock": "pods"}, "leases, endpoints, configmaps, not 'pods'"),
            ({"lease_duration": 0.5}, "not 0.5 s"),
            ({"lease_duration": 15.5}, "not 15.5 s"),
            ({"lease_duration": float("nan")}, "not nan s"),
            ({"lease_duration": float("inf")}, "not inf s"),
            ({"retry_period": 0.0}, "not 10 s and 0 s"),
            ({"retry_period": float("nan")}, "not 10 s and nan s"),
            ({"renew_deadline": -1.0}, "not -1 s and 2 s"),
            (
                {"lease_duration": 5, "renew_deadline": 10},
                r"\(5 s\) must be longer than the renew deadline \(10 s\)",
            ),
            ({"lease_duration": 10}, r"\(10 s\) must be longer than the renew deadline \(10 s\)"),
            ({"retry_period": 9}, r"\(10 s\) must be longer .*\(1.2 x 9 s = 10.8 s"),
        ],
    )
    def test_refuses_what_cannot_work(self, options: dict[str, Any], message: str) -> None:
        """Contradicting times are refused where the options are made, with the numbers."""
        with pytest.raises(ConfigurationError, match=message):
            Election(**{"namespace": "default", "name": "x", **options})

    def test_shortens_a_renew_deadline_that_leaves_clocks_no_room(self) -> None:
        """Where less than 26 % of the lease duration is left, the effective deadline is 0.74 of it."""
        election = Election(
            namespace="default", name="x", lease_duration=10, renew_deadline=9, retry_period=6
        )
        assert pytest.approx(7.4) == election.effective_renew_deadline
        assert election.effective_renew_deadline > 1.2 * election.effective_retry_period

    def test_warns_of_the_shorter_deadline(self, caplog: pytest.LogCaptureFixture) -> None:
        """The warning gives both deadlines."""
        Hall().elector("a", lease_duration=10, renew_deadline=9)
        assert [(9, 7.4)] == [
            (record.__dict__["renew_deadline"], record.__dict__["effective_renew_deadline"])
            for record in caplog.records
            if record.levelno == logging.WARNING
        ]

    def test_does_not_warn_of_the_defaults(self, caplog: pytest.LogCaptureFixture) -> None:
        """10 of 15 seconds leave room enough."""
        Hall().elector("a")
        assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


class TestIdentity:
    def test_differs_between_candidates_of_one_id(self) -> None:
        """Replicas that were all given the same id are still different candidates."""
        hall = Hall()
        client = hall.client("any")
        election = Election(namespace="default", name="x", id="same")
        first, second = Elector(election, client), Elector(election, client)
        assert first.identity != second.identity
        assert first.identity.startswith("same_")

    def test_is_the_host_name_by_default(self) -> None:
        """Without an id, something that a person recognises stands before the random part."""
        name, _, suffix = Elector(Election(namespace="n", name="x"), Hall().client("a")).identity.rpartition(
            "_"
        )
        assert name
        assert 32 == len(suffix)


class TestTakingOver:
    @pytest.mark.parametrize("lock", LOCKS)
    def test_after_a_release_is_at_once(self, lock: str) -> None:
        """With each kind of lock a standby leads within 0.3 s of the release, and knows that it was one."""

        async def main() -> None:
            hall, first, second = Hall(), Work(), Work()
            async with running(hall.elector("a", lock=lock), first) as leading:
                await until(lambda: first.terms)
                async with running(hall.elector("b", lock=lock), second):
                    await asyncio.sleep(30)
                    assert not second.terms
                    leading.cancel()
                    left = time()
                    await until(lambda: second.terms)
                    assert 0.3 >= second.began[0] - left
                    assert (True, False) == (second.lease.released, second.lease.doubtful)
                    assert first.lease.transitions + 1 == second.lease.transitions

        run_virtual(main())

    @pytest.mark.parametrize("lock", LOCKS)
    def test_after_a_crash_takes_one_lease_duration(self, lock: str) -> None:
        """With each kind of lock a standby leads within a second after the last renewal has expired."""

        async def main() -> None:
            hall, first, second = Hall(), Work(), Work()
            async with (
                running(hall.elector("a", lock=lock), first),
                running(hall.elector("b", lock=lock), second),
            ):
                await until(lambda: first.terms or second.terms)
                dead, work = ("a", second) if first.terms else ("b", first)
                await asyncio.sleep(30)
                hall.cut_off(dead)
                gone = time()
                await until(lambda: work.terms)
                assert 16 >= work.began[0] - gone > 12
                assert (False, False) == (work.lease.released, work.lease.doubtful)

        run_virtual(main())

    def test_never_overlaps(self) -> None:
        """A leader that is cut off has stopped before anybody else leads."""

        async def main() -> None:
            hall, first, second = Hall(), Work(), Work()
            async with running(hall.elector("a"), first):
                await until(lambda: first.terms)
                async with running(hall.elector("b"), second):
                    await asyncio.sleep(10)
                    hall.cut_off("a")
                    await until(lambda: second.terms)
                    assert first.ended[0] < second.began[0]
                    assert not first.terms[0].valid

        run_virtual(main())


class TestRun:
    def test_leads_on_a_fresh_cluster(self) -> None:
        """The first candidate creates the lock; its term is doubtful, since one may have been deleted."""

        async def main() -> None:
            hall, work = Hall(), Work()
            elector = hall.elector("a")
            async with running(elector, work):
                await until(lambda: work.terms)
                assert elector.leading
                assert (
                    elector.identity == elector.holder == hall.spec["holderIdentity"] == work.lease.identity
                )
                assert (15, 0) == (hall.spec["leaseDurationSeconds"], hall.spec["leaseTransitions"])
                assert (1, True, False) == (work.lease.term, work.lease.doubtful, work.lease.released)
            assert not elector.leading

        run_virtual(main())

    def test_shows_in_the_metrics_who_leads(self) -> None:
        """leader_election_master_status is 1 for the leader, and 0 for a standby and after the end."""

        async def main() -> None:
            hall, work = Hall(), Work()
            client = hall.client("a")
            elector = Elector(Election(namespace="default", name="x"), client)

            def shown() -> float | None:
                return client.metrics.registry.get_sample_value(
                    "leader_election_master_status", {"name": "x"}
                )

            assert 0 == shown()
            async with running(elector, work):
                await until(lambda: work.terms)
                assert 1 == shown()
            assert 0 == shown()

        run_virtual(main())

    def test_returns_and_releases_when_the_work_has_ended(self) -> None:
        """Work that ends by itself ends leadership, in good order."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work) as task:
                await until(lambda: work.terms)
                work.finish.set()
                await task
                assert ("", 1) == (hall.spec["holderIdentity"], hall.spec["leaseDurationSeconds"])
                assert not work.lease.valid

        run_virtual(main())

    def test_raises_what_the_work_raised(self) -> None:
        """Work that fails ends leadership too: the lock is released, and the error comes out as it is."""

        async def main() -> None:
            hall = Hall()

            async def fail(lease: Lease) -> None:
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await hall.elector("a").run(fail)
            assert "" == hall.spec["holderIdentity"]

        run_virtual(main())

    def test_raises_a_false_alarm(self) -> None:
        """Work that claims to have lost a lease which is valid has failed like any other."""

        async def main() -> None:
            async def fail(lease: Lease) -> None:
                raise LeadershipLost("no")

            with pytest.raises(LeadershipLost, match="no"):
                await Hall().elector("a").run(fail)

        run_virtual(main())

    def test_campaigns_again_after_a_loss(self) -> None:
        """A lost lease ends the work; the next term is a new one, and the old one stays lost."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                hall.put("rival")
                await until(lambda: len(work.terms) == 2)
                old, new = work.terms
                assert (1, 2) == (old.term, new.term)
                assert new.valid
                with pytest.raises(LeadershipLost, match="is held by rival"):
                    old.check()

        run_virtual(main())

    def test_raises_a_loss_if_it_was_asked_to(self) -> None:
        """With campaign_again=False the loss comes out, after the work has ended."""

        async def main() -> None:
            hall, work = Hall(), Work(cleaning=3)
            async with running(hall.elector("a"), work, campaign_again=False) as task:
                await until(lambda: work.terms)
                hall.put("rival")
                with pytest.raises(LeadershipLost, match="is held by rival"):
                    await task
                assert 1 == len(work.ended)
                assert "rival" == hall.spec["holderIdentity"]

        run_virtual(main())

    def test_takes_work_that_trips_over_the_loss_for_lost(self) -> None:
        """LeadershipLost out of the work is the loss, not a failure of the work."""

        async def main() -> None:
            hall, tripped = Hall(), []

            async def lead(lease: Lease) -> None:
                while True:
                    try:
                        await asyncio.sleep(0.1)
                    except asyncio.CancelledError:
                        tripped.append(lease)
                        lease.check()

            task = asyncio.create_task(hall.elector("a").run(lead))
            await until(hall.exists)
            hall.put("rival")
            await until(lambda: tripped)
            await asyncio.sleep(1)
            assert not task.done()
            task.cancel()
            await asyncio.wait({task})

        run_virtual(main())

    def test_raises_what_the_work_raised_after_a_loss(self) -> None:
        """A failure while the work cleans up is not hidden by the loss."""

        async def main() -> None:
            hall = Hall()

            async def lead(lease: Lease) -> None:
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    raise ZeroDivisionError from None

            task = asyncio.create_task(hall.elector("a").run(lead))
            await until(hall.exists)
            hall.put("rival")
            with pytest.raises(ZeroDivisionError):
                await task

        run_virtual(main())


class TestCancel:
    def test_ends_a_campaign_at_once(self) -> None:
        """A candidate that is cancelled goes, and leaves the lock to its holder."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival")
            async with running(hall.elector("a"), work) as task:
                await asyncio.sleep(5)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert 5 == time()
                assert "rival" == hall.spec["holderIdentity"]

        run_virtual(main())

    def test_keeps_the_lease_until_the_work_has_ended(self) -> None:
        """The work is cancelled and awaited, however long it takes; its lease is renewed meanwhile."""

        async def main() -> None:
            hall, work = Hall(), Work(cleaning=60)
            async with running(hall.elector("a"), work) as task:
                await until(lambda: work.terms)
                task.cancel()
                await asyncio.sleep(59)
                work.lease.check()
                assert hall.spec["holderIdentity"] == work.lease.identity
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert 1 == len(work.ended)
                assert "" == hall.spec["holderIdentity"]
                assert str(hall.spec["leaseTransitions"]) == hall.lease()["metadata"]["annotations"][RELEASED]

        run_virtual(main())

    def test_a_second_one_skips_the_release(self) -> None:
        """Who is in a hurry leaves the lock to expire, but still awaits the work."""

        async def main() -> None:
            hall, work = Hall(), Work(cleaning=1)
            async with running(hall.elector("a"), work) as task:
                await until(lambda: work.terms)
                task.cancel()
                await asyncio.sleep(0.5)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert 1 == len(work.ended)
                assert hall.spec["holderIdentity"] == work.lease.identity

        run_virtual(main())

    def test_a_second_one_ends_the_release(self) -> None:
        """A release that hangs is given up at the second cancel."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work) as task:
                await until(lambda: work.terms)
                hall.cut_off("a")
                task.cancel()
                await asyncio.sleep(1)
                began = time()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert 0.1 > time() - began

        run_virtual(main())

    def test_waits_for_the_release_for_five_seconds(self) -> None:
        """A server that doesn't answer holds nobody up for longer."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work) as task:
                await until(lambda: work.terms)
                hall.fault("delay", lambda call: call.method == "GET", delay=3.0)
                hall.cut_off("a")
                began = time()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert 5 == pytest.approx(time() - began)

        run_virtual(main())

    def test_during_the_release_does_not_stop_it(self) -> None:
        """A first cancel doesn't cut the release after the work's own end short, and isn't lost."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work) as task:
                await until(lambda: work.terms)
                work.finish.set()
                await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert "" == hall.spec["holderIdentity"]

        run_virtual(main())

    def test_is_not_hidden_by_a_failure_of_the_work(self, caplog: pytest.LogCaptureFixture) -> None:
        """Who cancels gets CancelledError; the failure is its cause, and logged."""

        async def main() -> None:
            async def lead(lease: Lease) -> None:
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    raise ZeroDivisionError from None

            task = asyncio.create_task(Hall().elector("a").run(lead))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert isinstance(caught.value.__cause__, ZeroDivisionError)

        run_virtual(main())
        assert "the guarded work failed while it was being cancelled" in caplog.text

    def test_without_the_release_allowed_leaves_the_lock_to_expire(self) -> None:
        """release_when is asked once, after the work has ended; no means no."""

        async def main() -> None:
            hall, work, asked = Hall(), Work(), []

            def allowed() -> bool:
                asked.append(len(work.ended))
                return False

            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                work.lease.release_when = allowed
            assert [1] == asked
            assert hall.spec["holderIdentity"] == work.lease.identity

        run_virtual(main())

    def test_with_a_broken_release_when_leaves_the_lock_to_expire(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An error there is logged, and never taken for a yes."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                work.lease.release_when = lambda: 1 // 0 == 0
            assert hall.spec["holderIdentity"] == work.lease.identity

        run_virtual(main())
        assert "release_when failed" in caplog.text


class TestHealth:
    def test_is_good_while_leading_and_standing_by(self) -> None:
        """Neither a valid lease nor none is a problem."""

        async def main() -> None:
            hall, work = Hall(), Work()
            elector = hall.elector("a")
            assert elector.health() is None
            async with running(elector, work):
                await asyncio.sleep(60)
                assert elector.health() is None

        run_virtual(main())

    def test_is_bad_when_work_outlives_its_lease(self) -> None:
        """Work that goes on 20 s after its lease was lost makes the process unhealthy, until it ends."""

        async def main() -> None:
            hall, work = Hall(), Work(cleaning=40)
            elector = hall.elector("a")
            async with running(elector, work):
                await until(lambda: work.terms)
                hall.put("rival")
                await until(lambda: not work.lease.valid)
                await asyncio.sleep(19.9)
                assert elector.health() is None
                await asyncio.sleep(1)
                assert "was lost 21 s ago" in str(elector.health())
                await until(lambda: work.ended)
                assert elector.health() is None

        run_virtual(main())


class TestRepr:
    def test_tells_a_standby_from_a_leader(self) -> None:
        """The repr says who holds the lock, or the state of our own term."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival")
            elector = hall.elector("a", VirtualClock())
            async with running(elector, work):
                await asyncio.sleep(1)
                assert repr(elector).endswith("leases.coordination.k8s.io default/x, standby, held by rival>")
                await until(lambda: work.terms)
                assert repr(work.lease) in repr(elector)

        run_virtual(main())
