"""The port of bytes: records and what belongs to them, serialised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.body import Body, Routing
    from broker.core.bundle import Frame
    from broker.core.envelope import Envelope
    from broker.core.events import AuditEvent
    from broker.core.receipt import Receipt, ReceiptStatement


class RecordCodec(Protocol):
    """Turns bytes into core types, and back. Pure. Never reads the content of a section."""

    def parse_body(self, body: bytes) -> Body:
        """Read a body. The caller has verified its signature, or verifies it next.

        Raises:
            EnvelopeMalformed: this is no body, or it breaks the rules of ``check_body``.
        """

    def read_routing(self, body: bytes) -> Routing:
        """Read a part of a body that was accepted: the caller compares its digest, so its form needs no second check.

        Raises:
            EnvelopeMalformed: this is no body.
        """

    def encode_body(self, body: Body) -> bytes:
        """Serialise a body once, so that these bytes can be signed."""

    def decode_envelope(self, data: bytes) -> Envelope:
        """Read an envelope. Its body and sections are returned byte for byte.

        Raises:
            EnvelopeMalformed: this is no envelope.
        """

    def encode_envelope(self, envelope: Envelope) -> bytes:
        """Serialise an envelope for the log. The signed body is copied; it is never serialised again."""

    def encode_statement(self, statement: ReceiptStatement) -> bytes:
        """Serialise a receipt statement. The same statement always gives the same bytes."""

    def encode_frame(self, frame: Frame) -> bytes:
        """Serialise a frame of a replay bundle. The same frame always gives the same bytes."""

    def parse_receipt(self, receipt: bytes) -> Receipt:
        """Read a serialised portable receipt.

        Raises:
            ReceiptInvalid: this is no receipt, or has something else in it too.
        """

    def parse_statement(self, statement: bytes) -> ReceiptStatement:
        """Read a serialised receipt statement.

        Raises:
            ReceiptInvalid: this is no statement.
        """

    def encode_audit_events(self, events: Sequence[AuditEvent]) -> bytes:
        """Serialise events as the only section of an audit record."""

    def decode_audit_events(self, data: bytes) -> list[AuditEvent]:
        """Read the content of an audit record's section.

        Raises:
            EnvelopeMalformed: these are no audit events.
        """
