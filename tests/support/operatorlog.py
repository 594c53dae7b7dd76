"""What a broker in this process tells its operator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence


async def told(lines: Sequence[MutableMapping[str, Any]], *events: str) -> dict[str, MutableMapping[str, Any]]:
    """The first line of each of these events, once there is one. ``lines`` is what ``capture_logs`` fills."""
    async with asyncio.timeout(60):
        while True:
            found = {line["event"]: line for line in reversed(lines) if line["event"] in events}
            if len(found) == len(events):
                return found
            await asyncio.sleep(0.02)
