"""How often witnesses are asked, and how long the newest checkpoints may wait for a quorum of cosignatures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.errors import CosignaturesLate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.ports import Clock

_NAMED: Final = 5
"""An error names this many witnesses at most: it goes to callers, in the headers of an answer."""


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
        troubles: what is wrong with each witness now, by its name. Empty: nothing.
    """

    def __init__(self, seconds: float, clock: Clock, troubles: Mapping[str, str]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._troubles = troubles
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
        message = f"the newest checkpoints wait for cosignatures since {seconds:.0f} s{self._whose_fault()}"
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

    def _whose_fault(self) -> str:
        open_ones = [f"{name}: {trouble}" for name, trouble in sorted(self._troubles.items()) if name and trouble]
        more = len(open_ones) - _NAMED
        named = [*open_ones[:_NAMED], f"and {more} more"] if more > 0 else open_ones
        return "".join(f"; {one}" for one in named)
