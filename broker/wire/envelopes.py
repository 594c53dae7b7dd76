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
        tuple(Signature(item.certificate_sha256, item.value) for item in message.signatures[: MAX_SIGNERS + 1]),
        tuple(Section(item.name, item.content) for item in message.sections[: MAX_SECTIONS + 1]),
    )


def envelope_to(envelope: Envelope) -> envelope_pb2.Envelope:
    """Write an envelope message."""
    return envelope_pb2.Envelope(
        body_type=envelope.body_type,
        body=envelope.body,
        signatures=[
            envelope_pb2.Signature(certificate_sha256=item.certificate_sha256, value=item.value)
            for item in envelope.signatures
        ],
        sections=[envelope_pb2.Section(name=item.name, content=item.content) for item in envelope.sections],
    )
