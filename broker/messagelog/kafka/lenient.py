"""Read record batches so that nothing in a topic stops a reader. What cannot be read becomes a record without content.

kafka-python (3.0.12) raises an error for a header name that is no UTF-8, for a codec whose library is missing, and for
damage that its checksum covers. The consumer is then at the same offset for ever. It also decompresses a batch to any
size. But whoever may write to a topic can write all of these. A broker never compresses, so what is compressed is none
of ours and is not looked into.

The library has no setting for this. ``install`` puts the class into the place where it makes its batches.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka.errors import CorruptRecordError
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

UNREADABLE: Final = "unreadable"
"""The header of a record without content. No broker writes headers, so it is a stray."""


class Unread(NamedTuple):
    """What the bytes are that could not be read: their number, and their SHA-256. The content of that header."""

    size: int
    sha256: bytes


class LenientBatch(DefaultRecordBatch):  # type: ignore[misc] # the library has no types
    """A batch of which every record can be read, or is replaced."""

    def __iter__(self) -> Iterator[Any]:
        """The records, in order. A compressed batch is one record, with the offset of its first."""
        if self.compression_type != self.CODEC_NONE:
            yield self._unreadable(self.base_offset, 0, len(self._buffer))
            return
        while self._next_record_index < self._num_records:
            begin = self._pos
            try:
                record = self._read_msg()
            except (CorruptRecordError, ValueError, IndexError):
                record = self._passed_over(begin)
                if record is None:
                    yield self._unreadable(self.base_offset + self._next_record_index, begin, len(self._buffer))
                    return
            self._next_record_index += 1
            yield record

    def _passed_over(self, begin: int) -> Any:
        """What replaces the record that begins here, or None if it does not say where it ends."""
        try:
            size, at = decode_varint(self._buffer, begin)
            _, after_attributes = decode_varint(self._buffer, at)
            _, after_time = decode_varint(self._buffer, after_attributes)
            delta, _ = decode_varint(self._buffer, after_time)
        except (ValueError, IndexError):
            return None
        if not 0 < size <= len(self._buffer) - at or not 0 <= delta <= self.last_offset_delta:
            return None
        self._pos = at + size
        return self._unreadable(self.base_offset + delta, begin, self._pos)

    def _unreadable(self, offset: int, begin: int, end: int) -> Any:
        """What replaces the bytes from ``begin`` to ``end`` of the batch."""
        unread = Unread(end - begin, sha256(self._buffer[begin:end]).digest())
        headers = [(UNREADABLE, unread)]
        return DefaultRecord(unread.size, offset, self.first_timestamp, self.timestamp_type, None, None, headers)


def install() -> None:
    """Let every consumer of this process read in this way. Idempotent."""
    memory_records.DefaultRecordBatch = LenientBatch
