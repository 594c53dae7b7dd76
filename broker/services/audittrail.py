"""The audit stream's writer: what the exchange does and refuses becomes records that it signs like any publisher.

An audit record is on the stream ``audit``, of the kind ``AuditEvents``, published by the exchange's own agency id, to
nobody: an auditor reads it by replay. Its one section holds the events.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

from broker.core.body import Body, SectionDescriptor
from broker.core.entry import NewEntry
from broker.core.envelope import BODY_TYPE, Envelope, Section, Signature, pae
from broker.core.sections import SALT_BYTES, salted
from broker.core.streams import AUDIT, AUDIT_EVENTS, StreamPartition, partition_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.events import AuditEvent
    from broker.ports import Clock, DirectoryInForce, Entropy, MessageLog, RecordCodec, Signer

AUDIT_CASE_ID: Final = "00000000-0000-8000-8000-000000000000"
"""The ordering key of audit records: one for all, so that they stand in one order."""
AUDIT_PURPOSE: Final = "audit"
EVENTS_SECTION: Final = "events"
EVENTS_TYPE: Final = "caseexchange.broker.v1.AuditEvents"
_MAX_EVENTS: Final = 1000
"""Events in one record: some 200 KiB."""


class AuditTrailService:
    """Writes the audit stream (the port AuditTrail). For one event loop.

    While one record is being made durable, the events of other callers gather for the next: concurrent deliveries share
    one signature and one write.
    """

    def __init__(
        self,
        *,
        directory: DirectoryInForce,
        signer: Signer,
        codec: RecordCodec,
        log: MessageLog,
        entropy: Entropy,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._signer = signer
        self._codec = codec
        self._log = log
        self._entropy = entropy
        self._clock = clock
        self._waiting: list[tuple[Sequence[AuditEvent], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """See ``AuditTrail``. The events are written even where the caller is cancelled meanwhile."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((events, written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def _write_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            events = [event for group, _ in waiting for event in group]
            failure: Exception | None = None
            try:
                await self._log.append(
                    [self._entry(events[at : at + _MAX_EVENTS]) for at in range(0, len(events), _MAX_EVENTS)]
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told, and it is theirs to raise
                failure = error
            for _, written in waiting:
                if written.done():
                    continue
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(failure)
        self._writer = None

    def _entry(self, events: Sequence[AuditEvent]) -> NewEntry:
        content = salted(self._entropy.token(SALT_BYTES), self._codec.encode_audit_events(events))
        descriptor = SectionDescriptor(EVENTS_SECTION, EVENTS_TYPE, hashlib.sha256(content).digest(), frozenset())
        body = Body(
            record_id=self._entropy.record_id(),
            kind=AUDIT_EVENTS,
            stream=AUDIT,
            case_id=AUDIT_CASE_ID,
            publisher=self._directory.current().exchange,
            recipients=(),
            issued_at_ms=self._clock.now_ms(),
            expires_at_ms=None,
            in_reply_to="",
            supersedes="",
            purpose=AUDIT_PURPOSE,
            signer_certificate_sha256=self._signer.certificate_sha256,
            signature_algorithm=self._signer.algorithm,
            sections=(descriptor,),
        )
        data = self._codec.encode_body(body)
        signature = Signature(self._signer.certificate_sha256, self._signer.sign(pae(BODY_TYPE, data)))
        envelope = Envelope(BODY_TYPE, data, (signature,), (Section(EVENTS_SECTION, content),))
        return NewEntry(
            StreamPartition(AUDIT, partition_of(AUDIT_CASE_ID, self._log.partitions(AUDIT))),
            body.record_id_bytes,
            AUDIT_EVENTS,
            AUDIT_CASE_ID,
            (),
            envelope.record_sha256,
            self._codec.encode_envelope(envelope),
        )
