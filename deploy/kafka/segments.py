"""What somebody who has a Kafka node's disk can do to a topic: change bytes and make the checksum fit.

Kafka's checksums are not keyed, so they stop accidents and no attacker. The demo and the tests show what does.
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
"""Base offset, and the length of what follows these twelve bytes."""
_CHECKSUM_AT: Final = 17
_CHECKED_FROM: Final = 21


def rewrite(partition: Path, old: bytes, new: bytes) -> None:
    """Put ``new`` in the place of ``old`` in a partition's segments, and correct the checksum. The node must not run.

    Args:
        partition: the folder ``<topic>-<number>`` of a node.
        old: bytes that stand there once.
        new: as many others.

    Raises:
        ValueError: they have different lengths, or the old bytes do not stand there exactly once.
    """
    if len(old) != len(new):
        message = "a segment's bytes are replaced by as many others"
        raise ValueError(message)
    segments = {path: path.read_bytes() for path in sorted(partition.glob("*.log"))}
    if sum(content.count(old) for content in segments.values()) != 1:
        message = "the bytes do not stand in the partition exactly once"
        raise ValueError(message)
    path = next(path for path, content in segments.items() if old in content)
    data = bytearray(segments[path].replace(old, new))
    for begin, end in _batches(data):
        struct.pack_into(">I", data, begin + _CHECKSUM_AT, crc32c.crc32c(bytes(data[begin + _CHECKED_FROM : end])))
    path.write_bytes(data)


def _batches(data: bytearray) -> Iterator[tuple[int, int]]:
    """Where each record batch begins and ends."""
    begin = 0
    while begin + _LENGTH.size <= len(data):
        _, length = _LENGTH.unpack_from(data, begin)
        if length <= 0:
            # What follows was only set aside for more batches.
            return
        yield begin, begin + _LENGTH.size + length
        begin += _LENGTH.size + length
