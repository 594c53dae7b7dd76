"""What a stream of a subscription has been handed, and what of it was not written to its connection yet.

A subscriber that reads slowly, or not at all, must cost no more memory than its limits. So:

- a stream gets no new delivery while one of its deliveries has lost its lease and was not written yet: it would be the
  same bytes again
- no request of a subscriber is taken while too many answers to earlier ones wait
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.services.deliveries import Deliveries

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.services.deliveries import Outgoing

_MESSAGES: Final = 256
"""With so many unwritten messages, the next request of the subscriber waits."""


class SendQueue:
    """The messages of one stream, in order. For one event loop, and one task that calls ``next``."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Outgoing] = asyncio.Queue()
        self._unwritten: dict[int, None] = {}
        self._writing: Outgoing | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._when_written: Callable[[], None] | None = None

    def put(self, message: Outgoing) -> None:
        """Hand a message to the stream. Never waits."""
        if isinstance(message, Deliveries):
            self._unwritten.update((copy.delivery_id, None) for copy in message.copies)
        self._messages.put_nowait(message)
        if self._messages.qsize() >= _MESSAGES:
            self._room.clear()

    async def next(self) -> Outgoing:
        """The next message to write. The one before it was written."""
        written, self._writing = self._writing, None
        if isinstance(written, Deliveries):
            for copy in written.copies:
                del self._unwritten[copy.delivery_id]
            if not self._unwritten and self._when_written is not None:
                call, self._when_written = self._when_written, None
                call()
        message = self._writing = await self._messages.get()
        self._room.set()
        return message

    async def room(self) -> None:
        """Wait until few messages wait to be written."""
        await self._room.wait()

    def is_behind(self, is_leased: Callable[[int], bool], when_written: Callable[[], None]) -> bool:
        """Whether the oldest unwritten delivery has lost its lease. Leases end in the order in which they begin.

        Args:
            is_leased: whether the lease of a delivery runs.
            when_written: if so, called once when every delivery is written.
        """
        oldest = next(iter(self._unwritten), None)
        behind = oldest is not None and not is_leased(oldest)
        self._when_written = when_written if behind else None
        return behind
