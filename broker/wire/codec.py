"""Envelopes and bodies: bytes and protobuf messages to core types, and back.

A body is parsed from the signed bytes and never serialised again: an envelope keeps these bytes. The content of a
section stays opaque here and everywhere else in the broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from broker.core.body import (
    MAX_KEY_WRAPS,
    MAX_RECIPIENTS,
    MAX_SECTIONS,
    MAX_SIGNERS,
    Body,
    KeyWrap,
    NamedSigner,
    Recipient,
    RecordReference,
    Routing,
    SectionDescriptor,
    check_body,
)
from broker.core.errors import EnvelopeMalformed
from broker.wire.envelopes import envelope_bytes, kept_from
from broker.wire.events import event_from, fill_event
from broker.wire.frames import frame_to
from broker.wire.receipts import fill_position, read_receipt, statement_from
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import audit_pb2, envelope_pb2, receipt_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.bundle import Frame
    from broker.core.envelope import Envelope
    from broker.core.events import AuditEvent
    from broker.core.receipt import Receipt, ReceiptStatement

_MAX_BODY_BYTES: Final = 256 << 10
_MOST_OF: Final = {
    "recipients": MAX_RECIPIENTS,
    "signers": MAX_SIGNERS,
    "sections": MAX_SECTIONS,
    "key_wraps": MAX_KEY_WRAPS,
}
_PLAIN: Final = envelope_pb2.SECTION_PROTECTION_PLAIN
_SEALED: Final = envelope_pb2.SECTION_PROTECTION_SEALED


class ProtobufCodec:
    """The ``RecordCodec`` of caseexchange.broker.v1."""

    def parse_body(self, body: bytes) -> Body:
        """See ``RecordCodec``."""
        if len(body) > _MAX_BODY_BYTES:
            text = f"the body is larger than {_MAX_BODY_BYTES} bytes; content belongs in sections"
            raise EnvelopeMalformed(text)
        message = _body(body)
        _check_counts(message)
        parsed = Body(
            record_id=message.record_id,
            kind=message.kind,
            stream=message.stream,
            case_id=message.case_id,
            publisher=message.publisher,
            system=message.system,
            recipients=_recipients(message),
            issued_at_ms=to_ms(message.issued_at),
            expires_at_ms=to_ms(message.expires_at) if message.HasField("expires_at") else None,
            in_reply_to=message.in_reply_to,
            supersedes=message.supersedes,
            purpose=message.purpose,
            signers=tuple([NamedSigner(item.certificate_sha256, item.algorithm) for item in message.signers]),
            sections=tuple([_descriptor(item) for item in message.sections]),
            key_wraps=tuple(
                [
                    KeyWrap(item.agency, item.key_id, tuple(item.sections), item.wrapped_keys)
                    for item in message.key_wraps
                ]
            ),
            supplements=_reference(message),
        )
        check_body(parsed)
        return parsed

    def read_routing(self, body: bytes) -> Routing:
        """See ``RecordCodec``."""
        message = _body(body)
        sections = [
            SectionDescriptor(item.name, item.type, item.sha256, frozenset(item.audience)) for item in message.sections
        ]
        return Routing(
            message.record_id,
            message.kind,
            message.case_id,
            message.publisher,
            _recipients(message),
            tuple(sections),
        )

    def encode_body(self, body: Body) -> bytes:
        """See ``RecordCodec``."""
        message = envelope_pb2.Body(
            record_id=body.record_id,
            kind=body.kind,
            stream=body.stream,
            case_id=body.case_id,
            publisher=body.publisher,
            system=body.system,
            recipients=[envelope_pb2.Recipient(agency=item.agency, sequence=item.sequence) for item in body.recipients],
            in_reply_to=body.in_reply_to,
            supersedes=body.supersedes,
            purpose=body.purpose,
            signers=[
                envelope_pb2.Signer(certificate_sha256=item.certificate_sha256, algorithm=item.algorithm)
                for item in body.signers
            ],
            sections=[
                envelope_pb2.SectionDescriptor(
                    name=item.name,
                    type=item.type,
                    sha256=item.sha256,
                    audience=sorted(item.audience),
                    protection=_SEALED if item.sealed else _PLAIN,
                    key_commitment=item.key_commitment,
                )
                for item in body.sections
            ],
            key_wraps=[
                envelope_pb2.KeyWrap(
                    agency=item.agency, key_id=item.key_id, sections=item.sections, wrapped_keys=item.wrapped_keys
                )
                for item in body.key_wraps
            ],
        )
        set_ms(message.issued_at, body.issued_at_ms)
        if body.expires_at_ms is not None:
            set_ms(message.expires_at, body.expires_at_ms)
        if body.supplements is not None:
            message.supplements.record_id, message.supplements.record_sha256 = body.supplements
        return message.SerializeToString(deterministic=True)

    def decode_envelope(self, data: bytes) -> Envelope:
        """See ``RecordCodec``."""
        try:
            message = envelope_pb2.Envelope.FromString(data)
        except DecodeError as error:
            text = "not a caseexchange.broker.v1.Envelope"
            raise EnvelopeMalformed(text) from error
        return kept_from(message)

    def encode_envelope(self, envelope: Envelope) -> bytes:
        """See ``RecordCodec``."""
        return envelope_bytes(envelope)

    def encode_statement(self, statement: ReceiptStatement) -> bytes:
        """See ``RecordCodec``."""
        message = receipt_pb2.ReceiptStatement(
            record_id=statement.record_id,
            record_sha256=statement.record_sha256,
            log_id=statement.log_id,
            epoch=statement.epoch,
            publisher=statement.publisher,
        )
        fill_position(message.position, statement.position)
        set_ms(message.accepted_at, statement.accepted_at_ms)
        return message.SerializeToString(deterministic=True)

    def encode_frame(self, frame: Frame) -> bytes:
        """See ``RecordCodec``."""
        return frame_to(frame).SerializeToString(deterministic=True)

    def parse_receipt(self, receipt: bytes) -> Receipt:
        """See ``RecordCodec``."""
        return read_receipt(receipt)

    def parse_statement(self, statement: bytes) -> ReceiptStatement:
        """See ``RecordCodec``."""
        return statement_from(statement)

    def encode_audit_events(self, events: Sequence[AuditEvent]) -> bytes:
        """See ``RecordCodec``."""
        message = audit_pb2.AuditEvents()
        for event in events:
            fill_event(message.events.add(), event)
        return message.SerializeToString(deterministic=True)

    def decode_audit_events(self, data: bytes) -> list[AuditEvent]:
        """See ``RecordCodec``."""
        message = audit_pb2.AuditEvents()
        try:
            message.ParseFromString(data)
        except DecodeError as error:
            text = "not caseexchange.broker.v1.AuditEvents"
            raise EnvelopeMalformed(text) from error
        return [event_from(item) for item in message.events]


def _body(data: bytes) -> envelope_pb2.Body:
    try:
        return envelope_pb2.Body.FromString(data)
    except DecodeError as error:
        text = "the body is not a caseexchange.broker.v1.Body"
        raise EnvelopeMalformed(text) from error


def _check_counts(message: envelope_pb2.Body) -> None:
    """Refuse a body of very many parts before they are made into objects."""
    for name, most in _MOST_OF.items():
        if len(getattr(message, name)) > most:
            text = f"the body's {name} are more than {most}"
            raise EnvelopeMalformed(text)
    if any(len(section.audience) > MAX_RECIPIENTS for section in message.sections):
        text = f"the body's sections have an audience of more than {MAX_RECIPIENTS}"
        raise EnvelopeMalformed(text)
    if any(len(wrap.sections) > MAX_SECTIONS for wrap in message.key_wraps):
        text = f"the body's key wraps have more than {MAX_SECTIONS} sections"
        raise EnvelopeMalformed(text)


def _recipients(message: envelope_pb2.Body) -> tuple[Recipient, ...]:
    return tuple([Recipient(item.agency, item.sequence) for item in message.recipients])


def _reference(message: envelope_pb2.Body) -> RecordReference | None:
    named = message.supplements
    return RecordReference(named.record_id, named.record_sha256) if message.HasField("supplements") else None


def _descriptor(item: envelope_pb2.SectionDescriptor) -> SectionDescriptor:
    # A commitment says that a section is sealed, so both fields must say the same.
    if item.protection != (_SEALED if item.key_commitment else _PLAIN):
        message = "the body's sections are of a protection that does not fit, or that this version does not accept"
        raise EnvelopeMalformed(message)
    return SectionDescriptor(item.name, item.type, item.sha256, frozenset(item.audience), item.key_commitment)
