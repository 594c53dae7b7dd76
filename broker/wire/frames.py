"""The frames of a replay bundle: core types to protobuf, and back. broker/wire/bundle.py has the file."""

from __future__ import annotations

from typing import Final, TypeAlias

from google.protobuf.message import DecodeError

from broker.core.bundle import (
    AuthorityCertificate,
    BundleEnd,
    BundleEntry,
    BundleHeader,
    BundleLeaf,
    BundleSource,
    CosignedCheckpoint,
    DirectoryDocument,
    Frame,
    PartitionEnd,
    PartitionLeaves,
    PartitionRecords,
    PartitionStart,
    ProvedBeginning,
    RevocationListFile,
    StrayRecord,
    TimestampedCheckpoint,
)
from broker.core.errors import BundleInvalid, EnvelopeMalformed
from broker.core.streams import StreamPartition
from broker.wire.envelopes import envelope_from, fill_envelope
from broker.wire.receipts import (
    fill_position,
    fill_receipts,
    position_from,
    receipts_from,
    signature_from,
    signature_to,
)
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import auditor_pb2, checkpoint_pb2, position_pb2

_MAX_REASON: Final = 100
_RECORDS_TAG: Final = b"\x32"
"""The usual first byte of a frame of records: field 6 of BundleFrame."""
_SOURCES: Final = {
    auditor_pb2.BUNDLE_SOURCE_BROKER: BundleSource.BROKER,
    auditor_pb2.BUNDLE_SOURCE_MESSAGE_LOG: BundleSource.MESSAGE_LOG,
}
_SOURCE_NUMBERS: Final = {source: number for number, source in _SOURCES.items()}


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
        case BundleEnd():
            message.end.SetInParent()
            message.end.frames, message.end.records = frame.frames, frame.records
            message.end.sha256 = frame.sha256
            if frame.signature is not None:
                message.end.signature.CopyFrom(signature_to(frame.signature))
        case _:
            _fill_of_partition(message, frame)
    return message


def holds_records(data: bytes) -> bool:
    """Whether a frame begins like a frame of records. Only the first byte is read."""
    return data.startswith(_RECORDS_TAG)


def frame_from(data: bytes) -> Frame:
    """Read a frame.

    Raises:
        BundleInvalid: it is not a frame.
    """
    message = auditor_pb2.BundleFrame()
    try:
        message.ParseFromString(data)
        frame = _frame(message)
    except (DecodeError, EnvelopeMalformed) as error:
        text = "a frame of the bundle cannot be read"
        raise BundleInvalid(text) from error
    return frame


_OfPartition: TypeAlias = (
    PartitionStart | TimestampedCheckpoint | PartitionLeaves | PartitionRecords | StrayRecord | PartitionEnd
)


def _fill_of_partition(message: auditor_pb2.BundleFrame, frame: _OfPartition) -> None:
    match frame:
        case PartitionStart():
            start = message.partition_start
            start.checkpoint.stream, start.checkpoint.partition = frame.partition
            start.checkpoint.note = frame.note
            start.first_index = frame.first_index
            start.left_hashes.extend(frame.left_hashes)
            if frame.cosigned is not None:
                start.cosigned.note = frame.cosigned.note
                start.cosigned.path.extend(frame.cosigned.path)
            for proved in frame.beginnings:
                start.beginnings.add(old_size=proved.size, path=proved.path)
        case TimestampedCheckpoint():
            message.timestamped.checkpoint, message.timestamped.timestamp = frame.text, frame.timestamp
            message.timestamped.path.extend(frame.path)
        case PartitionLeaves():
            message.partition_leaves.first_index = frame.first_index
            for leaf in frame.leaves:
                message.partition_leaves.leaves.add(offset=leaf.offset, hash=leaf.hash)
        case PartitionRecords():
            _fill_records(message, frame)
        case StrayRecord():
            stray = message.stray
            fill_position(stray.position, frame.position)
            stray.reason, stray.value = frame.reason, frame.value
            stray.value_size, stray.value_sha256 = frame.value_size, frame.value_sha256
        case PartitionEnd():
            message.partition_end.end_index = frame.end_index
            message.partition_end.right_hashes.extend(frame.right_hashes)


def _fill_records(message: auditor_pb2.BundleFrame, frame: PartitionRecords) -> None:
    message.partition_records.SetInParent()
    add = message.partition_records.entries.add
    for entry in frame.entries:
        _fill_entry(add(log_id=entry.log_id, epoch=entry.epoch), entry)
    if frame.receipts is not None:
        fill_receipts(message.partition_records.receipts, frame.receipts)


def _fill_header(message: auditor_pb2.BundleHeader, header: BundleHeader) -> None:
    message.trust_domain, message.auditor, message.purpose = header.trust_domain, header.auditor, header.purpose
    set_ms(message.created_at, header.created_at_ms)
    if header.accepted_from_ms is not None:
        set_ms(message.accepted_from, header.accepted_from_ms)
    if header.accepted_until_ms is not None:
        set_ms(message.accepted_until, header.accepted_until_ms)
    message.streams.extend(header.streams)
    message.source = _SOURCE_NUMBERS[header.source]
    message.proved_record = header.proved_record


def _fill_entry(message: position_pb2.LogEntry, entry: BundleEntry) -> None:
    fill_position(message.position, entry.position)
    set_ms(message.accepted_at, entry.accepted_at_ms)
    fill_envelope(message.envelope, entry.envelope)


def _frame(message: auditor_pb2.BundleFrame) -> Frame:
    match message.WhichOneof("frame"):
        case "header":
            return _header(message.header)
        case "directory":
            return DirectoryDocument(message.directory.document, to_ms(message.directory.in_force_from))
        case "authority":
            return AuthorityCertificate(message.authority.der)
        case "revocation_list":
            return RevocationListFile(message.revocation_list.document)
        case "end":
            end = message.end
            signature = signature_from(end.signature) if end.HasField("signature") else None
            return BundleEnd(end.frames, end.records, signature, end.sha256)
    return _frame_of_partition(message)


def _frame_of_partition(message: auditor_pb2.BundleFrame) -> _OfPartition:
    match message.WhichOneof("frame"):
        case "partition_start":
            start = message.partition_start
            cosigned = start.cosigned if start.HasField("cosigned") else None
            return PartitionStart(
                _partition(start.checkpoint),
                start.checkpoint.note,
                start.first_index,
                tuple(start.left_hashes),
                None if cosigned is None else CosignedCheckpoint(cosigned.note, tuple(cosigned.path)),
                tuple(ProvedBeginning(proved.old_size, tuple(proved.path)) for proved in start.beginnings),
            )
        case "timestamped":
            stamped = message.timestamped
            return TimestampedCheckpoint(stamped.checkpoint, tuple(stamped.path), stamped.timestamp)
        case "partition_leaves":
            leaves = message.partition_leaves
            return PartitionLeaves(
                leaves.first_index, tuple(BundleLeaf(leaf.offset, leaf.hash) for leaf in leaves.leaves)
            )
        case "partition_records":
            records = message.partition_records
            receipts = receipts_from(records.receipts) if records.HasField("receipts") else None
            return PartitionRecords(tuple(map(_entry, records.entries)), receipts)
        case "stray":
            return _stray(message.stray)
        case "partition_end":
            return PartitionEnd(message.partition_end.end_index, tuple(message.partition_end.right_hashes))
    text = "a frame of the bundle is of no known kind"
    raise BundleInvalid(text)


def _partition(message: checkpoint_pb2.Checkpoint) -> StreamPartition:
    return StreamPartition(message.stream, message.partition)


def _header(message: auditor_pb2.BundleHeader) -> BundleHeader:
    source = _SOURCES.get(message.source)
    if source is None:
        text = "the bundle's header does not say who made it"
        raise BundleInvalid(text)
    return BundleHeader(
        message.trust_domain,
        message.auditor,
        message.purpose,
        to_ms(message.created_at),
        to_ms(message.accepted_from) if message.HasField("accepted_from") else None,
        to_ms(message.accepted_until) if message.HasField("accepted_until") else None,
        tuple(message.streams),
        source,
        message.proved_record,
    )


def _stray(message: auditor_pb2.StrayRecord) -> StrayRecord:
    # ``verify`` prints the reason, so it must not contain control characters for the terminal.
    if not (message.reason.isascii() and message.reason.isprintable() and len(message.reason) <= _MAX_REASON):
        text = "a stray's reason is not a few words of printable ASCII"
        raise BundleInvalid(text)
    return StrayRecord(
        position_from(message.position), message.reason, message.value, message.value_size, message.value_sha256
    )


def _entry(message: position_pb2.LogEntry) -> BundleEntry:
    return BundleEntry(
        position_from(message.position),
        to_ms(message.accepted_at),
        message.log_id,
        message.epoch,
        envelope_from(message.envelope),
    )
