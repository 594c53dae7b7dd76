"""Changes bytes of a topic and corrects the checksum, as an attacker with a Kafka node's disk could.

Kafka's checksums have no key, so they detect accidents, but not an attacker. The demo and the tests show what does.
Format: https://kafka.apache.org/documentation/#recordbatch (magic 2).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LENGTH: Final = struct.Struct(">qi")
"""Base offset, and the length of the bytes after these twelve."""
_CHECKSUM_AT: Final = 17
_CHECKED_FROM: Final = 21


def rewrite(partition: Path, old: bytes, new: bytes) -> None:
    """Replace ``old`` by ``new`` in a partition's segments, and correct the checksum. The node must not run.

    Args:
        partition: the folder ``<topic>-<number>`` of a node.
        old: bytes that occur once in the partition.
        new: the same number of other bytes.

    Raises:
        ValueError: the lengths differ, or the old bytes do not occur exactly once.
    """
    if len(old) != len(new):
        message = "the new bytes must have the length of the old ones"
        raise ValueError(message)
    segments = {path: path.read_bytes() for path in sorted(partition.glob("*.log"))}
    if sum(content.count(old) for content in segments.values()) != 1:
        message = "the bytes do not occur exactly once in the partition"
        raise ValueError(message)
    path = next(path for path, content in segments.items() if old in content)
    data = bytearray(segments[path].replace(old, new))
    for begin, end in _batches(data):
        struct.pack_into(">I", data, begin + _CHECKSUM_AT, crc32c.crc32c(bytes(data[begin + _CHECKED_FROM : end])))
    path.write_bytes(data)


def _batches(data: bytearray) -> Iterator[tuple[int, int]]:
    """The beginning and the end of each record batch."""
    begin = 0
    while begin + _LENGTH.size <= len(data):
        _, length = _LENGTH.unpack_from(data, begin)
        if length <= 0:
            # The rest is only reserved space for more batches.
            return
        yield begin, begin + _LENGTH.size + length
        begin += _LENGTH.size + length
