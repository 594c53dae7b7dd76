"""The account of an agency at a service. Kept for the life of the process: agencies and services are few."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.services.buckets import Bucket


class Account:
    """What one agency has to pay at one service, and what is not judged yet.

    Attributes:
        bucket: what it may send in vain. None: nothing counts against it.
        cancelled: what its clients may cancel.
        held, large: what counts until it is judged, and the bytes of the large messages in it (services/turns).
        waiting: bytes of the messages that were read and wait to be used.
        lines: messages that must wait are used in their order. A large one holds up no small one.
        reading, refusing: the lines of calls that must wait before a message is read, or before they are refused.
        changed: see ``change``.
    """

    def __init__(self) -> None:
        self.bucket: Bucket | None = None
        self.cancelled: Bucket | None = None
        self.held = 0
        self.large = 0
        self.waiting = 0
        self.lines = {is_large: asyncio.Lock() for is_large in (False, True)}
        self.reading, self.refusing = asyncio.Lock(), asyncio.Lock()
        self.changed = asyncio.Event()

    def change(self) -> None:
        """Something was judged, so others may go on."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def change_within(self, seconds: float | None) -> None:
        """Wait for a change, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.changed.wait()
