"""The index depends only on the content of the topics, not on who reads when, and how much at once."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.entry import LogEntry, NewEntry, Stray
from broker.core.errors import LogCorrupt
from broker.core.seal import Sealing, value_digest
from broker.core.streams import Position, StreamPartition
from broker.messagelog.kafka.applying import Known
from broker.messagelog.kafka.index import Copy, KafkaIndex
from broker.messagelog.kafka.indexschema import INDEX
from broker.messagelog.kafka.judge import NOT_SEALED, REPLAYED, SealedEntry, SealedPack
from broker.messagelog.kafka.packs import Packed
from broker.messagelog.kafka.positions import offset_of, position_of
from broker.sqlitefile import Schema, open_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Batch = tuple[list[SealedPack | Stray], dict[StreamPartition, int]]

PARTITIONS = (StreamPartition("cases", 0), StreamPartition("cases", 1), StreamPartition("dna", 0))
CASES_0, CASES_1, _ = PARTITIONS
RECORDS_OF_APPEND = ([0, 1, 2], [3], [2, 4], [0], [5, 1, 6, 7])
LOG_IDS = {"cases": "cases-topic", "dna": "dna-topic"}


def sealed(
    offset: int,
    records: Sequence[int],
    append: int,
    *,
    partition: StreamPartition = CASES_0,
    at_ms: int = 1000,
    epoch: int = 0,
    altered: int | None = None,
) -> SealedPack:
    """A pack of these records. The entry at the index ``altered``, if any, is no longer what was sealed."""
    entries: list[SealedEntry] = []
    for index, record in enumerate(records):
        value = b"value %d" % record
        entry = NewEntry(
            partition,
            sha256(b"id %d" % record).digest()[:16],
            "CaseRecord",
            f"case-{record}",
            ("ministry",),
            sha256(value).digest(),
            value,
        )
        place = position_of(offset, index)
        entries.append(SealedEntry(place, Packed(entry, value_digest(value)), index != altered))
    sealing = Sealing(append.to_bytes(16), at_ms)
    return SealedPack(partition, offset, epoch, sealing, append.to_bytes(20), entries, [], b"pack %d" % append)


def stray(offset: int, partition: StreamPartition = CASES_0) -> Stray:
    return Stray.of(Position(*partition, position_of(offset)), NOT_SEALED, b"rubbish %d" % offset)


class State(NamedTuple):
    """Every answer of an index."""

    known: dict[StreamPartition, Known]
    entries: list[LogEntry]
    strays: list[Stray]
    found: dict[bytes, Position]


async def state_of(index: KafkaIndex) -> State:
    known = await index.open()
    facts = [fact for partition in PARTITIONS for fact in await index.facts(partition, 0, 1000)]
    strays = [one for partition in PARTITIONS for one in await index.strays(partition)]
    found = await index.find([fact.entry.record_id for fact in facts])
    return State(
        known,
        [fact.entry for fact in facts],
        strays,
        {key: place.position for key, place in found.items()},
    )


async def applied(batches: list[Batch]) -> tuple[State, list[LogEntry]]:
    """The answers of an index after these batches, and what it returned for them."""
    index = KafkaIndex(None, PARTITIONS, LOG_IDS)
    await index.open()
    returned: list[LogEntry] = []
    for judged, next_offsets in batches:
        returned += [placed.entry for placed in (await index.apply(judged, next_offsets)).placed]
    state = await state_of(index)
    await index.close()
    return state, sorted(returned, key=lambda entry: entry.position)


@st.composite
def logs(draw: st.DrawFn) -> dict[StreamPartition, list[SealedPack | Stray]]:
    """Partitions with strays, gaps, records that were appended twice, altered entries, and copies of packs."""
    log: dict[StreamPartition, list[SealedPack | Stray]] = {}
    for partition in PARTITIONS:
        offset, epoch = 0, 0
        log[partition] = []
        for _ in range(draw(st.integers(0, 12))):
            offset += draw(st.integers(1, 3))
            epoch += draw(st.integers(0, 1))
            if draw(st.integers(0, 5)) == 0:
                log[partition].append(stray(offset, partition))
                continue
            # There are few appends, so that they often repeat. The same append has the same time and records.
            append = draw(st.integers(0, 4))
            records, altered = RECORDS_OF_APPEND[append], draw(st.sampled_from([None, None, 0]))
            log[partition].append(
                sealed(
                    offset, records, append, partition=partition, at_ms=1000 - 7 * append, epoch=epoch, altered=altered
                )
            )
    return log


@st.composite
def readings(draw: st.DrawFn, log: dict[StreamPartition, list[SealedPack | Stray]]) -> list[Batch]:
    """One way to read all of a log: parts of some partitions at a time, each in order."""
    left = {partition: list(items) for partition, items in log.items()}
    batches: list[Batch] = []
    while any(left.values()):
        judged: list[SealedPack | Stray] = []
        next_offsets = {}
        for partition in draw(st.permutations(PARTITIONS)):
            count = draw(st.integers(0, len(left[partition])))
            part, left[partition] = left[partition][:count], left[partition][count:]
            judged += part
            if part:
                next_offsets[partition] = _offset(part[-1]) + 1
        batches.append((judged, next_offsets))
    return batches


def _offset(item: SealedPack | Stray) -> int:
    """Kafka's."""
    return offset_of(item.position.offset) if isinstance(item, Stray) else item.offset


@settings(max_examples=60)
@given(data=st.data())
def test_however_the_topics_are_read_the_index_comes_out_the_same(data: st.DataObject) -> None:
    log = data.draw(logs())
    at_once = [(items, {partition: _offset(items[-1]) + 1}) for partition, items in log.items() if items]
    expected = asyncio.run(applied(at_once))
    assert asyncio.run(applied(data.draw(readings(log)))) == expected
    # What was not committed when a process ended is read again.
    one_by_one: list[Batch] = [
        ([item], {partition: _offset(item) + 1}) for partition, items in log.items() for item in items
    ]
    assert asyncio.run(applied(one_by_one)) == expected


@settings(max_examples=60)
@given(data=st.data())
def test_every_position_is_the_first_of_its_record_or_a_duplicate_or_a_stray(data: st.DataObject) -> None:
    log = data.draw(logs())
    state, returned = asyncio.run(applied(data.draw(readings(log))))
    firsts: set[tuple[StreamPartition, bytes]] = set()
    packs: set[bytes] = set()
    entries, strays = [], []
    for partition in PARTITIONS:
        packs.clear()
        for item in log[partition]:
            if isinstance(item, Stray):
                strays.append((item.position, NOT_SEALED))
            elif item.pack_id in packs:
                strays.append((Position(*partition, position_of(item.offset)), REPLAYED))
            else:
                packs.add(item.pack_id)
                for one in item.entries:
                    record = (partition, one.packed.entry.record_id)
                    if record not in firsts:
                        firsts.add(record)
                        entries.append(Position(*partition, one.position))
    assert [entry.position for entry in state.entries] == entries == [entry.position for entry in returned]
    assert [(one.position, one.reason) for one in state.strays] == strays
    for partition in PARTITIONS:
        times = [entry.accepted_at_ms for entry in state.entries if entry.position.stream_partition == partition]
        assert times == sorted(times)


async def test_a_copy_of_a_copy_is_a_stray_too_and_an_honest_repetition_is_not() -> None:
    packs = [sealed(0, [1, 2], 1), sealed(1, [1], 2), sealed(2, [1, 2], 1), sealed(3, [1], 2), sealed(4, [2, 3], 3)]
    state, returned = await applied([([*packs], {CASES_0: 5})])
    assert [entry.position.offset for entry in returned] == [0, 1, position_of(4, 1)]
    assert [(one.position.offset, one.reason, one.sha256) for one in state.strays] == [
        (position_of(2), REPLAYED, sha256(b"pack 1").digest()),
        (position_of(3), REPLAYED, sha256(b"pack 2").digest()),
    ]


@settings(max_examples=60)
@given(data=st.data())
def test_damage_changes_no_position_no_leaf_and_no_copy_but_which_bytes_there_are(data: st.DataObject) -> None:
    log = data.draw(logs())
    undamaged = {
        partition: [
            item
            if isinstance(item, Stray)
            else item._replace(entries=[entry._replace(sound=True) for entry in item.entries])
            for item in items
        ]
        for partition, items in log.items()
    }
    # Whoever reads it before the damage and whoever reads it after that knows the same log.
    before = asyncio.run(applied(data.draw(readings(undamaged))))
    after = asyncio.run(applied(data.draw(readings(log))))
    assert after[0] == before[0]
    assert {entry._replace(value=b"") for entry in after[1]} == {entry._replace(value=b"") for entry in before[1]}


async def test_a_later_append_of_the_same_record_is_a_copy_whose_value_can_stand_in() -> None:
    index = KafkaIndex(None, PARTITIONS, LOG_IDS)
    await index.open()
    packs = [sealed(0, [1, 2], 1, altered=1), sealed(1, [2, 1], 2), sealed(2, [2], 3, altered=0), sealed(3, [2], 4)]
    other = sealed(0, [2], 5, partition=CASES_1)
    outcome = await index.apply([*packs, other], {CASES_0: 4, CASES_1: 1})
    assert [(one.entry.value, one.sound) for one in outcome.placed] == [
        (b"value 1", True),
        (b"", False),
        (b"value 2", True),
    ]
    digest = {record: value_digest(b"value %d" % record) for record in (1, 2)}
    # One that is damaged itself is none, and neither is one in another partition.
    assert await index.copies(CASES_0, [0, 1, 9]) == {
        0: [Copy(position_of(1, 1), digest[1])],
        1: [Copy(position_of(1), digest[2]), Copy(position_of(3), digest[2])],
    }
    assert len(outcome.repeated) == 3
    await index.close()


async def test_another_record_under_the_same_id_is_no_copy() -> None:
    index = KafkaIndex(None, PARTITIONS, LOG_IDS)
    await index.open()
    (entry,) = sealed(1, [1], 2).entries
    said = entry.packed.entry._replace(record_sha256=sha256(b"another").digest())
    squatting = sealed(1, [1], 2)._replace(entries=[entry._replace(packed=entry.packed._replace(entry=said))])
    await index.apply([sealed(0, [1], 1, altered=0), squatting], {CASES_0: 2})
    assert await index.copies(CASES_0, [0]) == {}
    await index.close()


async def test_the_accepted_time_is_the_latest_sealed_so_far() -> None:
    times = [1000, 900, 1100, 1050]
    items: list[SealedPack | Stray] = [sealed(at, [at], at, at_ms=ms) for at, ms in enumerate(times)]
    _, returned = await applied([(items, {CASES_0: 4})])
    assert [entry.accepted_at_ms for entry in returned] == [1000, 1000, 1100, 1100]


async def test_a_partition_that_goes_on_under_an_earlier_leader_is_corrupt() -> None:
    index = KafkaIndex(None, PARTITIONS, LOG_IDS)
    await index.open()
    await index.apply([sealed(0, [1], 1, epoch=3)], {CASES_0: 1})
    for again in (sealed(1, [2], 2, epoch=2), sealed(1, [1], 2, epoch=2)):
        with pytest.raises(LogCorrupt, match="earlier leader"):
            await index.apply([again], {CASES_0: 2})
    # Nothing of it was kept.
    assert (await index.open())[CASES_0] == Known(1, 1, 1000, 3)
    await index.close()


async def test_an_index_of_other_topics_or_partitions_is_refused(tmp_path: Path) -> None:
    index = KafkaIndex(tmp_path / "index.db", PARTITIONS, LOG_IDS)
    await index.open()
    await index.close()
    for partitions, log_ids in ((PARTITIONS, {**LOG_IDS, "dna": "made anew"}), (PARTITIONS[:2], LOG_IDS)):
        other = KafkaIndex(tmp_path / "index.db", partitions, log_ids)
        with pytest.raises(LogCorrupt, match="other topics"):
            await other.open()
        await other.close()


async def test_of_one_record_in_two_partitions_the_first_partition_s_is_found() -> None:
    one, other = sealed(7, [1], 1), sealed(0, [1], 2, partition=CASES_1)
    apart: list[Batch] = [([one], {CASES_0: 8}), ([other], {CASES_1: 1})]
    together: list[Batch] = [([other, one], {CASES_0: 8, CASES_1: 1})]
    for batches in (apart, apart[::-1], together):
        state, _ = await applied(batches)
        (found,) = state.found.values()
        assert found == Position("cases", 0, position_of(7))


def contents(folder: Path) -> list[bytes]:
    return [each.read_bytes() for each in folder.iterdir()]


async def test_of_strays_the_file_has_place_size_and_digest_and_no_byte(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    index = KafkaIndex(path, PARTITIONS, LOG_IDS)
    await index.open()
    large = b"canary" * 200_000
    judged = [Stray.of(Position(*CASES_0, position_of(offset)), NOT_SEALED, large) for offset in range(20)]
    await index.apply(judged, {CASES_0: 20})
    assert await index.strays(CASES_0) == judged
    assert {(one.size, one.sha256) for one in judged} == {(len(large), sha256(large).digest())}
    await index.close()
    files = contents(tmp_path)
    assert sum(map(len, files)) < len(large)
    assert not any(b"canary" in content for content in files)


async def test_an_index_that_has_the_bytes_of_strays_is_emptied_so_that_everything_is_read_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "index.db"
    before = open_file(path, Schema(INDEX.application_id, INDEX.migrations[:1]))
    before.execute("INSERT INTO strays VALUES (0, 'NOT_SEALED', ?)", (b"canary",))
    before.execute("INSERT INTO progress VALUES (0, 7, 1000, 0)")
    before.execute("INSERT INTO packs VALUES (?)", (b"pack",))
    before.close()
    index = KafkaIndex(path, PARTITIONS, LOG_IDS)
    state = await state_of(index)
    assert set(state.known.values()) == {Known(0, 0, 0, -1)}
    assert state.strays == []
    await index.apply([sealed(0, [1, 2], 1), stray(1)], {CASES_0: 2})
    assert len((await state_of(index)).entries) == 2
    await index.close()
