"""A token bucket: what is taken at a rate."""

from __future__ import annotations


class Bucket:
    """A token bucket. More may be taken than is left. Then whoever comes next waits.

    Args:
        rate: how much flows in each second.
        now: seconds of a clock that never goes back, here and below.
        room_seconds: there is room for what flows in within so many seconds.
        most_seconds: the longest wait that it asks for, however much was taken. None: there is no limit.
    """

    def __init__(
        self, rate: float, now: float, *, room_seconds: float = 1.0, most_seconds: float | None = None
    ) -> None:
        self.rate = rate
        self.room = self._level = rate * room_seconds
        self._at = now
        self._least = None if most_seconds is None else -most_seconds * rate

    def level(self, now: float) -> float:
        """How much is left. Below zero: so much more was taken than there was."""
        self._level = min(self.room, self._level + (now - self._at) * self.rate)
        self._at = now
        return self._level

    def wait_seconds(self, now: float) -> float:
        """The time until something may be taken, 0 if now."""
        return max(0.0, -self.level(now) / self.rate)

    def take(self, amount: float, now: float) -> None:
        """Take so much, whether it is there or not."""
        self._level = self.level(now) - amount
        if self._least is not None:
            self._level = max(self._level, self._least)
