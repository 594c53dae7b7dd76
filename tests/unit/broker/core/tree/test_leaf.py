from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.entry import LogEntry
from broker.core.errors import ProofInvalid
from broker.core.streams import Position
from broker.core.tree.leaf import Leaf, leaf_of

SHA = sha256(b"sample record").digest()
LEAF = Leaf(
    position=Position("cases", 3, 41),
    log_id="0f9b2c4d6e8fa0b1c2d3e4f506172839",
    epoch=7,
    record_id="01890a5d-ac96-774b-bcce-b302099a8057",
    record_sha256=SHA,
    accepted_at_ms=1_767_225_600_123,
)
MANIFEST = (
    b"case-exchange leaf v1\n"
    b"cases/3/41\n"
    b"0f9b2c4d6e8fa0b1c2d3e4f506172839 7\n"
    b"01890a5d-ac96-774b-bcce-b302099a8057\n" + b64encode(SHA) + b"\n"
    b"1767225600123\n"
)

numbers = st.integers(0, 2**63 - 1)
labels = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
leaves = st.builds(
    Leaf,
    position=st.builds(Position, labels, numbers, numbers),
    log_id=st.from_regex(r"[A-Za-z0-9._:/-]{1,255}", fullmatch=True),
    epoch=numbers,
    record_id=st.uuids().map(str),
    record_sha256=st.binary(min_size=32, max_size=32),
    accepted_at_ms=numbers,
)


def test_a_leaf_is_written_byte_for_byte_as_documented() -> None:
    assert LEAF.marshal() == MANIFEST


def test_an_entry_of_the_log_has_the_leaf_of_its_facts_whatever_its_value() -> None:
    record_id = bytes.fromhex(LEAF.record_id.replace("-", ""))
    routing = ("CaseRecord", "a case", ("ministry",))
    for value in (b"", b"an envelope"):
        entry = LogEntry(LEAF.position, record_id, *routing, SHA, LEAF.accepted_at_ms, value, LEAF.log_id, LEAF.epoch)
        assert leaf_of(entry) == LEAF


@given(leaves)
def test_every_leaf_comes_back_as_it_was_written(leaf: Leaf) -> None:
    assert Leaf.parse(leaf.marshal()) == leaf


def test_a_leaf_is_far_below_the_largest_entry_of_a_tile() -> None:
    largest = Leaf(
        position=Position("s" * 63, 2**63 - 1, 2**63 - 1),
        log_id="l" * 255,
        epoch=2**63 - 1,
        record_id=LEAF.record_id,
        record_sha256=SHA,
        accepted_at_ms=2**63 - 1,
    )

    assert Leaf.parse(largest.marshal()) == largest
    assert len(largest.marshal()) < 1024


@given(st.data())
def test_a_changed_byte_is_refused_or_is_another_leaf(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(MANIFEST) - 1))
    changed = bytearray(MANIFEST)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        leaf = Leaf.parse(bytes(changed))
    except ProofInvalid:
        return
    assert leaf != LEAF
    assert leaf.marshal() == changed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"leaf v1", b"leaf v2"),
        (b"cases/3/41", b"cases/03/41"),
        (b"cases/3/41", b"cases/3/-1"),
        (b"cases/3/41", b"cases/3/+41"),
        (b"cases/3/41", b"cases/3/4_1"),
        (b"cases/3/41", b"cases/3"),
        (b"cases/3/41", b"Cases/3/41"),
        (b"cases/3/41", b"/3/41"),
        (b"cases/3/41", b"cases/3/9223372036854775808"),
        (b"cases/3/41", b"cases/3/" + b"9" * 5000),
        (b"39 7\n", b"39  7\n"),
        (b"39 7\n", b"39\n"),
        (b"39 7\n", b"39 9223372036854775808\n"),
        (b"39 7\n", b"\xe4\xbe\x8b 7\n"),
        (b"01890a5d-ac96", b"01890A5D-AC96"),
        (b"01890a5d-ac96", b"01890a5dac96"),
        (b"1767225600123\n", b"1767225600123"),
        (b"1767225600123\n", b"1767225600123\n\n"),
        (b"1767225600123\n", b"1767225600123\r\n"),
        (b"1767225600123\n", b"\xd9\xa1\n"),
        (b"1767225600123\n", b"9223372036854775808\n"),
    ],
)
def test_any_other_spelling_is_refused(old: bytes, new: bytes) -> None:
    assert old in MANIFEST
    with pytest.raises(ProofInvalid):
        Leaf.parse(MANIFEST.replace(old, new))


def test_base64_with_stray_low_bits_is_refused() -> None:
    digest = b64encode(bytes(32))
    manifest = MANIFEST.replace(b64encode(SHA), digest)
    assert Leaf.parse(manifest).record_sha256 == bytes(32)

    with pytest.raises(ProofInvalid, match="canonical"):
        Leaf.parse(manifest.replace(digest, digest[:-2] + b"B="))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ProofInvalid):
        Leaf.parse(MANIFEST.replace(b64encode(SHA), b64encode(bytes(size))))


def test_nothing_is_not_a_leaf() -> None:
    with pytest.raises(ProofInvalid):
        Leaf.parse(b"")
