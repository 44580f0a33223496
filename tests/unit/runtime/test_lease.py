from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime

import pytest

from nodeipam.runtime.errors import LeadershipLost
from nodeipam.runtime.lease import Lease


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:  # noqa: D102 - as Clock has it
        raise AssertionError("the validity of a lease is a matter of elapsed time alone")

    def elapsed(self) -> float:  # noqa: D102 - as Clock has it
        return self.now

    def wall(self) -> datetime:  # noqa: D102 - as Clock has it
        return datetime(2026, 1, 1, tzinfo=UTC)


def term(clock: Watch, deadline: float = 110.0) -> Lease:
    """A term that lasts for ten seconds."""
    return Lease(
        clock=clock,
        identity="me",
        transitions=3,
        term=1,
        released=False,
        doubtful=False,
        lease_duration=15.0,
        deadline=deadline,
    )


class TestTerm:
    def test_lasts_until_its_deadline(self) -> None:
        """A lease is valid before its deadline, and no more at it."""
        clock = Watch()
        lease = term(clock)
        clock.now = 109.999
        lease.check()
        clock.now = 110.0
        assert not lease.valid
        with pytest.raises(LeadershipLost, match="wasn't renewed in time"):
            lease.check()

    def test_is_extended(self) -> None:
        """A renewal moves the deadline."""
        clock = Watch()
        lease = term(clock)
        clock.now = 109.0
        lease.extend(119.0)
        assert 10 == lease.remaining()

    def test_is_never_shortened(self) -> None:
        """The answer of an older renewal that comes after that of a newer one takes nothing away."""
        clock = Watch()
        lease = term(clock)
        lease.extend(105.0)
        assert 10 == lease.remaining()

    def test_lapsed_one_never_comes_back(self) -> None:
        """A renewal sent in time and answered after the deadline changes nothing."""
        clock = Watch()
        lease = term(clock)
        clock.now = 110.0
        lease.extend(118.0)
        assert not lease.valid
        assert 0 == lease.remaining()

    def test_is_lost_though_the_clock_goes_back(self) -> None:
        """Once lost is lost, whatever the clock says later."""
        clock = Watch()
        lease = term(clock)
        clock.now = 111.0
        assert not lease.valid
        clock.now = 101.0
        assert not lease.valid

    def test_is_ended_with_the_first_reason(self) -> None:
        """The error tells why the term ended first."""
        lease = term(Watch())
        lease.end("the Lease is gone")
        lease.end("something later")
        with pytest.raises(LeadershipLost, match="the Lease is gone"):
            lease.check()

    def test_tells_since_when_it_is_over(self) -> None:
        """A term that lapsed ended at its deadline, though it was noticed later."""
        clock = Watch()
        lease = term(clock)
        assert math.inf == lease.ended_at
        clock.now = 200.0
        assert 110 == lease.ended_at

    def test_is_released_by_default(self) -> None:
        """Guarded work that says nothing has no write of unknown outcome."""
        assert term(Watch()).release_when()

    def test_shows_its_state(self) -> None:
        """The repr tells a person what it is worth."""
        clock = Watch()
        lease = term(clock)
        assert "<Lease of me, term 1, transitions 3, valid for 10.000 s>" == repr(lease)
        lease.released = True
        lease.end("gone")
        assert "<Lease of me, term 1, transitions 3, released, lost: gone>" == repr(lease)


class TestUnelected:
    def test_lasts_until_it_is_ended(self) -> None:
        """Without an election the term is valid for ever, but not after it was ended."""
        clock = Watch()
        lease = Lease.unelected(clock=clock, identity="me", term=2)
        clock.now = 1e9
        lease.check()
        lease.end("stopped")
        assert not lease.valid

    def test_must_be_fenced(self) -> None:
        """Who wrote before isn't known, and waiting wouldn't help."""
        lease = Lease.unelected(clock=Watch(), identity="me", term=2)
        assert (2, False, False) == (lease.term, lease.released, lease.doubtful)

    def test_has_nobody_to_confirm_it(self) -> None:
        """Without an election there is no lock to read: what check says is all there is."""
        lease = Lease.unelected(clock=Watch(), identity="me", term=2)
        asyncio.run(lease.confirm())
        lease.end("stopped")
        with pytest.raises(LeadershipLost, match="stopped"):
            asyncio.run(lease.confirm())
