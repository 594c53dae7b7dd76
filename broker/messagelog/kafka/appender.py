"""Produce sealed packs: what one append sends, and its result.

The producer is idempotent: it repeats an interrupted request without storing anything twice, and keeps the order within
a partition. An outcome that it does not learn in time is reported as unknown, never as done. After such a failure a new
producer is made, so that the old one's state cannot affect later records.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

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
_LINGER_MS: Final = 50
"""The producer's own time to wait for more records. An append never waits so long: it sends what it has together."""


class Appender:
    """Seals and produces entries, one append after the other. For one event loop.

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
        append_id = self._entropy.token(APPEND_ID_BYTES)
        await self._thread.call(self._send, append_id, entries)
        return append_id

    async def close(self) -> None:
        """Let the records under way finish, within the time limit, and close. Idempotent."""
        await self._thread.end(self._give_up)

    # --- in the thread ---

    def _send(self, append_id: bytes, entries: Sequence[NewEntry]) -> None:
        sealing = Sealing(append_id, self._clock.now_ms())
        drafts = drafts_of(entries)
        seals = self._seal(drafts, sealing)
        producer = self._producer
        try:
            if producer is None:
                self._wait_for_kafka()
                producer = self._producer = self._connection.producer(
                    linger_ms=_LINGER_MS, max_request_size=self._value_bytes + PACK_BYTES
                )
            sent = [
                producer.send(
                    self._connection.topic(draft.partition.stream),
                    partition=draft.partition.partition,
                    value=draft.encode(seal),
                    timestamp_ms=sealing.at_ms,
                )
                for draft, seal in zip(drafts, seals, strict=True)
            ]
            # All packs in one request to each node. The producer gives up by itself after the connection's time.
            producer.flush(_PATIENCE * self._connection.timeout_seconds)
            for each in sent:
                each.get(0)
        except KafkaError as error:
            self._failed_at = time.monotonic()
            self._give_up()
            raise translate(error) from error

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

    def _give_up(self) -> None:
        """Stop using this producer. It closes in the background."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self._connection.retire(producer)
