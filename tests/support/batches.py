"""Record batches as a Kafka node returns them."""

from __future__ import annotations

import struct

from kafka.record.default_records import DefaultRecordBatchBuilder


def batch(*records: tuple[bytes, list[tuple[str, bytes]]], first: int = 0) -> bytearray:
    """An uncompressed batch of values with headers. ``first`` is the offset of its first record."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    for offset, (value, headers) in enumerate(records):
        builder.append(offset, 1_000 + offset, None, value, headers)
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, first)
    return data
