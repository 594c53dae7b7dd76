"""How often witnesses are asked, and how long the newest checkpoints may wait for a quorum of cosignatures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.errors import CosignaturesLate

if TYPE_CHECKING:
    from broker.ports import Clock


@dataclass(frozen=True, slots=True)
class CosigningSettings:
    """How often witnesses are asked, and how late they may be. See [witnesses] in docs/configuration.md."""

    interval_seconds: float = 10.0
    timeout_seconds: float = 5.0
    bound_seconds: float = 600.0
    stop_publishing: bool = False


class CosigningBound:
    """For one event loop.

    Args:
        seconds: the bound.
        clock: gives the time.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._covered = clock.monotonic()
        self._warned: float | None = None

    def cover(self, at: float) -> None:
        """A quorum has cosigned every partition's newest checkpoint of this time (of ``Clock.monotonic``)."""
        self._covered = at

    def late(self) -> CosignaturesLate | None:
        """What is wrong, if the bound is exceeded."""
        seconds = self._clock.monotonic() - self._covered
        if seconds <= self._seconds:
            return None
        message = f"the newest checkpoints wait for cosignatures since {seconds:.0f} s"
        return CosignaturesLate(message, seconds=f"{seconds:.0f}")

    def warning(self) -> CosignaturesLate | None:
        """As ``late``, but only when it begins, and again after each bound."""
        late, now = self.late(), self._clock.monotonic()
        if late is None:
            self._warned = None
        elif self._warned is None or now - self._warned >= self._seconds:
            self._warned = now
            return late
        return None
