"""What an agency says that it was handed (protos/caseexchange/broker/v1/received.proto), and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from broker.core.audit.received import ReceivedCopy, SignedCopies
from broker.core.errors import EnvelopeMalformed, ReceiptInvalid
from broker.wire.receipts import fill_position, position_from, signature_from, signature_to
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import received_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.envelope import Signature


def copies_bytes(agency: str, copies: Sequence[ReceivedCopy]) -> bytes:
    """Serialise what an agency got, to be signed."""
    message = received_pb2.ReceivedCopies(agency=agency)
    for copy in copies:
        one = message.copies.add(
            record_id=copy.record_id, record_sha256=copy.record_sha256, sections=sorted(copy.sections)
        )
        fill_position(one.position, copy.position)
        set_ms(one.received_at, copy.received_at_ms)
    return message.SerializeToString(deterministic=True)


def signed_copies_bytes(serialised: bytes, signature: Signature) -> bytes:
    """Serialise a list with its signature."""
    message = received_pb2.SignedCopies(copies=serialised, signature=signature_to(signature))
    return message.SerializeToString(deterministic=True)


def read_signed_copies(data: bytes) -> SignedCopies:
    """Read a list with its signature. Nothing is verified.

    Raises:
        ReceiptInvalid: it cannot be read.
    """
    try:
        message = received_pb2.SignedCopies.FromString(data)
        said = received_pb2.ReceivedCopies.FromString(message.copies)
        copies = tuple(
            ReceivedCopy(
                one.record_id,
                one.record_sha256,
                position_from(one.position),
                to_ms(one.received_at),
                tuple(one.sections),
            )
            for one in said.copies
        )
    except (DecodeError, EnvelopeMalformed) as error:
        text = "the list of what an agency got cannot be read"
        raise ReceiptInvalid(text) from error
    return SignedCopies(said.agency, copies, message.copies, signature_from(message.signature))
