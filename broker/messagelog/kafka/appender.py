"""Producing sealed entries: what one append sends, and what came of it.

The producer is idempotent: it repeats a request that was cut off without storing anything twice, and keeps the order
within a partition. What it cannot settle in time is reported as unknown, never as done. After any such failure a new
producer is made, so that no state of the old one decides what happens to later records.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka.errors import KafkaError

from broker.core.errors import LogUnavailable
from broker.core.seal import APPEND_ID_BYTES, Sealing, append_statement, prepare_seals, value_digest
from broker.messagelog.kafka.connection import close_producer, translate
from broker.messagelog.kafka.records import headers_of
from broker.messagelog.kafka.thread import ClientThread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kafka import KafkaProducer

    from broker.core.entry import NewEntry
    from broker.core.seal import Seal
    from broker.messagelog.kafka.connection import KafkaConnection
    from broker.ports import Clock, Entropy, NoteSigner

OFFSET_UNKNOWN: Final = -1
"""What Kafka answers where it knows a request that it has answered before, and no longer the offset."""
_BATCH_BYTES: Final = 256 << 10


class Produced(NamedTuple):
    """An entry is with all in-sync replicas, at this offset of its partition (or at one that is not known)."""

    entry: NewEntry
    offset: int


class Appender:
    """Seals and produces. For one event loop; calls may be concurrent.

    Args:
        connection: to the cluster.
        log_ids: the topic id of each stream.
        signer: the checkpoint key, which the directory lists.
        clock: gives the sealed time.
        entropy: gives append ids.
        value_bytes: the largest value that is produced.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        log_ids: Mapping[str, str],
        signer: NoteSigner,
        clock: Clock,
        entropy: Entropy,
        value_bytes: int,
    ) -> None:
        self._connection = connection
        self._log_ids = log_ids
        self._signer = signer
        self._clock = clock
        self._entropy = entropy
        self._value_bytes = value_bytes
        self._thread = ClientThread("kafka-producer")
        self._producer: KafkaProducer | None = None

    async def append(self, entries: Sequence[NewEntry]) -> list[Produced]:
        """Produce entries, each with a seal of its own, in order within a partition.

        Raises:
            LogUnavailable: it is unknown which of them were stored.
            LogAccessDenied, RecordTooLarge
        """
        answers = _Answers(len(entries), asyncio.get_running_loop())
        producer = await self._thread.call(self._send, entries, answers)
        try:
            async with asyncio.timeout(2 * self._connection.timeout_seconds):
                offsets = await answers.all
        except TimeoutError:
            await self._thread.call(self._give_up, producer)
            message = "Kafka did not acknowledge records in time"
            raise LogUnavailable(message) from None
        except KafkaError as error:
            await self._thread.call(self._give_up, producer)
            raise translate(error) from error
        return [Produced(entry, offset) for entry, offset in zip(entries, offsets, strict=True)]

    async def close(self) -> None:
        """Let what is under way finish, within bounds, and close. Idempotent."""
        await self._thread.call(self._give_up, self._producer)
        self._thread.close()

    # --- in the thread ---

    def _send(self, entries: Sequence[NewEntry], answers: _Answers) -> KafkaProducer:
        seals, at_ms = self._seal(entries)
        try:
            if self._producer is None:
                self._producer = self._connection.producer(
                    batch_size=_BATCH_BYTES, max_request_size=self._value_bytes + _BATCH_BYTES
                )
            producer = self._producer
            for index, (entry, seal) in enumerate(zip(entries, seals, strict=True)):
                sent = producer.send(
                    self._connection.topic(entry.partition.stream),
                    partition=entry.partition.partition,
                    key=entry.ordering_key.encode(),
                    value=entry.value,
                    headers=headers_of(entry, seal),
                    timestamp_ms=at_ms,
                )
                answers.expect(index, sent)
        except KafkaError as error:
            self._give_up(self._producer)
            raise translate(error) from error
        return producer

    def _seal(self, entries: Sequence[NewEntry]) -> tuple[list[Seal], int]:
        sealing = Sealing(self._entropy.token(APPEND_ID_BYTES), self._clock.now_ms())
        unsigned = prepare_seals(
            [
                append_statement(entry, self._log_ids[entry.partition.stream], sealing, value_digest(entry.value))
                for entry in entries
            ]
        )
        signature = self._signer.sign(unsigned.text)
        return unsigned.signed(self._signer.key_id, sealing.append_id, signature), sealing.at_ms

    def _give_up(self, producer: KafkaProducer | None) -> None:
        """Use this producer no more. Others may have records under way in it, so it is closed beside the next one."""
        if producer is not None and producer is self._producer:
            self._producer = None
            threading.Thread(target=close_producer, args=(producer,), name="kafka-producer-close", daemon=True).start()


class _Answers:
    """Gathers the acknowledgements of one append: the offsets in order, or the first failure."""

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.all: asyncio.Future[list[int]] = loop.create_future()
        self._loop = loop
        self._offsets = [OFFSET_UNKNOWN] * count
        self._missing = count
        self._lock = threading.Lock()

    def expect(self, index: int, sent: Any) -> None:
        sent.add_callback(lambda metadata: self._done(index, metadata.offset))
        sent.add_errback(self._tell)

    def _done(self, index: int, offset: int) -> None:
        with self._lock:
            self._offsets[index] = offset
            self._missing -= 1
            last = self._missing == 0
        if last:
            self._tell(None)

    def _tell(self, error: Exception | None) -> None:
        # A loop that is closed has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: Exception | None) -> None:
        if self.all.done():
            return
        if error is None:
            self.all.set_result(self._offsets)
        else:
            self.all.set_exception(error)
