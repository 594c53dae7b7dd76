from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import CheckpointInvalid
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, VerifierKey, marshal_note, parse_note
from broker.core.tree.cosignature import (
    LATEST_TIME,
    WitnessKey,
    cosignature_check,
    cosignature_time,
    cosigned_message,
    cosigners,
    with_cosignatures,
)
from broker.trust.signing import note_verifier
from tests.support.witnesses import SampleWitness

TEXT = Checkpoint("case-exchange.example/cases/0/a-log", 42, bytes(range(32))).marshal()
ALPHA, BETA = SampleWitness("witness.example/alpha"), SampleWitness("witness.example/beta")
CHECKS = {one.key: cosignature_check(note_verifier(one.key.public_key)) for one in (ALPHA, BETA)}
LOG_LINE = NoteSignature("case-exchange.example/log", b"\x01\x02\x03\x04", b"log's signature")
# From C2SP tlog-cosignature, "Format".
C2SP_NOTE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 \
jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
""".encode()


def cosigned_note(*lines: NoteSignature) -> bytes:
    return marshal_note(TEXT, [LOG_LINE, *lines])


def test_the_specification_s_example_has_the_time_and_the_message_that_it_states() -> None:
    note = parse_note(C2SP_NOTE)
    time_s = cosignature_time(note.signatures[1].value)

    assert time_s == 1679315147
    assert cosigned_message(note.text, time_s) == (
        b"cosignature/v1\ntime 1679315147\n"
        b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_a_cosignature_is_eight_bytes_of_time_and_the_signature() -> None:
    line = ALPHA.cosign(TEXT, 1_767_225_600)

    assert line.name == "witness.example/alpha"
    assert line.value[:8] == bytes.fromhex("000000006955b900")
    ALPHA.private_key.public_key().verify(line.value[8:], b"cosignature/v1\ntime 1767225600\n" + TEXT)


def test_a_witness_key_has_type_four_and_another_id_than_a_log_s_key() -> None:
    vkey = str(ALPHA.key)

    assert b64decode(vkey.split("+", 2)[2])[:1] == b"\x04"
    assert WitnessKey.parse(vkey) == ALPHA.key
    assert ALPHA.key.key_id != VerifierKey(ALPHA.key.name, ALPHA.key.public_key).key_id


def test_neither_kind_of_key_passes_for_the_other() -> None:
    log_key = VerifierKey(ALPHA.key.name, ALPHA.key.public_key)

    assert log_key != ALPHA.key
    with pytest.raises(CheckpointInvalid, match="for this use"):
        VerifierKey.parse(str(ALPHA.key))
    with pytest.raises(CheckpointInvalid, match="for this use"):
        WitnessKey.parse(str(log_key))


def test_the_cosigners_of_a_note_are_told_with_their_times() -> None:
    note = parse_note(cosigned_note(ALPHA.cosign(TEXT, 1000), BETA.cosign(TEXT, 2000)))

    assert cosigners(note, CHECKS) == {ALPHA.key: 1000, BETA.key: 2000}
    assert cosigners(note, {ALPHA.key: CHECKS[ALPHA.key]}) == {ALPHA.key: 1000}


def test_nobody_has_cosigned_a_note_that_only_its_log_signed() -> None:
    assert cosigners(parse_note(cosigned_note()), CHECKS) == {}


def test_of_two_lines_of_a_witness_the_later_time_counts() -> None:
    note = parse_note(cosigned_note(ALPHA.cosign(TEXT, 3000), ALPHA.cosign(TEXT, 1000)))

    assert cosigners(note, CHECKS) == {ALPHA.key: 3000}


def test_a_note_with_a_false_line_of_a_known_witness_is_refused() -> None:
    good, forged = ALPHA.cosign(TEXT, 1000), BETA.cosign(TEXT.replace(b"42", b"43"), 1000)

    with pytest.raises(CheckpointInvalid, match="does not verify"):
        cosigners(parse_note(cosigned_note(good, forged)), CHECKS)


@given(st.integers(1, LATEST_TIME))
def test_every_time_is_read_as_it_was_signed(time_s: int) -> None:
    line = ALPHA.cosign(TEXT, time_s)

    assert cosignature_time(line.value) == time_s
    assert CHECKS[ALPHA.key](TEXT, line.value)


@given(st.integers(0, 72 * 8 - 1))
def test_a_cosignature_with_a_flipped_bit_is_refused(bit: int) -> None:
    value = bytearray(ALPHA.cosign(TEXT, 1_767_225_600).value)
    value[bit // 8] ^= 1 << bit % 8

    assert not CHECKS[ALPHA.key](TEXT, bytes(value))


@pytest.mark.parametrize("time_s", [0, LATEST_TIME + 1])
def test_a_time_of_zero_or_out_of_range_is_refused_though_it_was_signed(time_s: int) -> None:
    line = ALPHA.cosign(TEXT, time_s)

    assert not CHECKS[ALPHA.key](TEXT, line.value)
    with pytest.raises(CheckpointInvalid):
        cosignature_time(line.value)


def test_a_cosignature_of_another_length_is_refused() -> None:
    value = ALPHA.cosign(TEXT, 1000).value

    assert CHECKS[ALPHA.key](TEXT, value)
    for changed in (value[:-1], value + bytes(1), value[:8], b""):
        assert not CHECKS[ALPHA.key](TEXT, changed)


def test_a_log_s_signature_by_the_same_key_is_no_cosignature() -> None:
    signed = ALPHA.private_key.sign(TEXT)

    assert not CHECKS[ALPHA.key](TEXT, signed)
    assert not CHECKS[ALPHA.key](TEXT, bytes(8) + signed)


def test_a_newer_line_of_a_witness_takes_the_place_of_its_former() -> None:
    once = with_cosignatures(cosigned_note(), [ALPHA.cosign(TEXT, 1000), BETA.cosign(TEXT, 1000)])
    twice = with_cosignatures(once, [ALPHA.cosign(TEXT, 2000)])

    assert cosigners(parse_note(twice), CHECKS) == {ALPHA.key: 2000, BETA.key: 1000}
    assert [line.name for line in parse_note(twice).signatures] == [LOG_LINE.name, ALPHA.key.name, BETA.key.name]
