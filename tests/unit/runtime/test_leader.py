from __future__ import annotations

import asyncio
import random

import pytest

from nodeipam.runtime.client import Client
from nodeipam.runtime.clock import Clock
from nodeipam.runtime.election import RELEASED, Election, Elector, Lease
from nodeipam.runtime.electionrecord import LOCKS
from nodeipam.runtime.errors import APIError, LeadershipLost
from nodeipam.runtime.ratelimit import TokenBucket
from nodeipam.testing import ModelTransport, VirtualClock, run_virtual

from .electing import LEASES, Hall, SlowClock, StoppedCalendar, Stubborn, Work, is_write, running, time, until


class TestRenewing:
    def test_takes_one_request_in_two_seconds(self) -> None:
        """A leader whom nobody disturbs only writes."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                await asyncio.sleep(5)
                del hall.server.log[:]
                await asyncio.sleep(60)
                asked = hall.requests("a")
                assert {"PUT"} == set(asked)
                assert 29 <= len(asked) <= 31

        run_virtual(main())

    @pytest.mark.parametrize("lock", LOCKS)
    def test_changes_the_lock_each_time(self, lock: str) -> None:
        """Each renewal is a change, even where the date stands still: others must see that we live."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a", StoppedCalendar(), lock=lock), work):
                await until(lambda: work.terms)
                versions = set()
                for _ in range(10):
                    await asyncio.sleep(2.1)
                    versions.add(hall.server.version)
                assert 10 == len(versions)

        run_virtual(main())

    def test_keeps_the_time_of_acquisition(self) -> None:
        """A renewal moves renewTime alone."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                before = hall.spec
                await asyncio.sleep(21)
                assert before["acquireTime"] == hall.spec["acquireTime"]
                assert before["renewTime"] < hall.spec["renewTime"]

        run_virtual(main())

    def test_is_as_often_as_the_effective_deadline_demands(self) -> None:
        """With a shortened renew deadline the leader renews more often, in proportion."""

        async def main() -> None:
            hall, work = Hall(), Work()
            elector = hall.elector("a", lease_duration=10, renew_deadline=9, retry_period=6)
            async with running(elector, work):
                await until(lambda: work.terms)
                await asyncio.sleep(60)
                assert 12 == hall.requests("a").count("PUT")
                assert 1 == len(work.terms)

        run_virtual(main())

    def test_does_not_queue_behind_other_calls(self) -> None:
        """The client's limiter doesn't hold a renewal up."""

        async def main() -> None:
            hall, work = Hall(), Work()
            client = Client(
                ModelTransport(hall.server),
                clock=VirtualClock(),
                rng=random.Random(1),
                limiter=TokenBucket(0.01, 1),
            )
            async with running(Elector(Election(namespace="default", name="x"), client), work):
                await asyncio.sleep(60)
                assert 1 == len(work.terms)
                work.lease.check()

        run_virtual(main())

    def test_counts_from_the_moment_of_sending(self) -> None:
        """A renewal that was answered three seconds later is worth three seconds less."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                fault = hall.fault("delay", is_write, delay=3.0)
                await until(lambda: fault.met)
                await asyncio.sleep(2.9)
                assert 5 == pytest.approx(work.lease.remaining(), abs=0.2)
                await asyncio.sleep(0.2)
                assert 7 == pytest.approx(work.lease.remaining(), abs=0.2)

        run_virtual(main())

    def test_keeps_what_others_changed(self) -> None:
        """A label set by somebody else costs one read, and is still there afterwards."""

        async def main() -> None:
            hall, work = Hall(), Work()
            client = hall.client("a")
            elector = Elector(Election(namespace="default", name="x"), client)
            async with running(elector, work):
                await until(lambda: work.terms)
                await asyncio.sleep(5)
                hall.change({"metadata": {"labels": {"team": "blue"}}})
                await asyncio.sleep(60)
                work.lease.check()
                assert 1 == len(work.terms)
                assert {"team": "blue"} == hall.lease()["metadata"]["labels"]
                shown = client.metrics.registry.get_sample_value(
                    "leader_election_slowpath_total", {"name": "x"}
                )
                assert 1 == shown

        run_virtual(main())

    def test_survives_a_renewal_of_unknown_outcome(self) -> None:
        """A renewal that was carried out though its answer was lost is found out, and the term goes on."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                await asyncio.sleep(5)
                fault = hall.fault("drop_after", is_write, times=3)
                await until(lambda: fault.met == 3)
                await asyncio.sleep(30)
                work.lease.check()
                assert 1 == len(work.terms)
                assert 409 not in {logged.status for logged in hall.server.log}

        run_virtual(main())

    @pytest.mark.parametrize("action", ["hang", "error_before", "drop_before"])
    def test_survives_a_short_outage(self, action: str) -> None:
        """Seven seconds without a server leave time for another renewal."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                await asyncio.sleep(5)
                fault = hall.fault(action, lambda _: True, times=None)
                await asyncio.sleep(7)
                hall.server.faults.remove(fault)
                await asyncio.sleep(20)
                work.lease.check()
                assert 1 == len(work.terms)

        run_virtual(main())


class TestLosing:
    @pytest.mark.parametrize("action", ["hang", "hang_after", "error_before", "drop_before"])
    def test_ends_at_the_renew_deadline(self, action: str) -> None:
        """Whatever renewals meet, the work ends ten seconds after the last successful one was sent."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                await asyncio.sleep(20)
                hall.fault(action, lambda _: True, times=None)
                await asyncio.sleep(0.1)
                end = time() + work.lease.remaining()
                await until(lambda: work.ended)
                assert end == pytest.approx(work.ended[0], abs=0.01)
                with pytest.raises(LeadershipLost, match="wasn't renewed in time"):
                    work.lease.check()

        run_virtual(main())

    def test_does_not_wait_for_a_request(self) -> None:
        """A request that can't be got rid of holds up the renew loop, but not the timer."""

        async def main() -> None:
            hall, work = Hall(), Work()
            client = Client(Stubborn(hall.server, identity="a"), clock=VirtualClock(), rng=random.Random(1))
            async with running(Elector(Election(namespace="default", name="x"), client), work):
                await until(lambda: work.terms)
                await asyncio.sleep(20)
                hall.cut_off("a")
                await asyncio.sleep(0.1)
                end = time() + work.lease.remaining()
                await until(lambda: work.ended)
                assert end == pytest.approx(work.ended[0], abs=0.01)

        run_virtual(main())

    def test_sends_no_renewal_any_more(self) -> None:
        """A term that lapsed between reading the lock and writing it isn't renewed."""

        async def main() -> None:
            hall, work, clock = Hall(), Work(), VirtualClock()
            async with running(hall.elector("a", clock), work, campaign_again=False) as task:
                await until(lambda: work.terms)
                hall.fault("drop_after", is_write)
                fault = hall.fault("delay", lambda call: call.method == "GET", delay=1.0)
                await until(lambda: fault.met)
                before = hall.spec
                clock.offset += 12
                with pytest.raises(LeadershipLost):
                    await task
                await asyncio.sleep(1)
                assert before == hall.spec

        run_virtual(main())

    def test_cancels_the_work_once(self) -> None:
        """The timer and the renew loop don't both cancel: a second cancel would cut the cleaning short."""

        async def main() -> None:
            hall, work = Hall(), Work(cleaning=5)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                hall.cut_off("a")
                await until(lambda: not work.lease.valid)
                lost = time()
                await until(lambda: work.ended)
                assert 5 == pytest.approx(work.ended[0] - lost, abs=0.1)

        run_virtual(main())

    def test_is_seen_by_check_before_any_timer(self) -> None:
        """After a suspend the first check fails, though no timer has rung; soon the work ends too."""

        async def main() -> None:
            hall, work, clock = Hall(), Work(), VirtualClock()
            async with running(hall.elector("a", clock), work):
                await until(lambda: work.terms)
                await asyncio.sleep(5)
                clock.offset += 60
                with pytest.raises(LeadershipLost):
                    work.lease.check()
                slept = time()
                await until(lambda: work.ended)
                assert 2.1 >= work.ended[0] - slept

        run_virtual(main())

    def test_is_final_though_a_renewal_succeeds_later(self) -> None:
        """A renewal sent in time and answered after the term had lapsed doesn't bring it back."""

        async def main() -> None:
            hall, work, clock = Hall(), Work(), VirtualClock()
            async with running(hall.elector("a", clock), work):
                await until(lambda: work.terms)
                fault = hall.fault("delay", is_write, delay=1.0)
                await until(lambda: fault.met)
                version = hall.server.version
                clock.offset += 12
                await until(lambda: work.ended)
                assert hall.server.version > version
                assert not work.terms[0].valid
                await until(lambda: len(work.terms) == 2)
                assert not work.terms[0].valid
                assert 2 == work.lease.term

        run_virtual(main())

    def test_follows_the_clock_and_not_the_timer(self) -> None:
        """On a clock that is slower than the loop the term lasts until the clock says so."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a", SlowClock()), work):
                await until(lambda: work.terms)
                await asyncio.sleep(5)
                hall.cut_off("a")
                end = time() + work.lease.remaining() / 0.87
                await until(lambda: work.ended)
                assert end == pytest.approx(work.ended[0], abs=0.02)

        run_virtual(main())

    @pytest.mark.parametrize("lock", LOCKS)
    def test_of_a_deleted_lock_is_noticed_and_not_mended(self, lock: str) -> None:
        """A leader whose lock is gone stops at the next renewal; that renewal doesn't make a new one."""

        async def main() -> None:
            hall, work = Hall(), Work()
            resource = LOCKS[lock].resource
            async with running(hall.elector("a", lock=lock), work, campaign_again=False) as task:
                await until(lambda: work.terms)
                await asyncio.sleep(5)
                hall.server.delete(resource, "x", namespace="default")
                gone = time()
                with pytest.raises(LeadershipLost, match="is gone"):
                    await task
                assert 2.2 >= time() - gone
                assert [] == hall.server.objects(resource)

        run_virtual(main())

    @pytest.mark.parametrize("holder", ["rival", ""])
    def test_to_another_holder_is_noticed(self, holder: str) -> None:
        """A leader stops at the next renewal when the lock names somebody else, or nobody."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work, campaign_again=False) as task:
                await until(lambda: work.terms)
                await asyncio.sleep(5)
                hall.change({"spec": {"holderIdentity": holder}})
                with pytest.raises(LeadershipLost, match=f"is held by {holder or 'nobody'}"):
                    await task
                assert holder == hall.spec["holderIdentity"]

        run_virtual(main())

    def test_to_a_recreated_lock_is_noticed(self) -> None:
        """A lock object that was deleted and made anew isn't ours, though it had the same name."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work, campaign_again=False) as task:
                await until(lambda: work.terms)
                hall.server.delete(LEASES, "x", namespace="default")
                hall.put("rival")
                with pytest.raises(LeadershipLost):
                    await task
                assert "rival" == hall.spec["holderIdentity"]

        run_virtual(main())

    def test_by_a_page_of_a_proxy_is_not_believed(self) -> None:
        """A 404 without a Status isn't the API server's word that the lock is gone."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                hall.fault(
                    "error_before", lambda _: True, status=404, body=b"<html>not found</html>", times=2
                )
                await asyncio.sleep(30)
                work.lease.check()

        run_virtual(main())


class TestConfirming:
    def test_finds_the_lock_ours(self) -> None:
        """While we hold the lock, confirming takes one read and changes nothing."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                version = hall.server.version
                await work.lease.confirm()
                assert version == hall.server.version
                work.lease.check()

        run_virtual(main())

    @pytest.mark.parametrize("cause", ["deleted", "edited"])
    def test_finds_the_term_over(self, cause: str) -> None:
        """A lock that was deleted or edited under us ends term and work before the next renewal would."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                if cause == "deleted":
                    hall.server.delete(LEASES, "x", namespace="default")
                else:
                    hall.change({"spec": {"holderIdentity": ""}})
                with pytest.raises(LeadershipLost):
                    await work.lease.confirm()
                assert (False, []) == (work.lease.valid, work.ended)
                await until(lambda: work.ended, seconds=0.1)

        run_virtual(main())

    def test_says_so_if_it_cannot_tell(self) -> None:
        """A lock that can't be read isn't confirmed; the term goes on as long as it is renewed."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                hall.fault("error_before", lambda call: call.method == "GET", status=503)
                with pytest.raises(APIError, match="503"):
                    await work.lease.confirm()
                work.lease.check()

        run_virtual(main())


class TestReleasing:
    def test_comes_after_the_work(self) -> None:
        """Nobody can take the lock before the guarded work has ended."""

        async def main() -> None:
            hall, work = Hall(), Work(cleaning=4)
            async with running(hall.elector("a"), work) as task:
                await until(lambda: work.terms)
                task.cancel()
                await until(lambda: hall.spec["holderIdentity"] == "")
                assert work.ended

        run_virtual(main())

    def test_keeps_everything_else(self) -> None:
        """Transitions, labels, annotations stay; the duration is 1, the marker repeats the transitions."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("", released=True)
            hall.change({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}})
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 4 == work.lease.transitions
            assert (4, 1) == (hall.spec["leaseTransitions"], hall.spec["leaseDurationSeconds"])
            assert {"a": "b"} == hall.lease()["metadata"]["labels"]
            assert {"c": "d", RELEASED: "4"} == hall.lease()["metadata"]["annotations"]

        run_virtual(main())

    def test_spares_another_holder(self) -> None:
        """If the holder that is read isn't us, nothing is written."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                hall.put("rival", transitions=9)
                version = hall.server.version
            assert version == hall.server.version
            assert "rival" == hall.spec["holderIdentity"]

        run_virtual(main())

    def test_is_repeated_when_something_came_in_between(self) -> None:
        """A change between reading and writing is no reason to give up."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                hall.fault("error_before", is_write, status=409, times=2)
            assert "" == hall.spec["holderIdentity"]

        run_virtual(main())

    def test_gives_up_when_it_is_always_refused(self) -> None:
        """A server that answers nothing but conflicts doesn't keep us."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.server.latency = 0.0
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                hall.fault("error_before", is_write, status=409, times=None)
            assert hall.spec["holderIdentity"] == work.lease.identity

        run_virtual(main())

    def test_is_left_out_after_a_loss(self) -> None:
        """A lapsed term is not released, though the lock still names us."""

        async def main() -> None:
            hall, work = Hall(), Work()
            async with running(hall.elector("a"), work, campaign_again=False) as task:
                await until(lambda: work.terms)
                fault = hall.cut_off("a")
                await until(lambda: not work.lease.valid)
                hall.server.faults.remove(fault)
                with pytest.raises(LeadershipLost):
                    await task
                assert hall.spec["holderIdentity"] == work.lease.identity

        run_virtual(main())


def test_work_is_told_of_its_own_term_only() -> None:
    """The Lease given to one term's work stays lost while the next term is valid."""

    async def main() -> None:
        hall, work = Hall(), Work()
        clock: Clock = VirtualClock()
        async with running(hall.elector("a", clock), work):
            await until(lambda: work.terms)
            hall.put("rival")
            await until(lambda: len(work.terms) == 2)
            leases: list[Lease] = work.terms
            assert [False, True] == [lease.valid for lease in leases]

    run_virtual(main())
