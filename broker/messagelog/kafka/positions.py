"""Positions on Kafka: the offset of a pack in its partition, times 4096, plus the entry's index in the pack.

A position is one number that never changes. It is below 2^53, so every program that reads JSON can hold it. The first
position of the next pack follows the last possible one of this pack, so positions have gaps.
"""

from __future__ import annotations

from typing import Final

_INDEX_BITS: Final = 12
PACK_ENTRIES: Final = (1 << _INDEX_BITS) - 1
"""The largest number of entries in a pack. The last index is for what somebody adds to a full pack."""
POSITION_BITS: Final = 53
MAX_OFFSET: Final = (1 << POSITION_BITS - _INDEX_BITS) - 1
"""The highest offset in a Kafka partition that still gives a position."""


def position_of(offset: int, index: int = 0) -> int:
    """The position of an entry of the pack at this offset in Kafka."""
    return offset << _INDEX_BITS | index


def offset_of(position: int) -> int:
    """The offset in Kafka of the pack that has this position."""
    return position >> _INDEX_BITS


def index_of(position: int) -> int:
    """The index of this position in its pack."""
    return position & (1 << _INDEX_BITS) - 1
