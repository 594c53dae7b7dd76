"""The reader of a durable subscription on the embedded log. One broker owns the file, so no partition moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.core.entry import Interest, Page
from broker.ports import Assigned, AssignmentChange, SubscriptionKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.ackstate import AckState
    from broker.core.streams import StreamPartition
    from broker.messagelog.tail import Watch


class _Log(Protocol):
    """The part of the log that a cursor needs."""

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page: ...

    def watch(self, interest: Interest) -> Watch: ...

    async def commit(self, subscription: SubscriptionKey, states: Mapping[StreamPartition, AckState]) -> None: ...


class SqliteCursor:
    """See ``LogCursor``."""

    def __init__(
        self,
        log: _Log,
        subscription: SubscriptionKey,
        kinds: frozenset[str],
        states: Mapping[StreamPartition, AckState],
    ) -> None:
        self._log = log
        self._subscription = subscription
        self._interest = Interest(subscription.agency, kinds)
        self._watch = log.watch(self._interest)
        self._next = {partition: state.floor for partition, state in states.items()}
        self._changes: list[AssignmentChange] = [Assigned(partition, state) for partition, state in states.items()]

    def assignment_changes(self) -> list[AssignmentChange]:
        """See ``LogCursor``."""
        changes, self._changes = self._changes, []
        return changes

    async def wait(self) -> None:
        """See ``LogCursor``."""
        if not self._changes:
            await self._watch.wait()

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> Page:
        """See ``LogCursor``."""
        page = await self._log.read_wanted(partition, self._next[partition], self._interest, max_records, max_bytes)
        self._next[partition] = page.next_offset
        return page

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        """See ``LogCursor``."""
        await self._log.commit(self._subscription, states)
        return frozenset(states)

    async def close(self) -> None:
        """See ``LogCursor``."""
        self._watch.close()
