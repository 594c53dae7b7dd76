"""Write the audit stream: what the exchange does and refuses becomes records that it signs like any publisher.

An audit record is on the stream ``audit``. Its publisher is the exchange's own agency id, and it has no recipients. An
auditor reads it by replay. It has one section, which holds either events (kind ``AuditEvents``, or for those that every
process follows ``DeadLetterEvents`` and ``SubscriptionEvents``, and for erased sections ``ErasureEvents``), a directory
as governance signed it (kind ``DirectoryVersion``), or revocation lists as their authorities signed them (kind
``RevocationLists``).
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from broker.core.body import Body, NamedSigner, SectionDescriptor
from broker.core.entry import NewEntry
from broker.core.envelope import BODY_TYPE, DIRECTORY_TYPE, Envelope, Section, Signature, pae
from broker.core.events import FollowedEvent, SectionsErased, SubscriptionEvent
from broker.core.sections import SALT_BYTES, salted
from broker.core.streams import (
    AUDIT,
    AUDIT_EVENTS,
    DEAD_LETTER_EVENTS,
    DIRECTORY_VERSION,
    ERASURE_EVENTS,
    REVOCATION_LISTS,
    SUBSCRIPTION_EVENTS,
    StreamPartition,
    partition_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.events import AuditEvent, Event
    from broker.ports import Clock, DirectoryInForce, Entropy, MessageLog, RecordCodec, Signer

AUDIT_CASE_ID: Final = "00000000-0000-8000-8000-000000000000"
"""The ordering key of all audit records. There is only one, so that they have one order."""
AUDIT_PURPOSE: Final = "audit"


class AuditSection(NamedTuple):
    """The name and the type of an audit record's only section."""

    name: str
    type: str


EVENTS_SECTION: Final = AuditSection("events", "caseexchange.broker.v1.AuditEvents")
DIRECTORY_SECTION: Final = AuditSection("directory", DIRECTORY_TYPE)
LISTS_SECTION: Final = AuditSection("revocation-lists", "application/x-pem-file")
_ID_BYTES: Final = 16
_MAX_EVENTS: Final = 1000
"""The limit for the events in one record: about 200 KiB."""


class AuditTrailService:
    """Writes the audit stream (the port AuditTrail). For one event loop.

    While one record becomes durable, the events of other callers are collected for the next record. So concurrent
    deliveries share one signature and one write.
    """

    def __init__(
        self,
        *,
        directory: DirectoryInForce,
        system: str,
        signer: Signer,
        codec: RecordCodec,
        log: MessageLog,
        entropy: Entropy,
        clock: Clock,
    ) -> None:
        """Prepare. ``system`` is the system of the broker's own principal."""
        self._directory = directory
        self._system = system
        self._signer = signer
        self._codec = codec
        self._log = log
        self._entropy = entropy
        self._clock = clock
        self._waiting: list[tuple[Sequence[AuditEvent], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """See ``AuditTrail``. The events are written even if the caller is cancelled."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((events, written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def _write_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            events = [event for group, _ in waiting for event in group]
            order = (ERASURE_EVENTS, SUBSCRIPTION_EVENTS, DEAD_LETTER_EVENTS, AUDIT_EVENTS)
            kinds: dict[str, list[AuditEvent]] = {kind: [] for kind in order}
            for event in events:
                kinds[_kind_of(event.event)].append(event)
            failure: Exception | None = None
            try:
                await self._log.append([entry for kind, told in kinds.items() for entry in self._entries(kind, told)])
            except Exception as error:  # noqa: BLE001 - any error must reach the callers that wait; they raise it
                failure = error
            for _, written in waiting:
                if written.done():
                    continue
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(failure)
        self._writer = None

    async def directory_in_force(self) -> None:
        """Store the directory version in force, durably. If the log already has this version, nothing changes.

        Raises:
            LogUnavailable, LogFull, DirectoryUnavailable
        """
        await self._keep(DIRECTORY_VERSION, DIRECTORY_SECTION, self._directory.current().document)

    async def trust_in_force(self, lists: bytes) -> None:
        """The same for the directory version and for the revocation lists in force (PEM), if there are any.

        Raises:
            LogUnavailable, LogFull, DirectoryUnavailable
        """
        await self.directory_in_force()
        if lists:
            await self._keep(REVOCATION_LISTS, LISTS_SECTION, lists)

    async def _keep(self, kind: str, section: AuditSection, document: bytes) -> None:
        # The same document always has the same record id, in every process and at every call.
        record_id = _own_id(hashlib.sha256(document).digest())
        await self._log.append([self._entry(kind, record_id, section, document)])

    def _entries(self, kind: str, events: Sequence[AuditEvent]) -> list[NewEntry]:
        return [
            self._entry(
                kind,
                _own_id(self._entropy.token(_ID_BYTES)),
                EVENTS_SECTION,
                self._codec.encode_audit_events(events[at : at + _MAX_EVENTS]),
            )
            for at in range(0, len(events), _MAX_EVENTS)
        ]

    def _entry(self, kind: str, record_id: str, section: AuditSection, plain: bytes) -> NewEntry:
        content = salted(self._entropy.token(SALT_BYTES), plain)
        body = Body(
            record_id=record_id,
            kind=kind,
            stream=AUDIT,
            case_id=AUDIT_CASE_ID,
            publisher=self._directory.current().exchange,
            system=self._system,
            recipients=(),
            issued_at_ms=self._clock.now_ms(),
            expires_at_ms=None,
            in_reply_to="",
            supersedes="",
            purpose=AUDIT_PURPOSE,
            signers=(NamedSigner(self._signer.certificate_sha256, self._signer.algorithm),),
            sections=(SectionDescriptor(section.name, section.type, hashlib.sha256(content).digest(), frozenset()),),
        )
        data = self._codec.encode_body(body)
        signature = Signature(self._signer.certificate_sha256, self._signer.sign(pae(BODY_TYPE, data)))
        envelope = Envelope(BODY_TYPE, data, (signature,), (Section(section.name, content),))
        return NewEntry(
            StreamPartition(AUDIT, partition_of(AUDIT_CASE_ID, self._log.partitions(AUDIT))),
            body.record_id_bytes,
            kind,
            AUDIT_CASE_ID,
            (),
            envelope.record_sha256,
            self._codec.encode_envelope(envelope),
        )


def _kind_of(event: Event) -> str:
    if isinstance(event, FollowedEvent):
        return DEAD_LETTER_EVENTS
    if isinstance(event, SectionsErased):
        return ERASURE_EVENTS
    return SUBSCRIPTION_EVENTS if isinstance(event, SubscriptionEvent) else AUDIT_EVENTS


def _own_id(content: bytes) -> str:
    """A UUIDv8 (RFC 9562 section 5.8) of 122 of these bits. An agency's record cannot have it (``check_body``)."""
    number = int.from_bytes(content[:_ID_BYTES]) & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62
    return str(UUID(int=number))
