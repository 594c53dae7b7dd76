"""Produce sealed packs: what one append sends, and its result.

The producer is idempotent: it repeats an interrupted request without storing anything twice, and keeps the order within
a partition. An outcome that it does not learn in time is reported as unknown, never as done. After such a failure a new
producer is made, so that the old one's state cannot affect later records.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from kafka.errors import KafkaError

from broker.core.errors import LogUnavailable, RecordTooLarge
from broker.core.seal import APPEND_ID_BYTES, Sealing, pack_statement, prepare_seals
from broker.messagelog.kafka.connection import translate
from broker.messagelog.kafka.packs import PACK_BYTES, VERSION, Draft, drafts_of, fits
from broker.messagelog.kafka.thread import ClientThread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kafka import KafkaProducer

    from broker.core.entry import NewEntry
    from broker.core.seal import Seal
    from broker.messagelog.kafka.connection import KafkaConnection
    from broker.ports import Clock, Entropy, NoteSigner

_PATIENCE: Final = 1.5
"""An append may take this many times as long as a request."""
_RETRY_SECONDS: Final = 1.0


class Appender:
    """Seals and produces entries. For one event loop; calls may be concurrent.

    Args:
        connection: how to reach the cluster.
        log_ids: the topic id of each stream.
        signer: the checkpoint key, which the directory lists.
        clock: gives the sealed time.
        entropy: gives append ids.
        value_bytes: the size of the largest Kafka record's value.
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

    def check_size(self, entries: Sequence[NewEntry]) -> None:
        """Refuse an entry that Kafka would refuse, before it can make others fail.

        Raises:
            RecordTooLarge
        """
        if not all(fits(entry, self._value_bytes) for entry in entries):
            message = "the record is larger than its Kafka topic takes"
            raise RecordTooLarge(message)

    async def append(self, entries: Sequence[NewEntry]) -> bytes:
        """Produce entries as sealed packs, in order within a partition. All in-sync replicas have them then.

        Returns:
            The id of this append, which is in the seals.

        Raises:
            LogUnavailable: it is unknown which of them were stored.
            LogAccessDenied, RecordTooLarge
        """
        answers = _Answers(asyncio.get_running_loop())
        append_id = self._entropy.token(APPEND_ID_BYTES)
        producer = self._producer
        try:
            # The producer itself stops after the request's time. The rest is for callers that wait for their turn.
            async with asyncio.timeout(_PATIENCE * self._connection.timeout_seconds):
                producer = await self._thread.call(self._send, append_id, entries, answers)
                await answers.all
        except TimeoutError:
            answers.abandoned = True
            self._give_up(producer)
            message = "Kafka did not acknowledge records in time"
            raise LogUnavailable(message) from None
        except KafkaError as error:
            self._give_up(producer)
            raise translate(error) from error
        return append_id

    async def close(self) -> None:
        """Let the records under way finish, within the time limit, and close. Idempotent."""
        self._give_up(self._producer)
        self._thread.close()

    # --- in the thread ---

    def _send(self, append_id: bytes, entries: Sequence[NewEntry], answers: _Answers) -> KafkaProducer | None:
        if answers.abandoned:
            # The caller has already been answered that the outcome is unknown. Nothing may be sent after that.
            return None
        sealing = Sealing(append_id, self._clock.now_ms())
        drafts = drafts_of(entries)
        seals = self._seal(drafts, sealing)
        try:
            if self._producer is None:
                self._wait_for_kafka()
                self._producer = self._connection.producer(max_request_size=self._value_bytes + PACK_BYTES)
            producer = self._producer
            answers.missing = len(drafts)
            for draft, seal in zip(drafts, seals, strict=True):
                sent = producer.send(
                    self._connection.topic(draft.partition.stream),
                    partition=draft.partition.partition,
                    value=draft.encode(seal),
                    timestamp_ms=sealing.at_ms,
                )
                answers.expect(sent)
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

    def _seal(self, drafts: Sequence[Draft], sealing: Sealing) -> list[Seal]:
        unsigned = prepare_seals(
            [
                pack_statement(VERSION, draft.partition, self._log_ids[draft.partition.stream], sealing, draft.header)
                for draft in drafts
            ]
        )
        signature = self._signer.sign(unsigned.text)
        return unsigned.signed(self._signer.key_id, sealing.append_id, signature)

    def _give_up(self, producer: KafkaProducer | None) -> None:
        """Stop using this producer. Other callers may have records under way in it, so it closes in the background."""
        if producer is not None and producer is self._producer:
            self._producer = None
            self._connection.retire(producer)


class _Answers:
    """Collects the acknowledgements of one append: all of them, or the first failure."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.all: asyncio.Future[None] = loop.create_future()
        self.missing = 0
        """How many are still expected. Set before the first pack is sent."""
        self._loop = loop
        self._lock = threading.Lock()
        self.abandoned = False
        """Whether the caller has stopped waiting."""

    def expect(self, sent: Any) -> None:
        sent.add_callback(self._done)
        sent.add_errback(self._notify)

    def _done(self, _: Any) -> None:
        with self._lock:
            self.missing -= 1
            last = self.missing == 0
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
            self.all.set_result(None)
        else:
            self.all.set_exception(error)
