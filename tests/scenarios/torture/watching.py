"""An auditor who asks brokers and witnesses all the time for every partition's checkpoint, and keeps all answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.client.auditor import Auditor
from broker.core.errors import CaseExchangeError
from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.messagelog.kafka.connection import CHECKPOINTS
from broker.messagelog.kafka.extensions import decode_extension
from tests.scenarios.torture.history import Root
from tests.scenarios.torture.stage import AUDIT_AGENCY
from tests.scenarios.torture.witnesses import PARTITIONS, WITNESSES
from tests.support.kafkalog import ListedKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.connection import KafkaConnection
    from tests.scenarios.torture.history import History
    from tests.scenarios.torture.stage import Stage
    from tests.support.pki import SamplePki

_ROUND_SECONDS: Final = 0.4
_CALL_SECONDS: Final = 5.0
_READ_SECONDS: Final = 30


class Watching:
    """See the module."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._last: dict[tuple[str, StreamPartition], bytes] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for broker in self._stage.brokers:
                group.create_task(self._watch(broker))
            for witness in WITNESSES:
                group.create_task(self._stage.witnesses.watch(witness))

    async def _watch(self, broker: str) -> None:
        async with self._stage.channel(broker, AUDIT_AGENCY) as channel:
            auditor = Auditor(channel)
            while True:
                for partition in PARTITIONS:
                    await self._ask(auditor, broker, partition)
                await asyncio.sleep(_ROUND_SECONDS)

    async def _ask(self, auditor: Auditor, broker: str, partition: StreamPartition) -> None:
        history = self._stage.history
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                newest = await auditor.newest_checkpoint(partition)
        except TimeoutError:
            history.failed("checkpoint", "no answer in time")
            return
        except CaseExchangeError as error:
            history.failed("checkpoint", error.reason)
            return
        if self._last.get((broker, partition)) != newest.note:
            self._last[broker, partition] = newest.note
            history.roots.append(_root(self._stage.pki, partition, newest.note, broker, history.now))
        if newest.cosigned is not None:
            self._stage.witnesses.note(newest.cosigned.note, f"{broker}, cosigned")


def published(pki: SamplePki, connection: KafkaConnection, history: History) -> None:
    """Add every note in the checkpoints topic, also of transactions that were never committed: it was signed."""
    for isolation in ("read_committed", "read_uncommitted"):
        for number, value in _values(connection, isolation):
            head = decode_extension(value).extension.head
            root = _root(pki, PARTITIONS[number], head.note, f"topic, {isolation}", history.now)
            history.roots.append(root._replace(signed_at_ms=head.signed_at_ms))


def _values(connection: KafkaConnection, isolation: str) -> Sequence[tuple[int, bytes]]:
    from kafka import TopicPartition  # noqa: PLC0415 - the one place outside its home that looks at a topic itself

    topics = [TopicPartition(connection.topic(CHECKPOINTS), number) for number in range(len(PARTITIONS))]
    consumer = connection.consumer(isolation_level=isolation)
    try:
        consumer.assign(topics)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(topics)
        found: list[tuple[int, bytes]] = []
        for _ in range(_READ_SECONDS):
            for topic, records in consumer.poll(1000).items():
                found += [(topic.partition, record.value) for record in records]
            if all(consumer.position(topic) >= ends[topic] for topic in topics):
                return found
    finally:
        consumer.close(autocommit=False)
    message = "the topic of the checkpoints could not be read to its end"
    raise TimeoutError(message)


def _root(pki: SamplePki, partition: StreamPartition, note: bytes, source: str, at: float) -> Root:
    parsed = parse_note(note)
    verify_note(parsed, ListedKeys(pki.note_signer).verifiers())
    checkpoint = Checkpoint.parse(parsed.text)
    assert f"/{partition.stream}/{partition.partition}/" in checkpoint.origin, (checkpoint.origin, partition)
    return Root(partition, checkpoint.size, checkpoint.root, source, at, note)
