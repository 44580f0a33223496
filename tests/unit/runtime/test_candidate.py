from __future__ import annotations

import asyncio
import logging

import pytest

from nodeipam.testing import VirtualClock, run_virtual

from .electing import LEASES, Hall, SlowClock, Work, is_watch, is_write, running, time, until


class TestWaiting:
    def test_does_not_believe_a_rival_calendar(self) -> None:
        """A lock whose renew time is years ago is waited for all the same, from when we first saw it."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival")
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 15 <= work.began[0] <= 15.2
                assert 4 == work.lease.transitions

        run_virtual(main())

    def test_lasts_as_long_as_the_rival_said(self) -> None:
        """It is the duration in the record that counts, not ours."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival", leaseDurationSeconds=40)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 40 <= work.began[0] <= 40.2

        run_virtual(main())

    def test_goes_by_its_own_clock(self) -> None:
        """On a clock slower than the loop's it waits longer: a timer only wakes it."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival")
            async with running(hall.elector("a", SlowClock()), work):
                await until(lambda: work.terms)
                assert 15 / 0.87 <= work.began[0] <= 15 / 0.87 + 0.3

        run_virtual(main())

    @pytest.mark.parametrize("theirs, expected", [(1, 15), (40, 40)])
    def test_lasts_the_longer_time_for_a_holder_that_was_cleared(self, theirs: int, expected: int) -> None:
        """A holder removed by hand or by client-go is waited for, and then the lock isn't `released`."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("", leaseDurationSeconds=theirs)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert expected <= work.began[0] <= expected + 0.2
                assert (False, False) == (work.lease.released, work.lease.doubtful)

        run_virtual(main())

    def test_is_over_at_once_for_a_released_lock(self) -> None:
        """A released lock is taken with the first requests."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("", released=True)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 0.1 >= work.began[0]
                assert (True, False, 4) == (work.lease.released, work.lease.doubtful, work.lease.transitions)

        run_virtual(main())

    def test_is_over_at_once_for_a_deleted_lock(self) -> None:
        """A lock object that vanishes is made anew, and the term is doubtful."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival")
            async with running(hall.elector("a"), work):
                await asyncio.sleep(5)
                hall.server.delete(LEASES, "x", namespace="default")
                await until(lambda: work.terms)
                assert 5.2 >= work.began[0]
                assert (False, True) == (work.lease.released, work.lease.doubtful)

        run_virtual(main())

    def test_ends_with_a_malformed_lock(self) -> None:
        """A Lease without a spec is nobody's: it is waited for, and then written over."""

        async def main() -> None:
            hall, work = Hall(), Work()
            metadata = {"name": "x", "namespace": "default"}
            hall.server.put({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata})
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 15 <= work.began[0] <= 15.2

        run_virtual(main())


class TestWatching:
    def test_takes_no_request_while_the_leader_renews(self) -> None:
        """A standby reads once and watches; the renewals of the leader come by themselves."""

        async def main() -> None:
            hall, first, second = Hall(), Work(), Work()
            async with running(hall.elector("a"), first):
                await until(lambda: first.terms)
                async with running(hall.elector("b"), second):
                    await asyncio.sleep(100)
                    assert ["GET", "WATCH"] == hall.requests("b")

        run_virtual(main())

    def test_watches_the_lock_alone(self) -> None:
        """The field selector names the one object, so that a Role with resourceNames suffices."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival")
            async with running(hall.elector("a"), work):
                await asyncio.sleep(1)
                watch = next(logged.call for logged in hall.server.log if is_watch(logged.call))
                assert "metadata.name=x" == dict(watch.query)["fieldSelector"]
                assert watch.path.endswith("/namespaces/default/leases")

        run_virtual(main())

    def test_is_replaced_by_polling_where_it_is_forbidden(self, caplog: pytest.LogCaptureFixture) -> None:
        """Without the right to watch it polls, says so once, and takes a released lock at the next poll."""

        async def main() -> None:
            hall, first, second = Hall(), Work(), Work()
            hall.fault("error_before", is_watch, status=403, times=None)
            async with running(hall.elector("a"), first) as leading:
                await until(lambda: first.terms)
                async with running(hall.elector("b"), second):
                    await asyncio.sleep(60)
                    asked = hall.requests("b")
                    assert 1 == asked.count("WATCH")
                    assert 24 <= asked.count("GET") <= 31
                    leading.cancel()
                    left = time()
                    await until(lambda: second.terms)
                    assert 2.6 >= second.began[0] - left
                    assert second.lease.released

        run_virtual(main())
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert ["can't watch the lock: polling instead"] == [record.getMessage() for record in warnings]

    def test_is_tried_again_after_five_minutes(self, caplog: pytest.LogCaptureFixture) -> None:
        """A right that was granted later is made use of; that it is missing still isn't told again."""

        async def main() -> None:
            hall, first, second = Hall(), Work(), Work()
            hall.fault("error_before", is_watch, status=403, times=2)
            async with running(hall.elector("a"), first):
                await until(lambda: first.terms)
                async with running(hall.elector("b"), second):
                    await asyncio.sleep(615)
                    assert 3 == hall.requests("b").count("WATCH")
                    assert "WATCH" == hall.requests("b")[-1]

        run_virtual(main())
        assert 1 == len([record for record in caplog.records if record.levelno >= logging.WARNING])

    @pytest.mark.parametrize("end", ["close_watches", "break_watches"])
    def test_goes_on_after_it_was_ended(self, end: str) -> None:
        """A watch that ends or breaks is begun again, and nobody is taken for dead."""

        async def main() -> None:
            hall, first, second = Hall(), Work(), Work()
            async with running(hall.elector("a"), first):
                await until(lambda: first.terms)
                async with running(hall.elector("b"), second):
                    for _ in range(20):
                        await asyncio.sleep(3)
                        getattr(hall.server, end)()
                    assert not second.terms
                    assert 60 > len(hall.requests("b"))

        run_virtual(main())

    def test_that_ends_as_soon_as_it_began_is_begun_again_in_time(self) -> None:
        """A server that closes every watch at once isn't asked more often than at the pace of a retry."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival", leaseDurationSeconds=60)
            hall.fault("error_before", is_watch, status=200, body=b"\n", times=None)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 60 <= work.began[0] <= 60.2
                assert 32 >= hall.requests("a").count("WATCH")

        run_virtual(main())

    def test_that_stays_silent_deceives_nobody(self) -> None:
        """A watch without events doesn't make a leader dead: the lock is read before it is taken."""

        async def main() -> None:
            hall, first, second = Hall(), Work(), Work()
            hall.fault("stall", is_watch, times=3)
            async with running(hall.elector("a"), first):
                await until(lambda: first.terms)
                async with running(hall.elector("b"), second):
                    await asyncio.sleep(120)
                    assert not second.terms
                    first.lease.check()

        run_virtual(main())

    @pytest.mark.parametrize("body", [b"{}", b"not json", b'{"type":"MODIFIED","object":null}'])
    def test_that_sends_nonsense_is_given_up(self, body: bytes) -> None:
        """An answer that is no event ends the watch; it is tried again at the pace of a retry."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival", leaseDurationSeconds=60)
            hall.fault("error_before", is_watch, status=200, body=body + b"\n", times=None)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 60 <= work.began[0] <= 60.2
                assert 70 > len(hall.requests("a"))

        run_virtual(main())

    def test_survives_compaction(self) -> None:
        """A watch from a version that was compacted is answered 410; the candidate goes on."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival", leaseDurationSeconds=60)
            hall.put("rival", leaseDurationSeconds=60)
            hall.server.register("example.com/v1", "Widget", "widgets", namespaced=False)
            hall.server.put({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}})
            hall.server.compact()
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 60 <= work.began[0] <= 60.2

        run_virtual(main())


class TestTaking:
    def test_is_won_by_one(self, caplog: pytest.LogCaptureFixture) -> None:
        """Of many candidates for a released lock one wins, and the others stand by."""

        async def main() -> None:
            hall = Hall()
            hall.put("", released=True)
            work = [Work() for _ in range(5)]
            async with asyncio.TaskGroup() as tasks:
                running_ = [
                    tasks.create_task(hall.elector(f"c{number}").run(work[number])) for number in range(5)
                ]
                await asyncio.sleep(60)
                assert 1 == sum(len(each.terms) for each in work)
                for task in running_:
                    task.cancel()

        run_virtual(main())
        assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]

    def test_with_a_lost_answer_is_doubtful(self) -> None:
        """Finding our own name in a version that we didn't see written, we can't know what it replaced."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("", released=True)
            hall.fault("drop_after", is_write)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert (False, True, 4) == (work.lease.released, work.lease.doubtful, work.lease.transitions)

        run_virtual(main())

    def test_by_a_creation_with_a_lost_answer_is_doubtful(self) -> None:
        """A creation that was carried out unseen is found, and as doubtful as any."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.fault("drop_after", is_write)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert (False, True) == (work.lease.released, work.lease.doubtful)
                assert 1 == hall.requests("a").count("POST")

        run_virtual(main())

    def test_again_what_we_saw_ourselves_write_is_not_doubtful(self) -> None:
        """After a lapse with nothing in flight, the lock still as we left it is taken for a new term."""

        async def main() -> None:
            hall, work, clock = Hall(), Work(), VirtualClock()
            hall.put("", released=True)
            async with running(hall.elector("a", clock), work):
                await until(lambda: work.terms)
                await asyncio.sleep(5)
                clock.offset += 60
                await until(lambda: len(work.terms) == 2)
                assert (2, False, False) == (work.lease.term, work.lease.released, work.lease.doubtful)
                assert work.terms[0].transitions == work.lease.transitions

        run_virtual(main())

    def test_with_an_answer_that_comes_too_late_is_no_term(self) -> None:
        """A term that was over before its acquisition was answered never begins."""

        async def main() -> None:
            hall, work, clock = Hall(), Work(), VirtualClock()
            hall.put("", released=True)
            fault = hall.fault("delay", is_write, delay=1.0)
            async with running(hall.elector("a", clock), work):
                await until(lambda: fault.met)
                clock.offset += 11
                await until(lambda: work.terms)
                assert work.lease.valid
                assert 1 == work.lease.term
                assert 2 == hall.requests("a").count("PUT")

        run_virtual(main())

    def test_starts_the_transitions_again_where_their_type_ends(self) -> None:
        """A number that the server would refuse is never written."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("", released=True, transitions=2**31 - 1)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 0 == hall.spec["leaseTransitions"]

        run_virtual(main())


class TestTrouble:
    @pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
    def test_is_retried_and_told_once(self, status: int, caplog: pytest.LogCaptureFixture) -> None:
        """An error that lasts is one warning, however often it comes; when it is over we lead."""

        async def main() -> None:
            hall, work = Hall(), Work()
            fault = hall.fault("error_before", lambda _: True, status=status, times=None)
            elector = hall.elector("a")
            assert elector.problem is None
            async with running(elector, work):
                await asyncio.sleep(30)
                assert 12 <= fault.met <= 16
                refused = status in {401, 403}
                assert refused == (f"leases.coordination.k8s.io default/x: {status} " in str(elector.problem))
                hall.server.faults.clear()
                await until(lambda: work.terms)
                assert 32.5 >= work.began[0]
                assert elector.problem is None

        run_virtual(main())
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert 1 == len(warnings)

    def test_is_over_when_the_lock_can_be_read(self) -> None:
        """A standby that can read the lock again has no problem, though somebody else holds it."""

        async def main() -> None:
            hall = Hall()
            hall.put("rival")
            hall.fault("error_before", lambda _: True, status=403)
            elector = hall.elector("a")
            async with running(elector, Work()):
                await asyncio.sleep(1)
                assert "403" in str(elector.problem)
                await asyncio.sleep(3)
                assert elector.problem is None

        run_virtual(main())

    def test_watching_is_none(self) -> None:
        """A watch that fails keeps nobody from campaigning."""

        async def main() -> None:
            hall = Hall()
            hall.put("rival")
            fault = hall.fault("error_before", is_watch, status=500, times=None)
            elector = hall.elector("a")
            async with running(elector, Work()):
                await until(lambda: fault.met)
                await asyncio.sleep(0.5)
                assert elector.problem is None

        run_virtual(main())

    def test_waits_as_long_as_the_server_asks_within_reason(self) -> None:
        """Retry-After is honoured, up to one lease duration."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.fault("error_before", lambda _: True, status=429, retry_after=8)
            hall.fault("error_before", lambda _: True, status=429, retry_after=3600)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 8 + 15 <= work.began[0] <= 23.5

        run_virtual(main())

    def test_with_a_proxy_makes_no_lock(self) -> None:
        """A 404 without a Status doesn't say that there is no lock."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.put("rival")
            hall.fault("error_before", lambda _: True, status=404, body=b"<html>not found</html>", times=2)
            async with running(hall.elector("a"), work):
                await asyncio.sleep(10)
                assert "POST" not in hall.requests("a")

        run_virtual(main())

    def test_hanging_requests_are_given_up(self) -> None:
        """A request without an answer is given up after half the renew deadline."""

        async def main() -> None:
            hall, work = Hall(), Work()
            hall.fault("hang", lambda _: True)
            async with running(hall.elector("a"), work):
                await until(lambda: work.terms)
                assert 7 <= work.began[0] <= 7.6

        run_virtual(main())
