"""The reader of a durable subscription on the embedded log. One broker owns the file, so no partition moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.ports import Assigned, AssignmentChange, SubscriptionKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.ackstate import AckState
    from broker.core.entry import LogEntry
    from broker.core.streams import StreamPartition


class _Log(Protocol):
    """The part of the log that a cursor needs."""

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int
    ) -> list[LogEntry]: ...

    async def wait_beyond(self, partitions: Mapping[StreamPartition, int]) -> None: ...

    async def commit(self, subscription: SubscriptionKey, states: Mapping[StreamPartition, AckState]) -> None: ...


class SqliteCursor:
    """See ``LogCursor``."""

    def __init__(self, log: _Log, subscription: SubscriptionKey, states: Mapping[StreamPartition, AckState]) -> None:
        self._log = log
        self._subscription = subscription
        self._next = {partition: state.floor for partition, state in states.items()}
        self._changes: list[AssignmentChange] = [Assigned(partition, state) for partition, state in states.items()]

    def assignment_changes(self) -> list[AssignmentChange]:
        """See ``LogCursor``."""
        changes, self._changes = self._changes, []
        return changes

    async def wait(self) -> None:
        """See ``LogCursor``."""
        if not self._changes:
            await self._log.wait_beyond(self._next)

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> list[LogEntry]:
        """See ``LogCursor``."""
        entries = await self._log.read(partition, self._next[partition], max_records, max_bytes)
        if entries:
            self._next[partition] = entries[-1].position.offset + 1
        return entries

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        """See ``LogCursor``."""
        await self._log.commit(self._subscription, states)
        return frozenset(states)

    async def close(self) -> None:
        """See ``LogCursor``."""
