"""Envelopes: protobuf messages to core types, and back. The signed body in them is copied and not parsed."""

from __future__ import annotations

from broker.core.body import MAX_SECTIONS, MAX_SIGNERS
from broker.core.envelope import Envelope, Section, Signature
from caseexchange.broker.v1 import envelope_pb2


def envelope_from(message: envelope_pb2.Envelope) -> Envelope:
    """Read an envelope message.

    Of more parts than a body can name, only one too many is read. So the check against the body refuses the record.
    """
    return Envelope(
        message.body_type,
        message.body,
        tuple([Signature(item.certificate_sha256, item.value) for item in message.signatures[: MAX_SIGNERS + 1]]),
        tuple([Section(item.name, item.content) for item in message.sections[: MAX_SECTIONS + 1]]),
        message.former_receipt,
        tuple(message.erased_sections[: MAX_SECTIONS + 1]),
    )


def kept_from(message: envelope_pb2.Envelope) -> Envelope:
    """Read an envelope message whose bytes are needed again. Fields that this version does not know are removed."""
    message.DiscardUnknownFields()
    return envelope_from(message).came_as(message.SerializeToString(deterministic=True))


def envelope_to(envelope: Envelope) -> envelope_pb2.Envelope:
    """Write an envelope message."""
    message = envelope_pb2.Envelope()
    fill_envelope(message, envelope)
    return message


def fill_envelope(message: envelope_pb2.Envelope, envelope: Envelope) -> None:
    """Write an envelope into an empty message. If it came as bytes, they are spliced in, which is faster."""
    if envelope.serialised:
        message.MergeFromString(envelope.serialised)
        return
    message.body_type, message.body = envelope.body_type, envelope.body
    for certificate_sha256, value in envelope.signatures:
        message.signatures.add(certificate_sha256=certificate_sha256, value=value)
    for name, content in envelope.sections:
        message.sections.add(name=name, content=content)
    message.former_receipt = envelope.former_receipt
    message.erased_sections.extend(envelope.erased)


def envelope_bytes(envelope: Envelope) -> bytes:
    """Serialise an envelope, or return the bytes that it came as."""
    return envelope.serialised or envelope_to(envelope).SerializeToString(deterministic=True)
