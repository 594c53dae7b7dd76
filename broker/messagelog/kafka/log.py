"""The message log on Kafka. Every process on one cluster sees the same log (intake.py, index.py)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.core.errors import CaseExchangeError, ConfigInvalid, LogCorrupt, LogUnavailable, PositionUnknown
from broker.core.incarnations import NONE_DECLARED
from broker.core.streams import STREAMS, Position, StreamPartition
from broker.messagelog.kafka.appender import Appender, appender_for
from broker.messagelog.kafka.beforepacks import refuse_the_format_before_packs
from broker.messagelog.kafka.groupcommit import GroupCommit
from broker.messagelog.kafka.groups import Groups
from broker.messagelog.kafka.index import KafkaIndex
from broker.messagelog.kafka.intake import Intake
from broker.messagelog.kafka.judge import PackJudge
from broker.messagelog.kafka.leaders import Leaders
from broker.messagelog.kafka.places import Places
from broker.messagelog.kafka.reader import EntryReader
from broker.messagelog.kafka.rebuilding import Rebuilding
from broker.messagelog.kafka.repair import KafkaRepair
from broker.messagelog.kafka.subscriptions import KafkaSubscriptions
from broker.messagelog.kafka.topics import Topics
from broker.messagelog.kafka.values import ValueReaders
from broker.messagelog.kafka.watch import TopicsWatch
from broker.messagelog.tail import Tail, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from broker.core.entry import Appended, Interest, LogEntry, NewEntry, Page, Stray
    from broker.core.incarnations import Incarnations
    from broker.core.subscriptions import Generation
    from broker.messagelog.kafka.cursor import KafkaCursor
    from broker.messagelog.kafka.topicsettings import KafkaSettings
    from broker.ports import Clock, Entropy, LogKeys, NoteSigner, RecordCodec, Standing, SubscriptionKey

_ONLY_READ: Final = "this process only reads the log"


class KafkaLog:
    """A ``MessageLog`` on Kafka. Made by ``open``."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        topics: Topics,
        leaders: Leaders,
        log_ids: Mapping[str, str],
        declared: Incarnations,
        index: KafkaIndex,
        tail: Tail,
        intake: Intake,
        appender: Appender | None,
        groups: Groups,
    ) -> None:
        self._settings, self.groups = settings, groups
        self._watch = TopicsWatch(topics, log_ids, tuple(tail.ends), settings.topics)
        self._leaders = leaders
        self._log_ids, self._declared = log_ids, declared
        self._index, self._tail, self._intake = index, tail, intake
        timeout = settings.connection.timeout_seconds
        self._appends = None if appender is None else GroupCommit(index, appender, intake.arrivals, timeout)
        self._values = ValueReaders(settings.connection)
        self._reader = EntryReader(tail, index, self._values, intake.catch_up_to_its_end, intake.damaged)
        appends, damaged = self._appends, intake.damaged
        self.repair = None if appends is None else KafkaRepair(self._reader, index, appends, damaged)
        self._subscriptions: KafkaSubscriptions | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        settings: KafkaSettings,
        index_path: Path | None,
        *,
        signer: NoteSigner | None,
        keys: LogKeys,
        declared: Incarnations = NONE_DECLARED,
        codec: RecordCodec,
        clock: Clock,
        entropy: Entropy,
        report: Callable[[CaseExchangeError], None],
    ) -> KafkaLog:
        """Make or check the topics, and read what they hold.

        Args:
            settings: how this process uses its cluster.
            index_path: the local index, which is rebuilt if it is missing, or None for an index in memory.
            signer: the checkpoint key that seals appended entries, or None for a log that is only read.
            keys: the checkpoint keys that the directory lists.
            declared: the declared incarnations. An index of topics whose place these took is emptied.
            codec: reads the audit stream, if it must say where a subscription stands.
            clock: gives the sealed time.
            entropy: gives append ids.
            report: called with every error after which the log tries again.

        Raises:
            LogSettingsRefused, LogAccessDenied, LogCorrupt, LogInUse, LogUnavailable, LogFull, LogSchemaUnsupported
            ConfigInvalid: the directory does not list the checkpoint key.
        """
        if signer is not None and keys.check(signer.key_id) is None:
            message = "the directory does not list the checkpoint key, so nobody would accept what it seals"
            raise ConfigInvalid(message)
        topics = Topics(settings.connection)
        states = await asyncio.to_thread(topics.open, settings.topics)
        log_ids = {stream: states[stream].topic_id for stream in STREAMS}
        partitions = [StreamPartition(s, n) for s in STREAMS for n in range(states[s].partitions)]
        leaders = Leaders(settings.connection, partitions)
        index = KafkaIndex(index_path, partitions, log_ids, declared)
        try:
            known = await index.open()
            tail = Tail({partition: known[partition].end for partition in partitions}, settings.tail_bytes)
            intake = Intake(
                leaders=leaders,
                known=known,
                index=index,
                tail=tail,
                judge=PackJudge(log_ids, keys),
                holes=settings.topics is None or bool(settings.topics.retention_days),
                report=report,
            )
        except BaseException:
            await index.close()
            raise
        appender = appender_for(settings.topics, leaders, log_ids, signer=signer, clock=clock, entropy=entropy)
        log = cls(
            settings,
            topics=topics,
            leaders=leaders,
            log_ids=log_ids,
            declared=declared,
            index=index,
            tail=tail,
            intake=intake,
            appender=appender,
            groups=Groups(settings.connection, signer),
        )
        if signer is not None:
            found_out = Rebuilding(log._reader, index, tail.ends, codec)
            places = Places(log_ids, tail.ends, signer=signer, keys=keys, rebuilding=found_out, report=report)
            log._subscriptions = KafkaSubscriptions(log.groups, places, partitions, keys, report)
        try:
            await intake.open()
            await refuse_the_format_before_packs(index, tail, settings.connection.prefix)
        except BaseException:
            await log.close()
            raise
        return log

    def log_id(self, stream: str) -> str:
        """See ``MessageLog``: the topic's id, or what a restored topic goes on as. Entries have the topic's id."""
        return self._declared.restored_as(StreamPartition(stream, 0), self._log_ids[stream])

    @property
    def all_partitions(self) -> tuple[StreamPartition, ...]:
        """Every partition of every stream, in the order of their numbers."""
        return tuple(self._tail.ends)

    def partitions(self, stream: str) -> int:
        """See ``MessageLog``."""
        return sum(partition.stream == stream for partition in self._tail.ends)

    async def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        """See ``MessageLog``."""
        self._check_open()
        if self._appends is None:
            raise LogUnavailable(_ONLY_READ)
        if self._watch.refusal is not None:
            message = f"Kafka could lose what is appended: {self._watch.refusal.message}"
            raise LogUnavailable(message)
        for entry in entries:
            self._check_partition(entry.partition)
        return await self._appends.append(entries)

    async def lookup(self, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        """See ``MessageLog``."""
        self._check_open()
        return await self._index.find(record_ids)

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool = True
    ) -> list[LogEntry]:
        """See ``MessageLog``. Values are byte for byte what was accepted, or empty."""
        self._check_open()
        self._check_partition(partition)
        return await self._reader.read(partition, offset, max_records, max_bytes, values=values)

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page:
        """What ``LogCursor.read`` promises, from ``offset`` on. Values are byte for byte what was accepted, or empty.

        Raises:
            LogCorrupt: the topic was cut or made anew, so more is lost than single entries.
        """
        self._check_open()
        page = await self._reader.read_wanted(partition, offset, interest, max_records, max_bytes)
        if not all(entry.value for entry in page.entries):
            await self._check_topics()
        return page

    def watch(self, interest: Interest) -> Watch:
        """Wake a reader when an entry arrives that concerns it."""
        return self._tail.watch(interest)

    async def end_offset(self, partition: StreamPartition) -> int:
        """See ``MessageLog``. The end of what this process has read: it has never answered for more."""
        self._check_open()
        return self._tail.ends[partition]

    async def catch_up(self, partition: StreamPartition, offset: int) -> None:
        """See ``MessageLog``."""
        self._check_open()
        self._check_partition(partition)
        await self._intake.catch_up(partition, offset)

    async def wait_beyond(self, partitions: Mapping[StreamPartition, int]) -> None:
        """See ``MessageLog``."""
        await self._tail.wait_beyond(partitions)

    async def not_indexed(self, entries: Sequence[LogEntry]) -> list[Position]:
        """See ``MessageLog``."""
        self._check_open()
        return await self._index.not_indexed(entries)

    async def strays(self, partition: StreamPartition) -> list[Stray]:
        """See ``MessageLog``."""
        self._check_open()
        self._check_partition(partition)
        return await self._index.strays(partition)

    async def open_cursor(
        self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation
    ) -> KafkaCursor:
        """See ``MessageLog``."""
        return await self._subscribed().open_cursor(self, subscription, kinds, generation)

    async def standing(self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation) -> Standing:
        """See ``MessageLog``. A place that no broker sealed is left out."""
        return await self._subscribed().standing(subscription, kinds, generation)

    async def count_wanted(self, partition: StreamPartition, offsets: Sequence[range], interest: Interest) -> int:
        """See ``MessageLog``."""
        self._check_open()
        return await self._index.count_wanted(partition, offsets, interest)

    async def ping(self) -> None:
        """See ``MessageLog``. The topics must be those that were opened, whole, with leaders and enough copies.

        Raises:
            LogIntruder: a group of this process has members that are no brokers.
        """
        self._check_open()
        await self._check_topics()
        self._intake.look(self._watch.ends)
        trouble = self._intake.trouble or (self._appends.trouble if self._appends is not None else None)
        if trouble is None and self._subscriptions is not None:
            trouble = self._subscriptions.intruder
        if trouble is not None:
            raise trouble

    async def close(self) -> None:
        """See ``MessageLog``."""
        if self._closed:
            return
        self._closed = True
        before_groups = (self._appends, self._subscriptions)
        after_groups = (self._intake, self._leaders, self._values, self._index, self._watch)
        for part in (*before_groups, self.groups, *after_groups):
            if part is not None:
                await part.close()

    async def _check_topics(self) -> None:
        try:
            await self._watch.check()
        except LogCorrupt as error:
            self._intake.fail(error)
            raise

    def _subscribed(self) -> KafkaSubscriptions:
        self._check_open()
        if self._subscriptions is None:
            raise LogUnavailable(_ONLY_READ)
        return self._subscriptions

    def _check_open(self) -> None:
        if self._closed:
            message = "the message log is closed"
            raise LogUnavailable(message)
        if self._intake.failure is not None:
            raise self._intake.failure

    def _check_partition(self, partition: StreamPartition) -> None:
        if partition not in self._tail.ends:
            message = "the log has no such stream or partition"
            raise PositionUnknown(message)
