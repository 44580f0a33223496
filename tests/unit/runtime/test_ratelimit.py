from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam.runtime.errors import ConfigurationError
from nodeipam.runtime.ratelimit import Backoff, TokenBucket

RNG = random.Random(1)


class _Fixed(random.Random):
    """A random source that always answers the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        return self._value


class TestBackoff:
    def test_doubles_from_base_to_cap(self) -> None:
        """Without jitter the delays are base, 2 base, 4 base and so on, up to the cap and no further."""
        backoff = Backoff(base=0.5, cap=3.0, jitter=0.0)

        assert [0.5, 1.0, 2.0, 3.0, 3.0] == [backoff.delay(n, RNG) for n in range(1, 6)]

    def test_nothing_to_wait_for(self) -> None:
        """After no failure there is nothing to wait for."""
        assert 0.0 == Backoff().delay(0, RNG)

    def test_many_failures_do_not_overflow(self) -> None:
        """A key that failed a million times waits for the cap, where the power itself is out of range."""
        assert 300.0 == Backoff(jitter=0.0).delay(1_000_000, RNG)

    def test_defaults_are_client_gos(self) -> None:
        """The first delay is client-go's 5 ms, less at most a tenth."""
        assert 0.005 == Backoff().delay(1, _Fixed(0.0))
        assert 0.0045 == pytest.approx(Backoff().delay(1, _Fixed(1.0)))

    @given(
        failures=st.integers(1, 200),
        jitter=st.floats(0.0, 1.0),
        value=st.floats(0.0, 1.0, exclude_max=True),
    )
    def test_jitter_only_shortens(self, failures: int, jitter: float, value: float) -> None:
        """A jittered delay lies between (1 - jitter) times the exact one and the exact one."""
        exact = Backoff(jitter=0.0).delay(failures, RNG)
        delay = Backoff(jitter=jitter).delay(failures, _Fixed(value))

        assert exact * (1 - jitter) - 1e-12 <= delay <= exact

    @pytest.mark.parametrize(
        "wrong",
        [
            {"base": 0.0},
            {"base": 5.0, "cap": 1.0},
            {"cap": math.inf},
            {"factor": 0.5},
            {"jitter": 1.5},
            {"jitter": -0.1},
            {"base": math.nan},
        ],
    )
    def test_impossible_numbers(self, wrong: dict[str, float]) -> None:
        """Numbers that can't work are refused where they are given, and the message repeats them."""
        with pytest.raises(ConfigurationError, match=str(next(iter(wrong.values())))):
            Backoff(**wrong)


class TestTokenBucket:
    def test_burst_then_rate(self) -> None:
        """A full bucket serves its burst at once; then each caller waits behind the ones before it."""
        bucket = TokenBucket(rate=2.0, burst=3)

        assert [0.0, 0.0, 0.0, 0.5, 1.0] == [bucket.reserve(100.0) for _ in range(5)]

    def test_refills_up_to_burst(self) -> None:
        """Time gives back `rate` tokens a second, and never more than the burst."""
        bucket = TokenBucket(rate=2.0, burst=2)
        bucket.reserve(0.0)
        bucket.reserve(0.0)

        assert [0.0, 0.5] == [bucket.reserve(0.5), bucket.reserve(0.5)]
        assert [0.0, 0.0, 0.5] == [bucket.reserve(1000.0) for _ in range(3)]

    def test_try_take_owes_nothing(self) -> None:
        """A refused try takes nothing, so the next token comes in its own time."""
        bucket = TokenBucket(rate=1.0, burst=1)

        assert [True, False, False, True] == [bucket.try_take(now) for now in (0.0, 0.5, 0.9, 1.0)]

    def test_clock_running_backwards(self) -> None:
        """A reading from the past adds no token, nor does the way back to the present."""
        bucket = TokenBucket(rate=1.0, burst=1)

        assert [True, False, False] == [bucket.try_take(now) for now in (10.0, 5.0, 10.0)]

    @given(st.lists(st.floats(0.0, 5.0), max_size=50), st.floats(0.1, 10.0), st.integers(1, 5))
    def test_never_more_than_rate_and_burst(self, gaps: list[float], rate: float, burst: int) -> None:
        """In no stretch of time more tokens are given than the burst and the rate allow."""
        bucket, now, taken = TokenBucket(rate, burst), 0.0, 0
        for gap in gaps:
            now += gap
            taken += bucket.try_take(now)

        assert taken <= burst + rate * now + 1e-6

    @pytest.mark.parametrize("rate, burst", [(0.0, 1), (-1.0, 1), (math.inf, 1), (1.0, 0)])
    def test_impossible_numbers(self, rate: float, burst: int) -> None:
        """A bucket that could never give a token, or always would, is refused with its numbers."""
        with pytest.raises(ConfigurationError, match=f"not {rate} and {burst}"):
            TokenBucket(rate, burst)

    def test_repr(self) -> None:
        """A person sees how many tokens are left."""
        assert "<TokenBucket 3.00 of 3, 2/s>" == repr(TokenBucket(2.0, 3))
