"""Find out from the audit stream where a subscription stands, if what Kafka has for it was not sealed by a broker.

The audit stream says what the subscription acknowledged, refused or gave up, in the order in which that happened. So
the window of each partition is led through its history again. It never holds more undone records than it did then,
and its state fits into a commit by the same argument (broker/core/leasing/window.py).

What the audit stream does not say is undone, and is delivered again. So is what a process set aside that had lost the
partition: its pointer is void, and nobody would know of the record. So nothing is skipped: not where the audit stream
has lost something, and not where the window is full, because the subscription once wanted other kinds.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

from broker.core.errors import CaseExchangeError
from broker.core.events import DeadLetterMade, DeliveryConfirmed, DeliveryRefused, Pointer, RecordsParked, TakenOver
from broker.core.identity import Principal
from broker.core.leasing.window import PartitionWindow
from broker.core.reigns import Reigns, of_reign
from broker.core.sections import check_sections, unsalted
from broker.core.streams import AUDIT, EVENT_KINDS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from broker.core.entry import Interest, LogEntry
    from broker.core.events import AuditEvent
    from broker.core.leasing.ackstate import AckState
    from broker.core.streams import StreamPartition
    from broker.core.subscriptions import Generation
    from broker.messagelog.kafka.index import KafkaIndex
    from broker.ports import RecordCodec, SubscriptionKey

_RECORDS: Final = 250
_BYTES: Final = 1 << 20
_AHEAD: Final = 1000
"""So many places of wanted records are looked up at once."""
_OFFSET: Final = attrgetter("offset")


class _Reader(Protocol):
    """Reads a log in order."""

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool
    ) -> list[LogEntry]: ...


class Rebuilding:
    """See the module. For one event loop. Subscriptions take turns, so that memory does not grow with them.

    Args:
        reader: reads the audit stream.
        index: knows which records a subscription wants.
        ends: how far this process has read each partition.
        codec: reads records and events.
    """

    def __init__(
        self, reader: _Reader, index: KafkaIndex, ends: Mapping[StreamPartition, int], codec: RecordCodec
    ) -> None:
        self._reader = reader
        self._index = index
        self._ends = ends
        self._codec = codec
        self._turn = asyncio.Lock()

    async def states(
        self,
        subscription: SubscriptionKey,
        interest: Interest,
        generation: Generation,
        partitions: Collection[StreamPartition],
    ) -> dict[StreamPartition, AckState]:
        """Where the subscription stands in these partitions. Time: by the audit stream since the generation began.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        async with self._turn:
            firsts = {partition: await self._index.facts(partition, 0, 1) for partition in partitions}
            since = {each: facts[0].entry.accepted_at_ms if facts else 0 for each, facts in firsts.items()}
            histories = {
                partition: _History(
                    self._index, partition, self._ends[partition], interest, generation, since_ms=since[partition]
                )
                for partition in partitions
            }
            for audit in [partition for partition in self._ends if partition.stream == AUDIT]:
                await self._read(audit, subscription, generation.told_at, histories)
        return {partition: history.window.ack_state() for partition, history in histories.items()}

    async def _read(
        self,
        audit: StreamPartition,
        subscription: SubscriptionKey,
        offset: int,
        histories: Mapping[StreamPartition, _History],
    ) -> None:
        end, reigns = self._ends[audit], Reigns()
        while offset < end:
            entries = await self._reader.read(audit, offset, _RECORDS, _BYTES, values=True)
            if not entries:
                return
            offset = entries[-1].position.offset + 1
            # To read a batch of events would hold up the event loop.
            for told_ms, partition, finished in await asyncio.to_thread(self._finished, entries, subscription, reigns):
                # What was told before the partition's first record is of a topic whose place this one took.
                if partition in histories and told_ms >= histories[partition].since_ms:
                    await histories[partition].finish(finished)

    def _finished(
        self, entries: Sequence[LogEntry], subscription: SubscriptionKey, reigns: Reigns
    ) -> list[tuple[int, StreamPartition, list[int]]]:
        """The offsets that the subscription finished, in order, each with the time at which it was told."""
        found: list[tuple[int, StreamPartition, list[int]]] = []
        for entry in entries:
            for told in self._events(entry):
                if isinstance(told.event, Pointer | TakenOver) and reigns.make_void(of_reign(told.event)):
                    continue
                match told.event:
                    case DeliveryConfirmed() | DeliveryRefused() as acknowledged:
                        positions, agency = list(acknowledged.positions()), _agency(told)
                    case RecordsParked(agency=agency) as parked:
                        positions = list(parked.positions())
                    case DeadLetterMade(position, agency=agency, reason=""):
                        positions = [position]
                    case _:
                        # A record that was set aside as damaged went to nobody, and may have been put back since.
                        continue
                if (agency, told.event.subscription) == subscription:
                    offsets = [position.offset for position in positions]
                    found.append((entry.accepted_at_ms, positions[0].stream_partition, offsets))
        return found

    def _events(self, entry: LogEntry) -> list[AuditEvent]:
        """The events of an audit record. None if the topic has lost it, or has another one in its place."""
        if entry.kind not in EVENT_KINDS:
            return []
        try:
            envelope = self._codec.decode_envelope(entry.value)
            if envelope.record_sha256 != entry.record_sha256:
                return []
            check_sections(self._codec.read_routing(envelope.body), envelope.sections, complete=True)
            return [event for each in envelope.sections for event in self._codec.decode_audit_events(unsalted(each))]
        except CaseExchangeError:
            return []


class _History:
    """One partition of the subscription, as its window was led through it."""

    def __init__(
        self,
        index: KafkaIndex,
        partition: StreamPartition,
        end: int,
        interest: Interest,
        generation: Generation,
        *,
        since_ms: int,
    ) -> None:
        begun = generation.begin(partition, interest.kinds)
        self.window = PartitionWindow(partition, begun)
        self._starts = dict(generation.starts_in(partition, interest.kinds))
        self.since_ms = since_ms
        self._index = index
        self._end = end
        self._interest = interest
        # The offsets of wanted records that follow, and the offset below which all of them are known.
        self._ahead: deque[int] = deque()
        self._known_to = begun.floor

    async def finish(self, offsets: Sequence[int]) -> None:
        """The subscription finished these records."""
        for offset in offsets:
            if not await self._pass_to(min(offset + 1, self._end)):
                # No room for what is undone. Everything from here on is delivered again.
                continue
            undone = self.window.undone
            at = bisect_left(undone, offset, key=_OFFSET)
            if at < len(undone) and undone[at].offset == offset:
                self.window.finish(undone[at])

    async def _pass_to(self, end: int) -> bool:
        """Track what is wanted below this offset. Return False if there is no room for it."""
        while self.window.next_offset < end:
            if not self._ahead and self._known_to < end:
                facts, self._known_to = await self._index.wanted(
                    self.window.partition, self._known_to, self._end, self._interest, _AHEAD
                )
                # A damaged entry has no kind that is wanted any more. It counts, so that it comes again.
                self._ahead.extend(
                    fact.entry.position.offset
                    for fact in facts
                    if fact.entry.position.offset >= self._starts.get(fact.entry.kind, 0)
                )
            elif not self._ahead or self._ahead[0] >= end:
                self.window.pass_to(end)
            elif self.window.room:
                offset = self._ahead.popleft()
                # Each record as a case of its own: it may have been finished before another one of its case.
                self.window.track(offset, str(offset), 0)
            else:
                return False
        return True


def _agency(told: AuditEvent) -> str:
    try:
        return Principal.parse(told.principal).agency
    except CaseExchangeError:
        return ""
