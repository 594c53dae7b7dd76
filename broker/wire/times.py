"""Times: milliseconds since the Unix epoch in the core, google.protobuf.Timestamp on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import EnvelopeMalformed

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

_NANOS_PER_MS: Final = 1_000_000
_MAX_SECONDS: Final = 253_402_300_799
"""The last second of the year 9999: the limit of a Timestamp."""


def to_ms(timestamp: Timestamp) -> int:
    """Read a timestamp.

    Raises:
        EnvelopeMalformed: it is before 1970, after 9999, or finer than a millisecond. The core would lose a finer time,
            and two different signed bodies would then look the same.
    """
    whole, rest = divmod(timestamp.nanos, _NANOS_PER_MS)
    if not 0 <= timestamp.seconds <= _MAX_SECONDS or not 0 <= timestamp.nanos < 1000 * _NANOS_PER_MS or rest:
        message = "a time is not in whole milliseconds between 1970 and 9999"
        raise EnvelopeMalformed(message)
    return timestamp.seconds * 1000 + whole


def set_ms(timestamp: Timestamp, ms: int) -> None:
    """Write a time."""
    timestamp.seconds, rest = divmod(ms, 1000)
    timestamp.nanos = rest * _NANOS_PER_MS


def to_seconds(duration: Duration) -> float:
    """Read a duration, of any sign."""
    return duration.seconds + duration.nanos / 1e9


def set_duration(duration: Duration, seconds: float) -> None:
    """Write a duration, to the millisecond."""
    duration.FromMilliseconds(round(seconds * 1000))
