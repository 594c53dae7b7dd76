"""The ports of the message log: what was accepted, in order, and the audit stream in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from broker.core.entry import Appended, Interest, LogEntry, NewEntry, Page, Stray
    from broker.core.events import AuditEvent
    from broker.core.streams import Position, StreamPartition
    from broker.core.subscriptions import Generation
    from broker.ports.subscriptions import LogCursor, Standing, SubscriptionKey


class LogReader(Protocol):
    """What was accepted, to be read: the part of a ``MessageLog`` that also a log has which another process owns."""

    def log_id(self, stream: str) -> str:
        """The id of this stream's log. Every entry of the log carries it. A log that is made again gets a new id."""

    def partitions(self, stream: str) -> int:
        """The number of a stream's partitions. It never changes for this log."""

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool = True
    ) -> list[LogEntry]:
        """Entries from ``offset`` on, in order; empty at the end. Stops after the entry that reaches ``max_bytes``.

        If the log has lost an entry, the entry is left out. If its other facts are still known, it is returned without
        its value.

        Args:
            partition: the partition to read.
            offset: the lowest offset to return. It need not exist.
            max_records: the largest number of entries to return.
            max_bytes: the limit for the values together. If there is an entry, at least one is returned.
            values: whether to return the values of the entries.

        Raises:
            LogUnavailable, LogCorrupt
        """

    async def not_indexed(self, entries: Sequence[LogEntry]) -> list[Position]:
        """The positions of those entries that a reader would not find who looks for them by their kind and recipients.

        Raises:
            LogUnavailable
        """

    async def close(self) -> None:
        """Release everything. Idempotent."""


class MessageLog(LogReader, Protocol):
    """Stores the records of all streams. Methods may be called concurrently."""

    async def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        """Append records, each record id once. Return the position of each record, in order.

        When it returns, every record is durable as the backend defines it (SQLite: fsync; Kafka: acks=all). Records
        of one call keep their order within a partition, and so do concurrent calls, in the order in which they began.
        If one fails, those fail too that began after it and before its failure was known. Appends to the stream audit
        alone do so among themselves: a log that is too full for records may still take them. Concurrent calls share the
        cost of becoming durable. If the log already has a record id, that record is not appended again, even if its
        bytes differ.

        Raises:
            LogFull: there is no space. None of the entries was appended.
            LogUnavailable: it is unknown which entries were appended. It is safe to append them again.
        """

    async def lookup(self, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        """The positions of these records. Ids that are not in the log are left out.

        Raises:
            LogUnavailable
        """

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page:
        """The wanted entries from ``offset`` on, as ``LogCursor.read`` promises.

        Raises:
            LogCorrupt: more is lost than single entries.
            LogUnavailable
        """

    async def strays(self, partition: StreamPartition) -> list[Stray]:
        """Everything in a partition that no broker of this exchange appended, in order of position.

        ``read`` and cursors never return strays. If only the broker can write to the log, there are none.

        Raises:
            LogUnavailable
        """

    async def end_offset(self, partition: StreamPartition) -> int:
        """The highest durable offset plus one, or 0 if the partition is empty."""

    async def catch_up(self, partition: StreamPartition, offset: int) -> None:
        """Wait until this process can read every entry of the partition below an offset.

        Raises:
            LogCorrupt: the partition ends before this offset.
            LogUnavailable
        """

    async def wait_beyond(self, partitions: Mapping[StreamPartition, int]) -> None:
        """Wait until one of the partitions has an entry at or after the given offset. May be cancelled.

        Raises:
            LogError: there will never be such an entry.
        """

    async def open_cursor(
        self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation
    ) -> LogCursor:
        """Begin to read for a subscription: after its last commit in this generation, or from the generation's starts.

        It wants the records of these kinds that are addressed to its agency, from each kind's start on. All kinds are
        in the vocabulary. A commit never replaces one of a later generation.
        """

    async def standing(self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation) -> Standing:
        """Where a subscription of this generation and these kinds stands.

        Raises:
            LogUnavailable
        """

    async def count_wanted(self, partition: StreamPartition, offsets: Sequence[range], interest: Interest) -> int:
        """How many entries at these offsets an interest concerns. Time: by how many there are.

        Raises:
            LogUnavailable
        """

    async def ping(self) -> None:
        """Check that an append would succeed now.

        Raises:
            LogUnavailable, LogFull
        """

    async def close(self) -> None:
        """Finish the appends that have begun, then release everything. Idempotent."""


class LogRepair(Protocol):
    """Puts back what the log has lost or changed.

    ``rereads``: every subscription reads again by itself what was put back.
    """

    @property
    def rereads(self) -> bool:
        """See the class."""

    def suspected(self, positions: Collection[Position]) -> frozenset[Position]:
        """Those that are worth a look of ``restore``, besides what others know to be damaged.

        A log in which a look costs little returns all of them.
        """

    async def restore(
        self, again: Sequence[tuple[Position, NewEntry]], sound: Callable[[LogEntry], bool]
    ) -> list[Position]:
        """Put back damaged entries.

        The embedded log puts back value, kind, case and recipients, and every subscription of the recipients reads them
        again, also if it had finished them. On Kafka only a value can be damaged for all processes. Its record is
        appended as a copy, and whoever reads the entry from now on, in any process, gets the value of the copy.

        Args:
            again: records that were offered again, with their positions. The caller has checked them.
            sound: whether an entry is what was accepted. Called from another thread.

        Returns:
            The positions of those that were put back: they were not as accepted, or not in the index, and had the same
            record id and digest.

        Raises:
            LogFull, LogUnavailable
        """


class LogErasure(Protocol):
    """Removes the bytes of sections from the log. Only a log that can change what it holds has this."""

    async def erase(self, position: Position, without_erased: Callable[[LogEntry], LogEntry]) -> bool:
        """Write an entry again without some bytes of its value, and leave no copy of them in the log's files.

        Args:
            position: the entry.
            without_erased: the entry as it must be. Called from another thread, perhaps more than once.

        Returns:
            Whether anything was removed. Also if not, the log's files hold no copy that an earlier call left.

        Raises:
            LogUnavailable, LogFull: call it again.
        """


class AuditTrail(Protocol):
    """Writes to the audit stream."""

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Write these events to the audit stream. Durable when it returns. Concurrent calls share one record.

        Raises:
            LogUnavailable, LogFull
        """
