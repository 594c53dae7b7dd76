"""How entries are divided into packs, and what positions they get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.entry import NewEntry
from broker.core.seal import Sealing
from broker.core.streams import StreamPartition
from broker.messagelog.kafka.packs import PACK_BYTES, drafts_of, fits
from broker.messagelog.kafka.positions import (
    MAX_OFFSET,
    PACK_ENTRIES,
    POSITION_BITS,
    index_of,
    offset_of,
    position_of,
)
from tests.support.packs import packed
from tests.unit.broker.messagelog.kafka.test_judge import SIGNER

CASES = StreamPartition("cases", 0)
DNA = StreamPartition("dna", 0)


def entry(number: int, partition: StreamPartition = CASES, value: bytes = b"value") -> NewEntry:
    return NewEntry(partition, number.to_bytes(16), "CaseRecord", "case", ("ministry",), b"d" * 32, value)


def test_an_append_is_one_pack_for_each_partition_in_the_order_of_the_entries() -> None:
    drafts = drafts_of([entry(1, value=b"1"), entry(2, DNA, b"2"), entry(3, value=b"3"), entry(4, DNA, b"4")])
    assert [(draft.partition, [*draft.values]) for draft in drafts] == [(CASES, [b"1", b"3"]), (DNA, [b"2", b"4"])]


def test_a_pack_ends_before_the_entry_that_makes_it_too_large_and_a_large_entry_is_alone() -> None:
    large, small = b"x" * (PACK_BYTES + 1), b"x" * (PACK_BYTES // 3)
    drafts = drafts_of([entry(number, value=value) for number, value in enumerate([small, small, small, large, small])])
    assert [[len(value) for value in draft.values] for draft in drafts] == [
        [len(small), len(small)],
        [len(small)],
        [len(large)],
        [len(small)],
    ]


def test_a_pack_has_at_most_as_many_entries_as_there_are_positions() -> None:
    drafts = drafts_of([entry(number, value=b"") for number in range(PACK_ENTRIES + 1)])
    assert sum(len(draft.values) for draft in drafts) == PACK_ENTRIES + 1
    assert max(len(draft.values) for draft in drafts) <= PACK_ENTRIES


@given(
    value=st.binary(max_size=300),
    recipients=st.lists(st.text(st.characters(codec="ascii"), max_size=30), max_size=20),
    key=st.text(st.characters(codec="ascii"), max_size=60),
)
def test_an_entry_that_fits_is_no_larger_than_its_topic_takes(value: bytes, recipients: list[str], key: str) -> None:
    one = NewEntry(CASES, bytes(16), "CaseRecord", key, tuple(recipients), bytes(32), value)
    (data,) = packed([one], SIGNER, Sealing(bytes(16), 2**62), "log")
    assert not fits(one, len(data))
    # Kafka's own bytes around a record are fewer than 100.
    limit = next(limit for limit in range(len(data), len(data) + 2000) if fits(one, limit))
    assert limit >= len(data) + 100


@pytest.mark.parametrize("offset", [0, 1, 41, MAX_OFFSET])
@pytest.mark.parametrize("index", [0, 1, PACK_ENTRIES])
def test_a_position_says_which_pack_and_which_entry(offset: int, index: int) -> None:
    position = position_of(offset, index)
    assert (offset_of(position), index_of(position)) == (offset, index)
    assert position < 1 << POSITION_BITS
    assert position < position_of(offset + 1)
