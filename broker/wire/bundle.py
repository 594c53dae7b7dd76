"""Replay bundles: frames to protobuf and back, and the file in which an auditor keeps them.

A bundle file is the line ``case-exchange bundle v1`` and a newline, then each frame as a varint length and its bytes.
The last frame is signed over the bytes of all the others, so that also a byte without meaning cannot change unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

from google.protobuf.message import DecodeError

from broker.core.bundle import (
    AuthorityCertificate,
    BundleEnd,
    BundleEntry,
    BundleHeader,
    DirectoryDocument,
    Frame,
    PartitionEnd,
    PartitionRecords,
    PartitionStart,
    RevocationListFile,
)
from broker.core.errors import BundleInvalid, EnvelopeMalformed
from broker.core.streams import StreamPartition
from broker.wire.envelopes import envelope_from, envelope_to
from broker.wire.receipts import position_from, position_to, receipts_from, receipts_to, signature_from, signature_to
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import auditor_pb2, checkpoint_pb2, position_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC: Final = b"case-exchange bundle v1\n"
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
_VARINT_BYTES: Final = 4


def frame_to(frame: Frame) -> auditor_pb2.BundleFrame:
    """Write a frame."""
    message = auditor_pb2.BundleFrame()
    match frame:
        case BundleHeader():
            _fill_header(message.header, frame)
        case DirectoryDocument():
            message.directory.document = frame.document
            set_ms(message.directory.in_force_from, frame.in_force_from_ms)
        case AuthorityCertificate():
            message.authority.der = frame.der
        case RevocationListFile():
            message.revocation_list.document = frame.document
        case PartitionStart():
            start = message.partition_start
            start.checkpoint.stream, start.checkpoint.partition = frame.partition
            start.checkpoint.note = frame.note
            start.first_index = frame.first_index
            start.left_hashes.extend(frame.left_hashes)
        case PartitionRecords():
            message.partition_records.entries.extend(map(_entry_to, frame.entries))
            message.partition_records.receipts.CopyFrom(receipts_to(frame.receipts))
        case PartitionEnd():
            message.partition_end.end_index = frame.end_index
            message.partition_end.right_hashes.extend(frame.right_hashes)
        case BundleEnd():
            message.end.SetInParent()
            message.end.frames, message.end.records = frame.frames, frame.records
            message.end.signature.CopyFrom(signature_to(frame.signature))
    return message


def frame_from(data: bytes) -> Frame:
    """Read a frame.

    Raises:
        BundleInvalid: it is none.
    """
    message = auditor_pb2.BundleFrame()
    try:
        message.ParseFromString(data)
        frame = _frame(message)
    except (DecodeError, EnvelopeMalformed) as error:
        text = "a frame of the bundle cannot be read"
        raise BundleInvalid(text) from error
    return frame


def write_frame(file: BinaryIO, frame: bytes) -> None:
    """Append a serialised frame to a file that begins with ``MAGIC``."""
    length = len(frame)
    prefix = bytearray()
    while length > 0x7F:  # noqa: PLR2004 - LEB128: seven bits a byte
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    file.write(bytes(prefix) + frame)


def read_frames(file: BinaryIO) -> Iterator[bytes]:
    """The serialised frames of a bundle file, from its beginning.

    Raises:
        BundleInvalid: it is no bundle, or breaks off within a frame.
    """
    if file.read(len(MAGIC)) != MAGIC:
        message = "the file is not a case-exchange bundle of version 1"
        raise BundleInvalid(message)
    while (length := _read_length(file)) is not None:
        frame = file.read(length)
        if len(frame) != length:
            message = "the bundle breaks off within a frame"
            raise BundleInvalid(message)
        yield frame


def _read_length(file: BinaryIO) -> int | None:
    length = 0
    for place in range(_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            if place == 0:
                return None
            break
        length |= (byte[0] & 0x7F) << 7 * place
        if byte[0] < 0x80:  # noqa: PLR2004 - LEB128: the top bit says whether more follow
            if length > MAX_FRAME_BYTES or (place and not byte[0]):
                break
            return length
    message = "the bundle holds a frame length that is cut short or out of bounds"
    raise BundleInvalid(message)


def _fill_header(message: auditor_pb2.BundleHeader, header: BundleHeader) -> None:
    message.trust_domain, message.auditor, message.purpose = header.trust_domain, header.auditor, header.purpose
    set_ms(message.created_at, header.created_at_ms)
    if header.accepted_from_ms is not None:
        set_ms(message.accepted_from, header.accepted_from_ms)
    if header.accepted_until_ms is not None:
        set_ms(message.accepted_until, header.accepted_until_ms)
    message.streams.extend(header.streams)


def _entry_to(entry: BundleEntry) -> position_pb2.LogEntry:
    message = position_pb2.LogEntry(
        position=position_to(entry.position),
        log_id=entry.log_id,
        epoch=entry.epoch,
        envelope=envelope_to(entry.envelope),
    )
    set_ms(message.accepted_at, entry.accepted_at_ms)
    return message


def _frame(message: auditor_pb2.BundleFrame) -> Frame:  # noqa: PLR0911 - one for each kind of frame
    match message.WhichOneof("frame"):
        case "header":
            return _header(message.header)
        case "directory":
            return DirectoryDocument(message.directory.document, to_ms(message.directory.in_force_from))
        case "authority":
            return AuthorityCertificate(message.authority.der)
        case "revocation_list":
            return RevocationListFile(message.revocation_list.document)
        case "partition_start":
            start = message.partition_start
            return PartitionStart(
                _partition(start.checkpoint), start.checkpoint.note, start.first_index, tuple(start.left_hashes)
            )
        case "partition_records":
            records = message.partition_records
            return PartitionRecords(tuple(map(_entry, records.entries)), receipts_from(records.receipts))
        case "partition_end":
            return PartitionEnd(message.partition_end.end_index, tuple(message.partition_end.right_hashes))
        case "end":
            return BundleEnd(message.end.frames, message.end.records, signature_from(message.end.signature))
    text = "a frame of the bundle is of no known kind"
    raise BundleInvalid(text)


def _partition(message: checkpoint_pb2.Checkpoint) -> StreamPartition:
    return StreamPartition(message.stream, message.partition)


def _header(message: auditor_pb2.BundleHeader) -> BundleHeader:
    return BundleHeader(
        message.trust_domain,
        message.auditor,
        message.purpose,
        to_ms(message.created_at),
        to_ms(message.accepted_from) if message.HasField("accepted_from") else None,
        to_ms(message.accepted_until) if message.HasField("accepted_until") else None,
        tuple(message.streams),
    )


def _entry(message: position_pb2.LogEntry) -> BundleEntry:
    return BundleEntry(
        position_from(message.position),
        to_ms(message.accepted_at),
        message.log_id,
        message.epoch,
        envelope_from(message.envelope),
    )
