"""Entry or stray: every Kafka record is judged, and none but a newer broker's pack stops the judging."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from broker.core.entry import NewEntry, Stray
from broker.core.errors import LogCorrupt, LogSchemaUnsupported
from broker.core.logkeyends import EndedLogKey, LastPosition
from broker.core.seal import Seal, Sealing, pack_statement, prepare_seals, value_digest
from broker.core.streams import Position, StreamPartition
from broker.messagelog.kafka.judge import ALTERED, BEFORE_PACKS, NOT_SEALED, PackJudge, SealedPack
from broker.messagelog.kafka.lenient import UNREADABLE, Unread
from broker.messagelog.kafka.packs import Draft, Pack, parse_pack
from broker.messagelog.kafka.positions import MAX_OFFSET, PACK_ENTRIES, position_of
from broker.trust.signing import Ed25519NoteSigner
from caseexchange.log.v1 import pack_pb2
from tests.support.kafkalog import ListedKeys
from tests.support.packs import Record, packed

SIGNER = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
LOG_IDS = {"cases": "cases-topic", "dna": "dna-topic"}
CASES_2 = StreamPartition("cases", 2)
SEALING = Sealing(bytes(range(16)), 1_767_225_600_123)
ENTRY = NewEntry(CASES_2, b"r" * 16, "CaseRecord", "a-case", ("ministry", "hebei-police"), b"d" * 32, b"an envelope")
OTHER = NewEntry(CASES_2, b"s" * 16, "Tip", "b-case", (), b"e" * 32, b"another envelope")
THIRD = NewEntry(CASES_2, b"t" * 16, "Closure", "a-case", ("ministry",), b"f" * 32, b"")
HERE = Position(*CASES_2, position_of(41))


def produced(
    *entries: NewEntry, signer: Ed25519NoteSigner = SIGNER, log_id: str = "cases-topic", version: int = 1
) -> Record:
    """A broker's append to one partition, as it is read back from the topic."""
    (value,) = packed(entries or (ENTRY, OTHER, THIRD), signer, SEALING, log_id, version)
    return Record(41, SEALING.at_ms, value)


def judged(record: Record, partition: StreamPartition = CASES_2) -> SealedPack | Stray:
    return PackJudge(LOG_IDS, ListedKeys(SIGNER)).judge(partition, record)


def changed(record: Record, *, values: list[bytes] | None = None, version: int = 1) -> Record:
    """The same sealed pack with other values, or of another version."""
    pack = parsed(record)
    draft = Draft(CASES_2, pack.header, [*pack.values] if values is None else values)
    message = pack_pb2.Pack.FromString(draft.encode(Seal.decode(pack.seal)))
    message.version = version
    return record._replace(value=message.SerializeToString())


def sealed(header: bytes, values: list[bytes]) -> Record:
    """A pack with a header that no broker writes, sealed with the key of a broker."""
    unsigned = prepare_seals([pack_statement(1, CASES_2, "cases-topic", SEALING, header)])
    (seal,) = unsigned.signed(SIGNER.key_id, SEALING.append_id, SIGNER.sign(unsigned.text))
    return Record(41, SEALING.at_ms, Draft(CASES_2, header, values).encode(seal))


def parsed(record: Record) -> Pack:
    pack = parse_pack(record.value or b"")
    assert pack is not None
    return pack


def listed(pack: SealedPack | Stray) -> list[tuple[int, NewEntry]]:
    """The entries of a pack with their indexes."""
    assert isinstance(pack, SealedPack)
    return [(sealed.position - position_of(41), sealed.packed.entry) for sealed in pack.entries]


def test_what_a_broker_appended_comes_back_as_it_was() -> None:
    record = produced()
    pack = judged(record)
    assert listed(pack) == [(0, ENTRY), (1, OTHER), (2, THIRD)]
    assert isinstance(pack, SealedPack)
    assert (pack.partition, pack.offset, pack.epoch, pack.sealing) == (CASES_2, 41, 4, SEALING)
    assert (pack.altered, pack.value) == ([], record.value)
    assert [sealed.packed.value_sha256 for sealed in pack.entries] == [
        value_digest(entry.value) for entry in (ENTRY, OTHER, THIRD)
    ]


def test_a_pack_beyond_the_end_of_its_key_is_a_stray_in_every_process() -> None:
    keys = ListedKeys(SIGNER)
    for next_offset, counts in ((position_of(41), False), (position_of(41) + 1, True)):
        end = EndedLogKey(SIGNER.vkey, 0, (LastPosition(CASES_2, "cases-topic", 1, next_offset),))
        keys.ends[SIGNER.key_id] = end
        assert isinstance(PackJudge(LOG_IDS, keys).judge(CASES_2, produced()), SealedPack) is counts


def test_each_pack_of_an_append_is_judged_alone_and_has_an_id_of_its_own() -> None:
    dna = OTHER._replace(partition=StreamPartition("dna", 0))
    log_ids = dict.fromkeys(LOG_IDS, "one-topic")
    judge = PackJudge(log_ids, ListedKeys(SIGNER))
    values = packed([ENTRY, dna, THIRD], SIGNER, SEALING, "one-topic")
    packs = [
        judge.judge(partition, Record(41, SEALING.at_ms, value))
        for partition, value in zip((CASES_2, dna.partition), values, strict=True)
    ]
    assert [listed(pack) for pack in packs] == [[(0, ENTRY), (1, THIRD)], [(0, dna)]]
    assert len({pack.pack_id for pack in packs if isinstance(pack, SealedPack)}) == 2


@pytest.mark.parametrize("partition", [StreamPartition("cases", 1), StreamPartition("dna", 2)])
def test_it_is_a_stray_in_another_partition(partition: StreamPartition) -> None:
    record = produced()
    assert judged(record, partition) == Stray.of(Position(*partition, HERE.offset), NOT_SEALED, record.value or b"")


def test_it_is_a_stray_in_a_topic_made_anew_and_by_a_key_that_is_not_listed() -> None:
    assert isinstance(judged(produced(log_id="the topic before")), Stray)
    stranger = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.generate())
    assert isinstance(judged(produced(signer=stranger)), Stray)


GOOD = produced()
STRAYS = {
    "a key": GOOD._replace(key=b"a-case"),
    "no value": GOOD._replace(value=None),
    "an empty value": GOOD._replace(value=b""),
    "no pack": GOOD._replace(value=b"\xff\x00 garbage"),
    "another time": GOOD._replace(timestamp=SEALING.at_ms + 1),
    "no time": GOOD._replace(timestamp=-1),
    "a null time": GOOD._replace(timestamp=None),
    "a header": GOOD._replace(headers=[("more", b"")]),
    "a null header": GOOD._replace(headers=[("more", None)]),
    "a version that was not sealed": changed(GOOD, version=2),
}


@pytest.mark.parametrize("record", [pytest.param(record, id=what) for what, record in STRAYS.items()])
def test_with_anything_else_it_is_a_stray_that_keeps_its_bytes(record: Record) -> None:
    assert judged(record) == Stray.of(HERE, NOT_SEALED, record.value or b"")


def sound(pack: SealedPack | Stray) -> list[bool]:
    """Of each entry of a pack, whether its value is what was sealed."""
    assert isinstance(pack, SealedPack)
    assert [one.position for one in pack.entries] == [position_of(41, at) for at in range(len(pack.entries))]
    return [one.sound for one in pack.entries]


def test_an_entry_whose_value_was_changed_keeps_its_place_and_is_not_sound() -> None:
    pack = judged(changed(GOOD, values=[b"an envelope", b"another envelopf", b""]))
    assert sound(pack) == [True, False, True]
    assert isinstance(pack, SealedPack)
    assert pack.altered == []
    # What its leaf says is in the header, which is sealed.
    assert pack.entries[1].packed.entry == OTHER._replace(value=b"another envelopf")


def test_values_in_another_order_are_not_sound() -> None:
    assert sound(judged(changed(GOOD, values=[b"another envelope", b"an envelope", b""]))) == [False, False, True]


def test_an_entry_without_its_value_is_not_sound_and_a_value_without_an_entry_is_a_stray() -> None:
    short = judged(changed(produced(ENTRY, OTHER), values=[b"an envelope"]))
    long = judged(changed(produced(ENTRY, OTHER), values=[b"an envelope", b"another envelope", b"one", b"two"]))
    assert (sound(short), sound(long)) == ([True, False], [True, True])
    assert isinstance(short, SealedPack)
    assert isinstance(long, SealedPack)
    assert short.altered == []
    assert long.altered == [Stray.of(Position(*CASES_2, position_of(41, 2)), ALTERED, b"onetwo")]


def test_what_is_added_to_a_full_pack_does_not_touch_the_next_pack() -> None:
    said = [
        pack_pb2.PackedEntry(
            record_id=number.to_bytes(16), record_sha256=b"d" * 32, value_sha256=value_digest(b"value")
        )
        for number in range(PACK_ENTRIES)
    ]
    header = pack_pb2.PackHeader(entries=said).SerializeToString()
    pack = judged(sealed(header, [b"value"] * (PACK_ENTRIES + 1)))
    assert isinstance(pack, SealedPack)
    assert len(pack.entries) == PACK_ENTRIES
    assert [stray.position.offset for stray in pack.altered] == [position_of(42) - 1]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff",
        pack_pb2.PackHeader(entries=[pack_pb2.PackedEntry()]).SerializeToString(),
        pack_pb2.PackHeader(
            entries=[pack_pb2.PackedEntry(record_id=b"r" * 16, record_sha256=b"d" * 31)]
        ).SerializeToString(),
        pack_pb2.PackHeader(
            entries=[pack_pb2.PackedEntry(record_id=b"r" * 16, record_sha256=b"d" * 32)] * (PACK_ENTRIES + 1)
        ).SerializeToString(),
    ],
    ids=["nothing", "no message", "no id", "a short digest", "too many"],
)
def test_a_header_that_no_broker_writes_is_a_stray_even_if_it_is_sealed(header: bytes) -> None:
    """A broker's stolen key must not stop the readers."""
    record = sealed(header, [b"value"])
    assert judged(record) == Stray.of(HERE, NOT_SEALED, record.value or b"")


def test_a_newer_broker_s_pack_stops_an_older_one_by_name() -> None:
    with pytest.raises(LogSchemaUnsupported, match="version 2"):
        judged(changed(produced(version=2), version=2))


def test_a_record_of_the_format_before_packs_is_a_stray_that_is_named() -> None:
    names = ("record-id", "kind", "recipients", "record-sha256", "seal")
    record = Record(41, 0, b"an envelope", b"a-case", [(name, b"") for name in names])
    assert judged(record) == Stray.of(HERE, BEFORE_PACKS, b"an envelope")


def test_an_offset_that_gives_no_position_is_corrupt() -> None:
    assert listed(judged(GOOD))
    with pytest.raises(LogCorrupt):
        judged(GOOD._replace(offset=MAX_OFFSET + 1))


some_bytes = st.one_of(st.none(), st.binary(max_size=200))


@given(
    record=st.builds(
        Record,
        offset=st.integers(0, MAX_OFFSET),
        timestamp=st.integers(-(2**63), 2**63 - 1),
        key=some_bytes,
        value=some_bytes,
        headers=st.lists(st.tuples(st.text(max_size=5), some_bytes), max_size=3),
    )
)
def test_whatever_is_there_is_a_stray_and_no_failure(record: Record) -> None:
    assert judged(record) == Stray.of(Position(*CASES_2, position_of(record.offset)), NOT_SEALED, record.value or b"")


@given(data=st.data())
def test_a_flipped_bit_anywhere_changes_no_entry_that_is_sound_and_the_place_of_none(data: st.DataObject) -> None:
    """If the bit is in a value, that entry is not sound. Otherwise the whole pack is a stray."""
    value = GOOD.value or b""
    at, bit = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(0, 7))
    flipped = GOOD._replace(value=value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :])
    found = judged(flipped)
    if isinstance(found, Stray):
        assert found == Stray.of(HERE, NOT_SEALED, flipped.value or b"")
    else:
        wanted = zip(found.entries, (ENTRY, OTHER, THIRD), strict=True)
        assert all(one.packed.entry == entry for one, entry in wanted if one.sound)
        assert [one.packed.entry._replace(value=b"") for one in found.entries] == [
            entry._replace(value=b"") for entry in (ENTRY, OTHER, THIRD)
        ]


def test_what_could_not_be_read_is_a_stray_by_the_digest_of_its_bytes() -> None:
    unread = Unread(7, b"d" * 32)
    record = Record(41, 0, None, headers=[(UNREADABLE, unread)])  # type: ignore[list-item] # only the reader puts it there
    assert judged(record) == Stray(HERE, NOT_SEALED, *unread)


def test_nobody_can_write_a_header_that_passes_as_that_of_the_reader() -> None:
    record = Record(41, 0, b"a value", headers=[(UNREADABLE, bytes(40))])
    assert judged(record) == Stray.of(HERE, NOT_SEALED, b"a value")
