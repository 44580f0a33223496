"""How long to wait: after a failure (Backoff), and before a call (TokenBucket).

Both are pure: they are told the time and given the random source, and answer in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .clock import Rng
from .errors import ConfigurationError

__all__ = ["Backoff", "TokenBucket"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """A delay that grows with each failure in a row. The defaults are client-go's, capped lower and jittered.

    Raises:
        ConfigurationError: the numbers can't work together.
    """

    base: float = 0.005
    """Seconds after the first failure."""
    cap: float = 300.0
    """Seconds that no delay exceeds."""
    factor: float = 2.0
    """By how much each further failure lengthens the delay."""
    jitter: float = 0.1
    """The share of the delay that is random: 0 is exact, 1 is anything from nothing to the whole delay."""

    def __post_init__(self) -> None:
        if not 0 < self.base <= self.cap < math.inf:
            raise ConfigurationError(
                f"a Backoff needs 0 < base <= cap, both finite, not base={self.base} and cap={self.cap}"
            )
        if not 1 <= self.factor < math.inf:
            raise ConfigurationError(f"a Backoff's factor is 1 or more, not {self.factor}")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError(f"a Backoff's jitter is a share between 0 and 1, not {self.jitter}")

    def delay(self, failures: int, rng: Rng) -> float:
        """The seconds to wait after `failures` failures in a row; 0.0 after none."""
        if failures < 1:
            return 0.0
        longest = self._longest(failures)
        return longest - longest * self.jitter * rng.random()

    def _longest(self, failures: int) -> float:
        try:
            return min(self.base * self.factor ** (failures - 1), self.cap)
        except OverflowError:
            return self.cap


class TokenBucket:
    """`rate` tokens a second, of which at most `burst` are saved up; it starts full.

    As in client-go's flowcontrol a token may be taken before it is there: its owner waits, and whoever comes
    next waits behind it. `now` is a monotonic reading in seconds; one that runs backwards adds nothing.

    Raises:
        ConfigurationError: `rate` isn't positive or `burst` is less than one.
    """

    __slots__ = ("_burst", "_last", "_rate", "_tokens")

    def __init__(self, rate: float, burst: int) -> None:
        if not 0 < rate < math.inf or burst < 1:
            raise ConfigurationError(
                f"a TokenBucket needs a positive rate and a burst of 1 or more, not {rate} and {burst}"
            )
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._last = -math.inf

    def __repr__(self) -> str:
        return f"<TokenBucket {self._tokens:.2f} of {self._burst}, {self._rate:g}/s>"

    def reserve(self, now: float) -> float:
        """Take a token, and return the seconds to wait until it is there (0.0: at once)."""
        self._refill(now)
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate)

    def try_take(self, now: float) -> bool:
        """Take a token if one is there; False, and nothing is taken, if not."""
        self._refill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _refill(self, now: float) -> None:
        if now > self._last:
            self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate)
            self._last = now
