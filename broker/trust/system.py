"""This machine's clock and random numbers."""

from __future__ import annotations

import contextlib
import resource
import secrets
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_ONE_MOMENT_SECONDS: Final = 0.05
LEAP_MS: Final = 120_000
"""A larger step of the machine's time of day is a leap. As much may a publisher's clock be ahead."""
_VERSION: Final = 0x7 << 12
_VARIANT: Final = 0x2 << 62


def forbid_core_dumps() -> None:
    """The system writes no core dump of this process, or of those that it starts: it would hold keys and records.

    A program to which the system hands its dumps (``core_pattern``) sees the limit too, and has to heed it, as
    systemd-coredump does.
    """
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


class SystemClock:
    """The port Clock."""

    def now_ms(self) -> int:
        """See ``Clock``."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _uptime() -> float:
    # On Linux it goes on while the machine sleeps. Elsewhere a machine that slept seems to have leapt.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class SteadyClock:
    """The port WatchedClock: the machine's time of day, while it goes on as steadily as the machine's uptime does.

    If it leaps, this clock goes on by the uptime. So nothing is accepted at the wrong time, which nobody could take
    back: accepted times never fall. It follows corrections of at most ``LEAP_MS``.
    """

    def __init__(self, wall_ms: Callable[[], int] = _wall_ms, uptime: Callable[[], float] = _uptime) -> None:
        """Begin with the machine's time of day.

        Args:
            wall_ms: this time, in milliseconds since the Unix epoch, UTC.
            uptime: seconds since any moment, also while the machine sleeps.
        """
        self._wall_ms, self._uptime = wall_ms, uptime
        now_ms, uptime_ms = self._read()
        self._started_ms = now_ms - uptime_ms

    def now_ms(self) -> int:
        """See ``Clock``."""
        now_ms, uptime_ms = self._read()
        if _is_leap(now_ms - self._started_ms - uptime_ms):
            return self._started_ms + uptime_ms
        self._started_ms = now_ms - uptime_ms
        return now_ms

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    def leap_ms(self) -> int:
        """See ``WatchedClock``."""
        now_ms, uptime_ms = self._read()
        leap_ms = now_ms - self._started_ms - uptime_ms
        return leap_ms if _is_leap(leap_ms) else 0

    def _read(self) -> tuple[int, int]:
        """The time of day and the uptime of one moment, in milliseconds."""
        while True:
            before, now_ms, after = self._uptime(), self._wall_ms(), self._uptime()
            # A process that was stopped between the two would seem to have leapt.
            if after - before < _ONE_MOMENT_SECONDS:
                return now_ms, round(after * 1000)


def _is_leap(difference_ms: int) -> bool:
    return abs(difference_ms) > LEAP_MS


class SystemEntropy:
    """The port Entropy, from the operating system's generator."""

    def record_id(self) -> str:
        """See ``Entropy``. RFC 9562 section 5.7: 48 bits of time in milliseconds, then 74 random bits."""
        random = secrets.randbits(74)
        high = (time.time_ns() // 1_000_000 & ((1 << 48) - 1)) << 16 | _VERSION | random >> 62
        low = _VARIANT | random & ((1 << 62) - 1)
        text = f"{high << 64 | low:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def token(self, size: int) -> bytes:
        """See ``Entropy``."""
        return secrets.token_bytes(size)
