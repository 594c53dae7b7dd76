"""Quotas: how much of one broker process an agency may use at a time, so that none can stop the others.

They hold for each process. What is over a quota is refused with QuotaExceeded, which says when to try again. A record
that was refused was not appended, so nothing is lost.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.errors import QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.ports import Clock

_AGAIN_SECONDS: Final = 1.0
"""When to try again if only the end of something else makes room."""


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """The quotas of every agency. A rate of 0 is no limit.

    Attributes:
        calls: calls that run at the same time. A stream is a call.
        subscriptions: durable subscriptions that are open at the same time.
        publishing_bytes: content of records that are not answered yet, over all streams.
        records_per_second: records to publish.
        bytes_per_second: their content.
    """

    calls: int = 2000
    subscriptions: int = 1000
    publishing_bytes: int = 64 << 20
    records_per_second: float = 0.0
    bytes_per_second: float = 0.0


class Quotas:
    """What each agency uses now. For one event loop."""

    def __init__(self, limits: QuotaLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._calls: Counter[str] = Counter()
        self._subscriptions: Counter[str] = Counter()
        self._publishing: Counter[str] = Counter()
        self._records: dict[str, _Bucket] = {}
        self._bytes: dict[str, _Bucket] = {}

    @contextlib.contextmanager
    def call(self, agency: str) -> Iterator[None]:
        """Count a call while it runs.

        Raises:
            QuotaExceeded
        """
        _add(self._calls, agency, 1, self._limits.calls, "calls at the same time")
        try:
            yield
        finally:
            _take_off(self._calls, agency, 1)

    def open_subscription(self, agency: str) -> None:
        """Count a subscription until ``close_subscription``.

        Raises:
            QuotaExceeded
        """
        _add(self._subscriptions, agency, 1, self._limits.subscriptions, "open subscriptions")

    def close_subscription(self, agency: str) -> None:
        """A counted subscription has ended."""
        _take_off(self._subscriptions, agency, 1)

    @contextlib.contextmanager
    def publishing(self, agency: str) -> Iterator[Share]:
        """What one call publishes. Whatever it has not given back at its end is given back then."""
        share = Share(self, agency)
        try:
            yield share
        finally:
            share.give_back(share.held)

    def _take(self, agency: str, records: int, size: int) -> None:
        now = self._clock.monotonic()
        for buckets, rate, amount, what in (
            (self._records, self._limits.records_per_second, records, "records a second"),
            (self._bytes, self._limits.bytes_per_second, size, "bytes a second"),
        ):
            if rate:
                bucket = buckets.setdefault(agency, _Bucket(rate, now))
                wait = bucket.wait_seconds(now)
                if wait > 0:
                    raise _exceeded(agency, what, wait)
                bucket.take(amount)
        _add(self._publishing, agency, size, self._limits.publishing_bytes, "bytes of records under way")

    def _give_back(self, agency: str, size: int) -> None:
        _take_off(self._publishing, agency, size)


class Share:
    """The part of one call in what its agency publishes."""

    def __init__(self, quotas: Quotas, agency: str) -> None:
        self._quotas = quotas
        self._agency = agency
        self.held = 0
        """Bytes that are not answered yet."""

    def take(self, records: int, size: int) -> None:
        """Records with so many bytes are to be published.

        Raises:
            QuotaExceeded
        """
        self._quotas._take(self._agency, records, size)  # noqa: SLF001 - two halves of one thing
        self.held += size

    def give_back(self, size: int) -> None:
        """Records with so many bytes are answered."""
        self.held -= size
        self._quotas._give_back(self._agency, size)  # noqa: SLF001 - as above


class _Bucket:
    """A token bucket of one second. A batch may take more than is left. Then the next one waits."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._level = rate
        self._at = now

    def wait_seconds(self, now: float) -> float:
        """The time until something may be taken, 0 if now."""
        self._level = min(self._rate, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, -self._level / self._rate)

    def take(self, amount: int) -> None:
        self._level -= amount


def _add(used: Counter[str], agency: str, amount: int, most: int, what: str) -> None:
    # One thing is always allowed, however large: otherwise it could never be done.
    if used[agency] and used[agency] + amount > most:
        raise _exceeded(agency, what, _AGAIN_SECONDS)
    used[agency] += amount


def _take_off(used: Counter[str], agency: str, amount: int) -> None:
    used[agency] -= amount
    if not used[agency]:
        del used[agency]


def _exceeded(agency: str, what: str, seconds: float) -> QuotaExceeded:
    message = f"{agency} is over its quota of {what}"
    return QuotaExceeded(message, quota=what, retry_after_ms=str(int(seconds * 1000) + 1))
