"""What one key signs, or one tree hashes, can never pass as another kind of statement.

The forms are: DSSE's pre-authentication encoding (records, receipts, the directory), a checkpoint's text, a leaf's
manifest, what an append seal signs and hashes, and what is signed of a consumer group. Their first bytes differ,
whatever follows.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.envelope import (
    BODY_TYPE,
    DIRECTORY_TYPE,
    KEY_RETIREMENT_TYPE,
    KEY_STATEMENT_TYPE,
    RECEIPTS_TYPE,
    RECEIVED_TYPE,
    pae,
)
from broker.core.errors import CheckpointInvalid, ProofInvalid
from broker.core.groupseal import member_statement, place_statement
from broker.core.seal import Sealing, pack_statement, prepare_seals
from broker.core.streams import Position, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, marshal_note
from broker.core.tree.leaf import Leaf
from broker.core.tree.merkle import leaf_hash, node_hash

RECORD_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
CHECKPOINT = Checkpoint("case-exchange.example/cases/0/sample-log", 42, bytes(32)).marshal()
LEAF = Leaf(Position("cases", 0, 41), "sample-log", 0, RECORD_ID, bytes(32), 1_767_225_600_000).marshal()
TYPES = (BODY_TYPE, RECEIPTS_TYPE, RECEIVED_TYPE, DIRECTORY_TYPE, KEY_STATEMENT_TYPE, KEY_RETIREMENT_TYPE)

types = st.one_of(st.sampled_from(TYPES), st.text(st.characters(codec="utf-8")))
payloads = st.one_of(st.binary(), st.sampled_from([CHECKPOINT, LEAF, b"\n42\n", b""]))
encodings = st.builds(pae, types, payloads)

numbers = st.integers(0, 2**63 - 1)
digests = st.binary(min_size=32, max_size=32)
origins = st.one_of(
    st.sampled_from(["DSSEv1", "case-exchange", "cosignature/v1", "DSSEv1\N{ZERO WIDTH SPACE}1"]),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z"), exclude_characters="+"), min_size=1),
)
checkpoints = st.builds(Checkpoint, origins, numbers, digests).map(Checkpoint.marshal)
leaves = st.builds(
    Leaf,
    position=st.builds(Position, st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True), numbers, numbers),
    log_id=st.from_regex(r"[A-Za-z0-9._:/-]{1,255}", fullmatch=True),
    epoch=numbers,
    record_id=st.uuids().map(str),
    record_sha256=digests,
    accepted_at_ms=numbers,
).map(Leaf.marshal)
texts = st.text(st.characters(codec="utf-8"))
statements = st.builds(
    pack_statement,
    numbers,
    st.builds(StreamPartition, texts, numbers),
    texts,
    st.builds(Sealing, st.binary(min_size=16, max_size=16), numbers),
    digests,
)
seal_texts = st.lists(st.one_of(payloads, statements), min_size=1, max_size=9).map(
    lambda said: prepare_seals(said).text
)

of_groups = st.one_of(
    st.builds(place_statement, texts, st.builds(StreamPartition, texts, numbers), texts, texts, texts),
    st.builds(member_statement, texts, texts),
)


def is_pae(data: bytes) -> bool:
    """Whether these bytes can be read as DSSE's encoding of a type and a payload."""
    head = re.match(rb"DSSEv1 (0|[1-9][0-9]{0,18}) ", data)
    if head is None:
        return False
    end = head.end() + int(head[1])
    size = re.match(rb" (0|[1-9][0-9]{0,18}) ", data[end:])
    return size is not None and len(data) == end + size.end() + int(size[1])


@given(encodings)
def test_what_dsse_signs_is_neither_a_checkpoint_nor_a_leaf(data: bytes) -> None:
    assert is_pae(data)
    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(data)
    with pytest.raises(ProofInvalid):
        Leaf.parse(data)


@given(checkpoints)
def test_a_checkpoint_is_neither_what_dsse_signs_nor_a_leaf(data: bytes) -> None:
    assert Checkpoint.parse(data).marshal() == data
    assert not is_pae(data)
    with pytest.raises(ProofInvalid):
        Leaf.parse(data)


@given(leaves)
def test_a_leaf_is_neither_what_dsse_signs_nor_a_checkpoint(data: bytes) -> None:
    assert Leaf.parse(data).marshal() == data
    assert not is_pae(data)
    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(data)


@given(st.one_of(seal_texts, statements, of_groups))
def test_what_a_seal_signs_or_hashes_is_none_of_these(data: bytes) -> None:
    assert not is_pae(data)
    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(data)
    with pytest.raises(ProofInvalid):
        Leaf.parse(data)


@given(seal_texts, st.one_of(statements, leaves, checkpoints, encodings, of_groups))
def test_what_a_seal_signs_is_nothing_else(text: bytes, other: bytes) -> None:
    first, count, root, rest = text.split(b"\n")
    assert (first, rest) == (b"case-exchange appends v1", b"")
    assert count.isdigit()
    assert len(root) == 44
    assert not other.startswith(first + b"\n")


@given(of_groups, st.one_of(seal_texts, statements, leaves, checkpoints, encodings))
def test_what_is_signed_of_a_group_is_nothing_else(data: bytes, other: bytes) -> None:
    first = data.split(b"\n")[0]
    assert first in (b"case-exchange place v1", b"case-exchange member v1")
    assert not other.startswith(first + b"\n")


@given(st.binary())
def test_the_first_line_decides_whatever_follows(rest: bytes) -> None:
    for beginning in (
        b"DSSEv1 ",
        b"case-exchange leaf v1\n",
        b"case-exchange appends v1\n",
        b"case-exchange append v1\n",
    ):
        with pytest.raises(CheckpointInvalid):
            Checkpoint.parse(beginning + rest)
    with pytest.raises(ProofInvalid):
        Leaf.parse(b"DSSEv1 " + rest)
    assert not is_pae(b"case-exchange leaf v1\n" + rest)


def test_a_witness_s_message_is_not_a_checkpoint_though_it_holds_one() -> None:
    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(b"cosignature/v1\ntime 1767225600\n" + CHECKPOINT)


def test_no_statement_of_one_type_is_a_statement_of_another() -> None:
    assert len({pae(kind, CHECKPOINT) for kind in TYPES}) == len(TYPES)


def test_a_signed_note_is_not_what_it_signs() -> None:
    note = marshal_note(CHECKPOINT, [NoteSignature("case-exchange.example/cases/0", bytes(4), bytes(64))])

    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(note)


def test_the_hash_of_two_nodes_is_not_the_hash_of_a_leaf_with_their_bytes() -> None:
    left, right = leaf_hash(LEAF), leaf_hash(CHECKPOINT)

    assert node_hash(left, right) != leaf_hash(left + right)


@given(encodings)
def test_a_record_exported_as_cms_is_never_read_as_the_attributes_of_another_signature(signed: bytes) -> None:
    # DER of a SET begins with 0x31, and such a SET is what a CMS signature with signed attributes covers.
    assert not signed.startswith(b"\x31")
