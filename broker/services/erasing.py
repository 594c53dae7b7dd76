"""Erase sections of a record from the log, by order of its publisher (docs/adr/0058).

1. the log can: ErasureUnsupported
2. the request is well formed: InputRefused
3. the caller is the record's publisher: RecordUnknown for who has nothing to do with the record, RightDenied for others
4. the record has these sections: InputRefused
5. the order is durable in the audit stream, before the first byte goes
6. the bytes are removed. What the publisher signed stays, so leaf, receipts and proofs stay valid

A broker that starts reads every order, and ``run`` does again what a crash left undone. Until then nobody is given what
was ordered to be erased (broker/services/accepted.py). A record that is published again comes
without what was ordered to be erased: the log does not get it back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from uuid import UUID

import structlog

from broker.core.body import is_uuid
from broker.core.entry import EXCHANGE, Interest
from broker.core.errors import (
    CaseExchangeError,
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
    from broker.ports import AuditTrail, Clock, DirectoryInForce, LogErasure, LogReader, MessageLog, RecordCodec
    from broker.services.erasureorders import ErasureOrders
    from broker.services.quotas import Quotas

_log = structlog.get_logger("broker")
_AGAIN_SECONDS: Final = 60.0
_PAGE_RECORDS: Final = 256
_PAGE_BYTES: Final = 1 << 20
_Entry = TypeVar("_Entry", "LogEntry", "NewEntry")


class Erased(NamedTuple):
    """Where the record stands whose sections are gone, and whether all of them had been ordered before."""

    position: Position
    ordered_before: bool


class Erasing:
    """See the module. For one event loop. ``load`` before anything is published or delivered.

    Args:
        log: the log.
        erasure: removes bytes from it. None: the log cannot.
        orders: where what was ordered is kept, for all who read records.
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
        orders: ErasureOrders,
        audit: AuditTrail,
        codec: RecordCodec,
        directory: DirectoryInForce,
        quotas: Quotas,
        clock: Clock,
    ) -> None:
        self._log = log
        self._erasure = erasure
        self.orders: Final = orders
        self._audit = audit
        self._codec = codec
        self._directory = directory
        self._quotas = quotas
        self._clock = clock
        self._turn = asyncio.Lock()
        self._unsure = False
        """Whether an order may be durable that is not known here: its writing failed, perhaps afterwards."""
        self._under_way: set[asyncio.Task[Erased]] = set()

    async def load(self) -> None:
        """Read all orders.

        Raises:
            LogUnavailable
        """
        if self._erasure is not None:
            await learn(self.orders, self._log, self._codec)

    async def run(self) -> None:
        """Remove what was ordered and is still there. If that fails, it is told, and tried again."""
        while self._erasure is not None:
            try:
                await self._finish(self._erasure)
            except CaseExchangeError as error:
                what = "sections that were ordered to be erased may still be there"
                _log.error(what, reason=error.reason, cause=error.message, remedy=error.remedy)
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    async def _finish(self, erasure: LogErasure) -> None:
        places = [(one, found.position) for one, found in (await self._log.lookup(self.orders.records())).items()]
        for number, (record_id, place) in enumerate(places, start=1):
            await self._log.catch_up(place.stream_partition, place.offset + 1)
            entries = await self._log.read(place.stream_partition, place.offset, 1, 1)
            there = any(self.without_erased(entry) != entry for entry in entries)
            # The last one in any case: its bytes may be gone, and a copy of some may be left beside the log's file.
            if there or number == len(places):
                await erasure.erase(place, self.without_erased)
            if there:
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
        task = asyncio.create_task(self._counted(erasure, principal, record_id, frozenset(sections), code))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_tell)
            raise

    async def _counted(
        self, erasure: LogErasure, principal: Principal, record_id: str, names: frozenset[str], code: str
    ) -> Erased:
        with self._quotas.long_call(principal.agency):
            return await self._in_turn(erasure, principal, record_id, names, code)

    async def _in_turn(
        self, erasure: LogErasure, principal: Principal, record_id: str, names: frozenset[str], code: str
    ) -> Erased:
        async with self._turn:
            if self._unsure:
                await learn(self.orders, self._log, self._codec)
                self._unsure = False
            entry, routing = await self._own(principal, record_id)
            # (4) The sections.
            if not names <= {section.name for section in routing.sections}:
                message = "the record has no section of a name that is given"
                raise InputRefused(message, record_id=record_id)
            ordered = self.orders.of(entry.record_id)
            if not names <= ordered:
                # (5) First the order.
                event = SectionsErased(entry.position, record_id, tuple(sorted(names - ordered)), code)
                try:
                    await self._audit.record([AuditEvent(self._clock.now_ms(), principal.spiffe_id, event)])
                except CaseExchangeError:
                    self._unsure = True
                    raise
                self.orders.add(entry.record_id, names)
            # (6) Then the bytes.
            await erasure.erase(entry.position, self.without_erased)
            return Erased(entry.position, names <= ordered)

    def without_erased(self, entry: _Entry) -> _Entry:
        """An entry, of the log or for it, without what was ordered to be erased. Safe to call from any thread."""
        names = self.orders.of(entry.record_id)
        if not names or not entry.value:
            return entry
        try:
            envelope = self._codec.decode_envelope(entry.value)
        except EnvelopeMalformed:
            # It is damaged, so it goes to nobody.
            return entry
        if not any(section.name in names for section in envelope.sections):
            return entry
        return entry._replace(value=self._codec.encode_envelope(envelope.erase(names)))

    async def put_back(self, positions: Sequence[tuple[bytes, Position]]) -> None:
        """These records (id and place) were offered again: an order may have come while they were put back.

        Raises:
            LogUnavailable, LogFull
        """
        for record_id, position in positions:
            if self._erasure is not None and self.orders.of(record_id):
                await self._erasure.erase(position, self.without_erased)

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
        _, routing = accepted(entry, self._codec, self.orders)
        if routing.publisher == principal.agency and entry.position.stream != AUDIT:
            return entry, routing
        stream = entry.position.stream
        if principal.agency in entry.recipients or may_replay(self._directory.current(), principal.agency, stream):
            message = "only the publisher of a record may have sections of it erased"
            raise RightDenied(message, record_id=record_id)
        raise RecordUnknown(unknown)


async def learn(orders: ErasureOrders, log: MessageLog, codec: RecordCodec) -> None:
    """Take every order that the audit stream has. One that cannot be read is told in the operator's log.

    Raises:
        LogUnavailable
    """
    wanted = Interest(EXCHANGE, frozenset({ERASURE_EVENTS}))
    for number in range(log.partitions(AUDIT)):
        partition, offset = StreamPartition(AUDIT, number), 0
        end = await log.end_offset(partition)
        while offset < end:
            page = await log.read_wanted(partition, offset, wanted, _PAGE_RECORDS, _PAGE_BYTES)
            for entry in page.entries:
                _take(orders, entry, codec)
            offset = page.next_offset


async def scan(orders: ErasureOrders, log: LogReader, codec: RecordCodec) -> None:
    """The same from a log that cannot look for a kind: it reads the whole audit stream.

    Raises:
        LogUnavailable, LogCorrupt
    """
    for number in range(log.partitions(AUDIT)):
        partition, offset = StreamPartition(AUDIT, number), 0
        while entries := await log.read(partition, offset, _PAGE_RECORDS, _PAGE_BYTES):
            for entry in entries:
                if entry.kind == ERASURE_EVENTS:
                    _take(orders, entry, codec)
            offset = entries[-1].position.offset + 1


def _take(orders: ErasureOrders, entry: LogEntry, codec: RecordCodec) -> None:
    events = events_of(entry, codec)
    if events is None:
        cause = "an order of erasure cannot be read, so it is not carried out again"
        _log.error(cause, position=str(entry.position), reason=LogCorrupt.reason, remedy=LogCorrupt.remedy)
    for told in events or ():
        if isinstance(told.event, SectionsErased):
            orders.add(UUID(told.event.record_id).bytes, told.event.sections)


def _tell(task: asyncio.Task[Erased]) -> None:
    """Log how an erasure failed whose caller has gone."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, CaseExchangeError):
        _log.error("an erasure failed", reason=error.reason, cause=error.message, remedy=error.remedy)
    elif error is not None:
        _log.error("an erasure failed", exc_info=error)
