"""Produce sealed entries: what one append sends, and its result.

The producer is idempotent: it repeats an interrupted request without storing anything twice, and keeps the order within
a partition. An outcome that it does not learn in time is reported as unknown, never as done. After such a failure a new
producer is made, so that the old one's state cannot affect later records.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka.errors import KafkaError

from broker.core.errors import LogUnavailable
from broker.core.seal import APPEND_ID_BYTES, Sealing, append_statement, prepare_seals, value_digest
from broker.messagelog.kafka.connection import translate
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
"""Kafka's answer if it knows that it has answered the request before, but no longer knows the offset."""
_BATCH_BYTES: Final = 256 << 10
_PATIENCE: Final = 1.5
"""An append may take this many times as long as a request."""
_RETRY_SECONDS: Final = 1.0


class Produced(NamedTuple):
    """All in-sync replicas have the entry at this offset of its partition. The offset may be ``OFFSET_UNKNOWN``."""

    entry: NewEntry
    offset: int


class Appender:
    """Seals and produces entries. For one event loop; calls may be concurrent.

    Args:
        connection: how to reach the cluster.
        log_ids: the topic id of each stream.
        signer: the checkpoint key, which the directory lists.
        clock: gives the sealed time.
        entropy: gives append ids.
        value_bytes: the size of the largest value.
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
        self._failed_at = -_RETRY_SECONDS

    async def append(self, entries: Sequence[NewEntry]) -> list[Produced]:
        """Produce entries, each with its own seal, in order within a partition.

        Raises:
            LogUnavailable: it is unknown which of them were stored.
            LogAccessDenied, RecordTooLarge
        """
        answers = _Answers(len(entries), asyncio.get_running_loop())
        producer = self._producer
        try:
            # The producer itself stops after the request's time. The rest is for callers that wait for their turn.
            async with asyncio.timeout(_PATIENCE * self._connection.timeout_seconds):
                producer = await self._thread.call(self._send, entries, answers)
                offsets = await answers.all
        except TimeoutError:
            answers.abandoned = True
            self._give_up(producer)
            message = "Kafka did not acknowledge records in time"
            raise LogUnavailable(message) from None
        except KafkaError as error:
            self._give_up(producer)
            raise translate(error) from error
        return [Produced(entry, offset) for entry, offset in zip(entries, offsets, strict=True)]

    async def close(self) -> None:
        """Let the records under way finish, within the time limit, and close. Idempotent."""
        self._give_up(self._producer)
        self._thread.close()

    # --- in the thread ---

    def _send(self, entries: Sequence[NewEntry], answers: _Answers) -> KafkaProducer | None:
        if answers.abandoned:
            # The caller has already been answered that the outcome is unknown. Nothing may be sent after that.
            return None
        seals, at_ms = self._seal(entries)
        try:
            if self._producer is None:
                self._wait_for_kafka()
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
            self._failed_at = time.monotonic()
            self._give_up(self._producer)
            raise translate(error) from error
        return producer

    def _wait_for_kafka(self) -> None:
        """Refuse at once if the last attempt to reach Kafka failed a moment ago: each attempt takes its full time."""
        if time.monotonic() - self._failed_at < _RETRY_SECONDS:
            message = "Kafka could not be reached a moment ago"
            raise LogUnavailable(message)

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
        """Stop using this producer. Other callers may have records under way in it, so it closes in the background."""
        if producer is not None and producer is self._producer:
            self._producer = None
            self._connection.retire(producer)


class _Answers:
    """Collects the acknowledgements of one append: the offsets in order, or the first failure."""

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.all: asyncio.Future[list[int]] = loop.create_future()
        self._loop = loop
        self._offsets = [OFFSET_UNKNOWN] * count
        self._missing = count
        self._lock = threading.Lock()
        self.abandoned = False
        """Whether the caller has stopped waiting."""

    def expect(self, index: int, sent: Any) -> None:
        sent.add_callback(lambda metadata: self._done(index, metadata.offset))
        sent.add_errback(self._notify)

    def _done(self, index: int, offset: int) -> None:
        with self._lock:
            self._offsets[index] = offset
            self._missing -= 1
            last = self._missing == 0
        if last:
            self._notify(None)

    def _notify(self, error: Exception | None) -> None:
        # A closed loop has no caller that waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: Exception | None) -> None:
        if self.all.done():
            return
        if error is None:
            self.all.set_result(self._offsets)
        else:
            self.all.set_exception(error)
