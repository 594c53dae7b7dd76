"""The reader of a durable subscription on the embedded log. One broker owns the file, so no partition moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from broker.core.entry import Interest, Page
from broker.messagelog.stages import read_staged
from broker.ports import Assigned, AssignmentChange, Revoked, SubscriptionKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.core.errors import CaseExchangeError
    from broker.core.leasing.ackstate import AckState
    from broker.core.streams import StreamPartition
    from broker.core.subscriptions import Generation
    from broker.messagelog.tail import Watch


class _Log(Protocol):
    """The part of the log that a cursor needs."""

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page: ...

    def watch(self, interest: Interest) -> Watch: ...

    def forget(self, cursor: SqliteCursor) -> None: ...

    async def commit(
        self, subscription: SubscriptionKey, generation: Generation, states: Mapping[StreamPartition, AckState]
    ) -> None: ...


class SqliteCursor:
    """See ``LogCursor``."""

    def __init__(
        self,
        log: _Log,
        subscription: SubscriptionKey,
        kinds: frozenset[str],
        generation: Generation,
        states: Mapping[StreamPartition, AckState],
    ) -> None:
        self._log = log
        self.subscription: Final = subscription
        self.generation: Final = generation
        self._interest = Interest(subscription.agency, kinds)
        self._starts = {partition: generation.starts_in(partition, kinds) for partition in states}
        self._watch = log.watch(self._interest)
        self._next = {partition: state.floor for partition, state in states.items()}
        self._held: set[StreamPartition] = set()
        self._failure: CaseExchangeError | None = None
        self._changes: list[AssignmentChange] = [Assigned(partition, state) for partition, state in states.items()]

    def assignment_changes(self) -> list[AssignmentChange]:
        """See ``LogCursor``."""
        changes, self._changes = self._changes, []
        self._held -= {change.partition for change in changes if isinstance(change, Revoked)}
        return changes

    async def wait(self) -> None:
        """See ``LogCursor``."""
        if not self._changes:
            await self._watch.wait()

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> Page:
        """See ``LogCursor``."""
        if self._failure is not None:
            raise self._failure
        if partition in self._held:
            # The caller has not seen the change yet.
            return Page([], 0)
        page = await read_staged(
            self._log,
            partition,
            self._next[partition],
            self._interest,
            self._starts[partition],
            max_records=max_records,
            max_bytes=max_bytes,
        )
        if partition in self._held:
            return Page([], 0)
        self._next[partition] = page.next_offset
        return page

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        """See ``LogCursor``."""
        ours = {partition: state for partition, state in states.items() if partition not in self._held}
        await self._log.commit(self.subscription, self.generation, ours)
        return frozenset(ours)

    async def close(self) -> None:
        """See ``LogCursor``."""
        self._watch.close()
        self._log.forget(self)

    # --- what the log does when it puts records back ---

    def hold(self, partitions: Iterable[StreamPartition]) -> None:
        """Read and commit nothing of these partitions until ``begin_again``, and until the caller has seen it."""
        self._held.update(partition for partition in partitions if partition in self._next)

    def begin_again(self, partition: StreamPartition, stored: AckState | None) -> None:
        """The partition was held. It goes on at what is stored, as if it were assigned again.

        None: nothing was committed in this generation, so it goes on where the generation begins.
        """
        if partition in self._next:
            state = self.generation.begin(partition, self._interest.kinds) if stored is None else stored
            self._next[partition] = state.floor
            self._changes += [Revoked(partition), Assigned(partition, state)]
            self._watch.event.set()

    def fail(self, error: CaseExchangeError) -> None:
        """It is unknown where the held partitions go on."""
        self._failure = error
        self._watch.event.set()
