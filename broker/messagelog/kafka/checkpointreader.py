"""Read the checkpoints that followers publish. Each extension is kept until the local tree has grown past it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from kafka import TopicPartition
from kafka.errors import KafkaError
from tenacity import retry

from broker.core.errors import CaseExchangeError, CheckpointInvalid
from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.core.tree.origin import incarnation_of, trust_domain_of
from broker.messagelog.kafka.assigned import AssignedConsumer
from broker.messagelog.kafka.connection import CHECKPOINTS, RETRY_WAIT, translate
from broker.messagelog.kafka.extensions import decode_extension
from broker.messagelog.kafka.standstill import moving
from broker.messagelog.kafka.thread import ClientThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kafka import KafkaConsumer

    from broker.core.incarnations import Incarnations
    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.connection import KafkaConnection
    from broker.messagelog.kafka.extensions import SizedExtension
    from broker.ports import LogKeys, TreeExtension

_POLL_MS: Final = 200
_STRANGERS: Final = 3


class CheckpointReader:
    """See the module. For one event loop."""

    def __init__(
        self,
        connection: KafkaConnection,
        partitions: Sequence[StreamPartition],
        *,
        trust_domain: str,
        keys: LogKeys,
        declared: Callable[[], Incarnations],
        report: Callable[[CaseExchangeError], None],
    ) -> None:
        topic = connection.topic(CHECKPOINTS)
        self._connection = connection
        self._topics = {TopicPartition(topic, number): partition for number, partition in enumerate(partitions)}
        self._trust_domain = trust_domain
        self._keys = keys
        self._declared = declared
        self._report = report
        self._thread = ClientThread("kafka-checkpoints")
        self._consumer = AssignedConsumer(connection, isolation_level="read_committed", fetch_max_wait_ms=_POLL_MS)
        self._next = dict.fromkeys(partitions, 0)
        self._kept: dict[StreamPartition, dict[int, TreeExtension]] = {partition: {} for partition in partitions}
        self.largest = dict.fromkeys(partitions, 0)
        """The size of the largest tree that was published for each partition, as far as this process has read."""
        self.strangers: set[str] = set()
        """The trust domains in notes that no known key has signed. Anybody may have written them. A few are kept."""
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to read. Return when everything that was published before the call is read.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        ends = await self._ends(list(self._topics))
        self._task = asyncio.create_task(self._run(), name="kafka checkpoints")
        await moving(self._reached(ends), lambda: sum(self._next.values()), self._connection.timeout_seconds)

    async def to_the_end(self, partition: StreamPartition) -> None:
        """Return when everything that is now published in a partition is read.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        await self._reached(await self._ends([topic for topic, which in self._topics.items() if which == partition]))

    def after(self, partition: StreamPartition, size: int) -> TreeExtension | None:
        """The first extension of the tree of ``size`` leaves. Extensions of smaller trees are dropped."""
        kept = self._kept[partition]
        for earlier in [before for before in list(kept) if before < size]:
            del kept[earlier]
        return kept.get(size)

    async def close(self) -> None:
        """Stop reading. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._thread.end(self._consumer.drop)

    async def _reached(self, ends: dict[StreamPartition, int]) -> None:
        while any(self._next[partition] < end for partition, end in ends.items()):
            await self._moved.wait()

    async def _ends(self, topics: list[TopicPartition]) -> dict[StreamPartition, int]:
        def ask() -> dict[StreamPartition, int]:
            ends = self._connect().end_offsets(topics)
            return {self._topics[topic]: end for topic, end in ends.items()}

        try:
            return await self._thread.call(ask)
        except KafkaError as error:
            await self._thread.call(self._consumer.drop)
            raise translate(error) from error

    @retry(wait=RETRY_WAIT)
    async def _run(self) -> None:
        try:
            while True:
                await self._thread.call(self._poll)
                moved, self._moved = self._moved, asyncio.Event()
                moved.set()
        except Exception as error:
            await self._thread.call(self._consumer.drop)
            self._report(translate(error))
            raise

    # --- in the thread ---

    def _connect(self) -> KafkaConsumer:
        return self._consumer.at({topic: self._next[partition] for topic, partition in self._topics.items()})

    def _poll(self) -> None:
        consumer = self._connect()
        for topic, records in consumer.poll(_POLL_MS).items():
            partition = self._topics[topic]
            for record in records:
                self._take(partition, record.value or b"")
        for topic, partition in self._topics.items():
            position = consumer.position(topic, timeout_ms=_POLL_MS)
            if position is not None:
                self._next[partition] = max(self._next[partition], position)

    def _take(self, partition: StreamPartition, value: bytes) -> None:
        try:
            published = self._checked(partition, value)
        except CheckpointInvalid as error:
            # Not ours. It only shows that somebody wrote there.
            self._report(error)
            return
        except CaseExchangeError:
            raise
        except Exception as error:  # noqa: BLE001 - one strange value must not hold up all that follow it for ever
            self._report(translate(error))
            return
        if published is None:
            return
        self.largest[partition] = max(self.largest[partition], published.extension.head.size)
        kept = self._kept[partition]
        before = kept.get(published.size)
        # Of two extensions of one tree the first counts. The empty tree's checkpoint gives way to a larger tree's.
        if before is None or before.head.size == published.size:
            kept[published.size] = published.extension

    def _checked(self, partition: StreamPartition, value: bytes) -> SizedExtension | None:
        published = decode_extension(value)
        note = parse_note(published.extension.head.note)
        try:
            verify_note(note, self._keys.verifiers())
        except CheckpointInvalid:
            domain = trust_domain_of(Checkpoint.parse(note.text).origin)
            if domain and len(self.strangers) < _STRANGERS:
                self.strangers.add(domain)
            raise
        checkpoint = Checkpoint.parse(note.text)
        # The caller decides which incarnation it may be. One whose place another log took is nobody's any more.
        log_id = incarnation_of(checkpoint.origin, self._trust_domain, partition)
        if self._declared().next(partition, log_id) is not None:
            return None
        if checkpoint.size != published.extension.head.size:
            message = "a published checkpoint is of another size than its leaves"
            raise CheckpointInvalid(message, partition=str(partition))
        return published
