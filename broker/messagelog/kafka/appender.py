"""Seal and produce packs: what one append sends, and its result."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from kafka.errors import KafkaError

from broker.core.errors import LogUnavailable, RecordTooLarge
from broker.core.seal import APPEND_ID_BYTES, Sealing, pack_statement, prepare_seals
from broker.messagelog.kafka.connection import translate
from broker.messagelog.kafka.packs import VERSION, Draft, drafts_of, fits
from broker.messagelog.kafka.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.entry import NewEntry
    from broker.core.seal import Seal
    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.leaders import Leaders
    from broker.messagelog.kafka.topicsettings import TopicSettings
    from broker.ports import Clock, Entropy, NoteSigner

_RETRY_SECONDS: Final = 1.0
_SMALL_ENTRIES: Final = 16
"""So many are sealed in the event loop. To hand them to a thread takes longer."""


def appender_for(
    topics: TopicSettings | None,
    leaders: Leaders,
    log_ids: Mapping[str, str],
    *,
    signer: NoteSigner | None,
    clock: Clock,
    entropy: Entropy,
) -> Appender | None:
    """The appender of a log. None if the log is only read: if there is no key that seals, or no topics are made."""
    if signer is None or topics is None:
        return None
    return Appender(
        Producer(leaders),
        log_ids=log_ids,
        signer=signer,
        clock=clock,
        entropy=entropy,
        value_bytes=topics.value_bytes,
    )


class Appender:
    """Seals and produces entries, one append after the other. For one event loop.

    Args:
        producer: sends what is sealed.
        log_ids: the topic id of each stream.
        signer: the checkpoint key, which the directory lists.
        clock: gives the sealed time.
        entropy: gives append ids.
        value_bytes: the size of the largest Kafka record's value.
    """

    def __init__(
        self,
        producer: Producer,
        *,
        log_ids: Mapping[str, str],
        signer: NoteSigner,
        clock: Clock,
        entropy: Entropy,
        value_bytes: int,
    ) -> None:
        self._producer = producer
        self._log_ids = log_ids
        self._signer = signer
        self._clock = clock
        self._entropy = entropy
        self._value_bytes = value_bytes
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
        if time.monotonic() - self._failed_at < _RETRY_SECONDS:
            # Each attempt to reach a cluster that is down takes its full time.
            message = "Kafka could not be reached a moment ago"
            raise LogUnavailable(message)
        sealing = Sealing(self._entropy.token(APPEND_ID_BYTES), self._clock.now_ms())
        if len(entries) <= _SMALL_ENTRIES:
            packs = self._packs(entries, sealing)
        else:
            packs = await asyncio.to_thread(self._packs, entries, sealing)
        try:
            await self._producer.send(packs, sealing.at_ms)
        except KafkaError as error:
            self._failed_at = time.monotonic()
            raise translate(error) from error
        return sealing.append_id

    def _packs(self, entries: Sequence[NewEntry], sealing: Sealing) -> list[tuple[StreamPartition, bytes]]:
        drafts = drafts_of(entries)
        seals = self._seal(drafts, sealing)
        return [(draft.partition, draft.encode(seal)) for draft, seal in zip(drafts, seals, strict=True)]

    def _seal(self, drafts: Sequence[Draft], sealing: Sealing) -> list[Seal]:
        unsigned = prepare_seals(
            [
                pack_statement(VERSION, draft.partition, self._log_ids[draft.partition.stream], sealing, draft.header)
                for draft in drafts
            ]
        )
        signature = self._signer.sign(unsigned.text)
        return unsigned.signed(self._signer.key_id, sealing.append_id, signature)
