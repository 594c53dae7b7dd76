"""This machine's clock and random numbers."""

from __future__ import annotations

import secrets
import time
from typing import Final

_VERSION: Final = 0x7 << 12
_VARIANT: Final = 0x2 << 62


class SystemClock:
    """The port Clock."""

    def now_ms(self) -> int:
        """See ``Clock``."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()


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
