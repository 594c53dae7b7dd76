"""The ports of time and chance."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The time. Safe to call from any thread."""

    def now_ms(self) -> int:
        """The time of day: milliseconds since the Unix epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back. Use only the difference of two values."""


class WatchedClock(Clock, Protocol):
    """A clock that notices when the machine's time of day leaps."""

    def leap_ms(self) -> int:
        """How far the machine's time of day has leapt away from this clock, in milliseconds. 0: it has not."""


class Entropy(Protocol):
    """Unpredictable numbers. Safe to call from any thread."""

    def record_id(self) -> str:
        """A fresh RFC 9562 UUIDv7 in canonical text."""

    def token(self, size: int) -> bytes:
        """``size`` fresh random bytes, good enough for salts and ids."""
