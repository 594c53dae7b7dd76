"""Receipts and positions: protobuf to core types, and back."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from broker.core.envelope import Signature
from broker.core.errors import EnvelopeMalformed, ReceiptInvalid
from broker.core.receipt import Receipt, ReceiptStatement, SignedReceipts
from broker.core.streams import Position
from broker.wire.times import to_ms
from caseexchange.broker.v1 import envelope_pb2, position_pb2, receipt_pb2


def position_from(message: position_pb2.Position) -> Position:
    """Read a position message."""
    return Position(message.stream, message.partition, message.offset)


def fill_position(message: position_pb2.Position, position: Position) -> None:
    """Write a position into an empty message that is a part of another."""
    message.stream, message.partition, message.offset = position


def statement_from(data: bytes) -> ReceiptStatement:
    """Read a serialised statement.

    Raises:
        ReceiptInvalid: it is not a statement.
    """
    message = receipt_pb2.ReceiptStatement()
    try:
        message.ParseFromString(data)
        accepted_at_ms = to_ms(message.accepted_at)
    except (DecodeError, EnvelopeMalformed) as error:
        text = "the receipt's statement cannot be read"
        raise ReceiptInvalid(text) from error
    return ReceiptStatement(
        message.record_id,
        message.record_sha256,
        position_from(message.position),
        message.log_id,
        message.epoch,
        accepted_at_ms,
        message.publisher,
    )


def fill_receipts(message: receipt_pb2.SignedReceipts, receipts: SignedReceipts) -> None:
    """Write the receipts of a batch into an empty message."""
    message.statements.extend(receipts.statements)
    message.signature.certificate_sha256, message.signature.value = receipts.signature


def receipts_from(message: receipt_pb2.SignedReceipts) -> SignedReceipts:
    """Read the receipts of a batch."""
    return SignedReceipts(tuple(message.statements), signature_from(message.signature))


def receipt_to(receipt: Receipt) -> receipt_pb2.Receipt:
    """Write a portable receipt."""
    return receipt_pb2.Receipt(
        statement=receipt.statement,
        leaf_index=receipt.leaf_index,
        leaf_count=receipt.leaf_count,
        inclusion_path=receipt.inclusion_path,
        signature=signature_to(receipt.signature),
    )


def receipt_from(message: receipt_pb2.Receipt) -> Receipt:
    """Read a portable receipt."""
    return Receipt(
        message.statement,
        message.leaf_index,
        message.leaf_count,
        tuple(message.inclusion_path),
        signature_from(message.signature),
    )


def receipt_bytes(receipt: Receipt) -> bytes:
    """Serialise a portable receipt, as it is kept, and as a record's former receipt."""
    return receipt_to(receipt).SerializeToString(deterministic=True)


def read_receipt(data: bytes) -> Receipt:
    """Read a serialised portable receipt.

    Raises:
        ReceiptInvalid: it is not a receipt, or not only that: nobody may hide something in what others pass on.
    """
    try:
        message = receipt_pb2.Receipt.FromString(data)
    except DecodeError as error:
        text = "the receipt cannot be read"
        raise ReceiptInvalid(text) from error
    message.DiscardUnknownFields()
    if message.ByteSize() != len(data):
        text = "the receipt has more in it than a receipt"
        raise ReceiptInvalid(text)
    return receipt_from(message)


def signature_to(signature: Signature) -> envelope_pb2.Signature:
    """Write a signature."""
    return envelope_pb2.Signature(certificate_sha256=signature.certificate_sha256, value=signature.value)


def signature_from(message: envelope_pb2.Signature) -> Signature:
    """Read a signature."""
    return Signature(message.certificate_sha256, message.value)
