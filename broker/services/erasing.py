"""Erase sections of a record from the log, by order of its publisher (docs/adr/0058).

1. the log can: ErasureUnsupported
2. the request is well formed: InputRefused
3. the caller is the record's publisher: RecordUnknown for who has nothing to do with the record, RightDenied for others
4. the record has these sections: InputRefused
5. the order is durable in the audit stream, before the first byte goes
6. the bytes are removed. What the publisher signed stays, so leaf, receipts and proofs stay valid

A broker that starts reads every order, and does again what a crash left undone. A record that is published again comes
without what was ordered to be erased: the log does not get it back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import structlog

from broker.core.body import is_uuid
from broker.core.entry import EXCHANGE, Interest
from broker.core.errors import (
    EnvelopeMalformed,
    ErasureUnsupported,
    InputRefused,
    LogCorrupt,
    RecordUnknown,
    RightDenied,
)
from broker.core.events import AuditEvent, SectionsErased
from broker.core.leasing.terms import check_code
from broker.core.policy import may_replay
from broker.core.streams import AUDIT, ERASURE_EVENTS, StreamPartition
from broker.services.accepted import accepted
from broker.services.auditreading import events_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.body import Routing
    from broker.core.entry import LogEntry, NewEntry
    from broker.core.identity import Principal
    from broker.core.streams import Position
    from broker.ports import AuditTrail, Clock, DirectoryInForce, LogErasure, MessageLog, RecordCodec
    from broker.services.quotas import Quotas

_log = structlog.get_logger("broker")
_PAGE_RECORDS: Final = 256
_PAGE_BYTES: Final = 1 << 20


class Erased(NamedTuple):
    """Where the record stands whose sections are gone, and whether all of them had been ordered before."""

    position: Position
    ordered_before: bool


class Erasing:
    """See the module. For one event loop. ``load`` before anything is published or delivered.

    Args:
        log: the log.
        erasure: removes bytes from it. None: the log cannot.
        audit: takes the orders.
        codec: reads records.
        directory: says who may ask about a record.
        quotas: an agency has one order at a time.
        clock: gives the time of an order.
    """

    def __init__(
        self,
        *,
        log: MessageLog,
        erasure: LogErasure | None,
        audit: AuditTrail,
        codec: RecordCodec,
        directory: DirectoryInForce,
        quotas: Quotas,
        clock: Clock,
    ) -> None:
        self._log = log
        self._erasure = erasure
        self._audit = audit
        self._codec = codec
        self._directory = directory
        self._quotas = quotas
        self._clock = clock
        self._ordered: dict[bytes, frozenset[str]] = {}
        self._turn = asyncio.Lock()

    async def load(self) -> None:
        """Read all orders, and remove what is still there.

        Raises:
            LogUnavailable, LogFull
        """
        if self._erasure is None:
            return
        for number in range(self._log.partitions(AUDIT)):
            await self._learn(StreamPartition(AUDIT, number))
        for record_id, appended in (await self._log.lookup(tuple(self._ordered))).items():
            if await self._erasure.erase(appended.position, self.without_erased):
                which = str(UUID(bytes=record_id))
                _log.warning("sections that were ordered to be erased were still there, and are gone", record_id=which)

    async def erase(self, principal: Principal, record_id: str, sections: Sequence[str], code: str) -> Erased:
        """Erase sections of a record. Also if the caller is cancelled: an order that is durable is carried out.

        Raises:
            ErasureUnsupported, InputRefused, RecordUnknown, RightDenied: see the module.
            LogCorrupt: the log has not what was accepted. Nothing was ordered.
            QuotaExceeded: the agency has another long call under way.
            LogUnavailable, LogFull: ask again. The order may stand already.
        """
        # (1) The log.
        erasure = self._erasure
        if erasure is None:
            message = "this exchange's log is on Kafka, where no byte of a record can be removed by an order"
            raise ErasureUnsupported(message)
        # (2) The form.
        if not is_uuid(record_id) or not sections:
            message = "an erasure names a record by its id, a UUID in canonical form, and at least one section"
            raise InputRefused(message)
        check_code(code, "the reason of an erasure")
        with self._quotas.long_call(principal.agency):
            return await asyncio.shield(self._in_turn(erasure, principal, record_id, frozenset(sections), code))

    async def _in_turn(
        self, erasure: LogErasure, principal: Principal, record_id: str, names: frozenset[str], code: str
    ) -> Erased:
        async with self._turn:
            entry, routing = await self._own(principal, record_id)
            # (4) The sections.
            if not names <= {section.name for section in routing.sections}:
                message = "the record has no section of a name that is given"
                raise InputRefused(message, record_id=record_id)
            ordered = self._ordered.get(entry.record_id, frozenset())
            if not names <= ordered:
                # (5) First the order.
                event = SectionsErased(entry.position, record_id, tuple(sorted(names - ordered)), code)
                await self._audit.record([AuditEvent(self._clock.now_ms(), principal.spiffe_id, event)])
                self._ordered[entry.record_id] = ordered | names
            # (6) Then the bytes.
            await erasure.erase(entry.position, self.without_erased)
            return Erased(entry.position, names <= ordered)

    def without_erased(self, entry: LogEntry) -> LogEntry:
        """An entry without what was ordered to be erased. Safe to call from any thread."""
        value = self._stripped(entry.record_id, entry.value)
        return entry if value == entry.value else entry._replace(value=value)

    def offered(self, entry: NewEntry) -> NewEntry:
        """A record that is published, perhaps again, without what was ordered to be erased."""
        value = self._stripped(entry.record_id, entry.value)
        return entry if value == entry.value else entry._replace(value=value)

    async def put_back(self, positions: Sequence[tuple[bytes, Position]]) -> None:
        """These records (id and place) were offered again: an order may have come while they were put back.

        Raises:
            LogUnavailable, LogFull
        """
        for record_id, position in positions:
            if self._erasure is not None and record_id in self._ordered:
                await self._erasure.erase(position, self.without_erased)

    def _stripped(self, record_id: bytes, value: bytes) -> bytes:
        names = self._ordered.get(record_id)
        if not names or not value:
            return value
        try:
            envelope = self._codec.decode_envelope(value)
        except EnvelopeMalformed:
            # It is damaged, so it goes to nobody.
            return value
        if not any(section.name in names for section in envelope.sections):
            return value
        return self._codec.encode_envelope(envelope.erase(names))

    async def _own(self, principal: Principal, record_id: str) -> tuple[LogEntry, Routing]:
        """The record, if the caller published it: check (3)."""
        unknown = "there is no such record that concerns this agency"
        found = await self._log.lookup([UUID(record_id).bytes])
        entries: list[LogEntry] = []
        for appended in found.values():
            place = appended.position
            await self._log.catch_up(place.stream_partition, place.offset + 1)
            entries = await self._log.read(place.stream_partition, place.offset, 1, 1)
        if not entries or entries[0].record_id != UUID(record_id).bytes:
            raise RecordUnknown(unknown)
        entry = entries[0]
        _, routing = accepted(entry, self._codec)
        if routing.publisher == principal.agency and entry.position.stream != AUDIT:
            return entry, routing
        stream = entry.position.stream
        if principal.agency in entry.recipients or may_replay(self._directory.current(), principal.agency, stream):
            message = "only the publisher of a record may have sections of it erased"
            raise RightDenied(message, record_id=record_id)
        raise RecordUnknown(unknown)

    async def _learn(self, partition: StreamPartition) -> None:
        offset, end = 0, await self._log.end_offset(partition)
        wanted = Interest(EXCHANGE, frozenset({ERASURE_EVENTS}))
        while offset < end:
            page = await self._log.read_wanted(partition, offset, wanted, _PAGE_RECORDS, _PAGE_BYTES)
            for entry in page.entries:
                self._read_orders(entry)
            offset = page.next_offset

    def _read_orders(self, entry: LogEntry) -> None:
        events = events_of(entry, self._codec)
        if events is None:
            cause = "an order of erasure cannot be read, so it is not carried out again"
            _log.error(cause, position=str(entry.position), reason=LogCorrupt.reason, remedy=LogCorrupt.remedy)
        for told in events or ():
            if isinstance(told.event, SectionsErased):
                record_id = UUID(told.event.record_id).bytes
                known = self._ordered.get(record_id, frozenset())
                self._ordered[record_id] = known.union(told.event.sections)
