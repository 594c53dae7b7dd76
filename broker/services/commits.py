"""The commits of one subscription: one at a time, each with the acknowledgements that it makes durable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.services.deliveries import Acknowledged, LeasesLost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.core.leasing.ackstate import AckState
    from broker.core.streams import StreamPartition
    from broker.ports import LogCursor
    from broker.services.round import Round


class Commits:
    """For one event loop. ``changed`` is called when a commit ends."""

    def __init__(self, cursor: LogCursor, changed: Callable[[], None]) -> None:
        self._cursor = cursor
        self._changed = changed
        self._task: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether a commit is under way."""
        return self._task is not None and not self._task.done()

    async def ended(self) -> None:
        """Wait until no commit is under way.

        Raises:
            LogUnavailable: it is unknown whether the last one is durable.
        """
        task, self._task = self._task, None
        if task is not None:
            await task

    def begin(self, done: Round, states: Mapping[StreamPartition, AckState]) -> None:
        """Commit states, then confirm the acknowledgements of a round. The last commit has ended."""
        self._task = asyncio.create_task(self._commit(done, states))
        self._task.add_done_callback(lambda _: self._changed())

    async def close(self) -> None:
        """Wait for the last commit, whatever becomes of it: another cursor may ask next how far the subscription is."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _commit(self, done: Round, states: Mapping[StreamPartition, AckState]) -> None:
        committed = await self._cursor.commit(states)
        for consumer, delivery_ids, hold in done.confirmations(committed):
            consumer.outgoing.put(Acknowledged(delivery_ids) if hold else LeasesLost(delivery_ids))
