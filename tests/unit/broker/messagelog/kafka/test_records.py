"""Entry or stray: every record in a topic is judged, and no record stops the judging."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from broker.core.entry import NewEntry, Stray
from broker.core.seal import Sealing, append_statement, prepare_seals, value_digest
from broker.core.streams import Position, StreamPartition
from broker.messagelog.kafka.records import (
    KIND,
    NOT_SEALED,
    RECIPIENTS,
    RECORD_ID,
    RECORD_SHA256,
    SEAL,
    Sealed,
    SealJudge,
    headers_of,
)
from broker.trust.signing import Ed25519NoteSigner
from tests.support.kafkalog import ListedKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNER = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
LOG_IDS = {"cases": "cases-topic", "dna": "dna-topic"}
CASES_2 = StreamPartition("cases", 2)
SEALING = Sealing(bytes(range(16)), 1_767_225_600_123)
ENTRY = NewEntry(CASES_2, b"r" * 16, "CaseRecord", "a-case", ("ministry", "hebei-police"), b"d" * 32, b"an envelope")


class Record(NamedTuple):
    """The used part of what a consumer returns."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    leader_epoch: int = 4


def produced(entry: NewEntry = ENTRY, signer: Ed25519NoteSigner = SIGNER, log_id: str = "cases-topic") -> Record:
    """A broker's append of one entry, as it is read back from the topic."""
    unsigned = prepare_seals([append_statement(entry, log_id, SEALING, value_digest(entry.value))])
    (seal,) = unsigned.signed(signer.key_id, SEALING.append_id, signer.sign(unsigned.text))
    return Record(41, SEALING.at_ms, entry.ordering_key.encode(), entry.value, headers_of(entry, seal))


def judged(record: Record, partition: StreamPartition = CASES_2) -> Sealed | Stray:
    return SealJudge(LOG_IDS, ListedKeys(SIGNER)).judge(partition, record)


def with_header(record: Record, name: str, value: bytes | None) -> Record:
    return record._replace(headers=[(key, value if key == name else old) for key, old in record.headers])


@pytest.mark.parametrize("recipients", [("ministry", "hebei-police"), ("ministry",), ()])
def test_what_a_broker_appended_comes_back_as_it_was(recipients: tuple[str, ...]) -> None:
    entry = ENTRY._replace(recipients=recipients)
    assert judged(produced(entry)) == Sealed(entry, 41, 4, SEALING, value_digest(entry.value))


@pytest.mark.parametrize("partition", [StreamPartition("cases", 1), StreamPartition("dna", 2)])
def test_it_is_a_stray_in_another_partition(partition: StreamPartition) -> None:
    assert judged(produced(), partition) == Stray(Position(*partition, 41), NOT_SEALED, b"an envelope")


def test_it_is_a_stray_in_a_topic_made_anew_and_by_a_key_that_is_not_listed() -> None:
    assert isinstance(judged(produced(log_id="the topic before")), Stray)
    stranger = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.generate())
    assert isinstance(judged(produced(signer=stranger)), Stray)


GOOD = produced()
ALTERED = {
    "another key": GOOD._replace(key=b"b-case"),
    "no key": GOOD._replace(key=None),
    "a key that is no text": GOOD._replace(key=b"\xff"),
    "another value": GOOD._replace(value=b"an envelopf"),
    "no value": GOOD._replace(value=None),
    "another time": GOOD._replace(timestamp=SEALING.at_ms + 1),
    "no time": GOOD._replace(timestamp=-1),
    "no headers": GOOD._replace(headers=[]),
    "a header more": GOOD._replace(headers=[*GOOD.headers, ("more", b"")]),
    "a header twice": GOOD._replace(headers=[*GOOD.headers, (KIND, b"CaseRecord")]),
    "a header less": GOOD._replace(headers=GOOD.headers[:-1]),
    "no bytes for a seal": with_header(GOOD, SEAL, b""),
    "another kind": with_header(GOOD, KIND, b"Tip"),
    "a kind that is no text": with_header(GOOD, KIND, b"\xff\xfe"),
    "other recipients": with_header(GOOD, RECIPIENTS, b"ministry"),
    "two spaces between recipients": with_header(GOOD, RECIPIENTS, b"ministry  hebei-police"),
    "a longer record id": with_header(GOOD, RECORD_ID, b"r" * 17),
    "a shorter digest": with_header(GOOD, RECORD_SHA256, b"d" * 31),
    "another digest": with_header(GOOD, RECORD_SHA256, b"e" * 32),
    **{f"a null {name}": with_header(GOOD, name, None) for name, _ in GOOD.headers},
}


@pytest.mark.parametrize("record", [pytest.param(record, id=what) for what, record in ALTERED.items()])
def test_with_anything_else_it_is_a_stray_that_keeps_its_bytes(record: Record) -> None:
    assert judged(record) == Stray(Position(*CASES_2, 41), NOT_SEALED, record.value or b"")


some_bytes = st.one_of(st.none(), st.binary(max_size=200))
names = st.one_of(st.sampled_from([name for name, _ in GOOD.headers]), st.text(max_size=5))


@given(
    record=st.builds(
        Record,
        offset=st.integers(0, 2**63 - 1),
        timestamp=st.integers(-(2**63), 2**63 - 1),
        key=some_bytes,
        value=some_bytes,
        headers=st.one_of(
            st.lists(st.tuples(names, some_bytes), max_size=7),
            st.tuples(*(st.tuples(st.just(name), some_bytes) for name, _ in GOOD.headers)),
        ),
    )
)
def test_whatever_stands_there_is_a_stray_and_no_failure(record: Record) -> None:
    assert judged(record) == Stray(Position(*CASES_2, record.offset), NOT_SEALED, record.value or b"")


@given(data=st.data())
def test_a_flipped_bit_anywhere_makes_it_a_stray(data: st.DataObject) -> None:
    name, value = data.draw(st.sampled_from(GOOD.headers))
    assert value
    at, bit = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(0, 7))
    flipped = value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :]
    assert isinstance(judged(with_header(GOOD, name, flipped)), Stray)
