from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import (
    CheckpointInvalid,
    CosignedSizeDiffers,
    InputRefused,
    OriginUnknown,
    ProofInvalid,
)
from broker.core.tree.addcheckpoint import MAX_PROOF_LINES, AddCheckpoint, Cosigned, check_growth, open_checkpoint
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.merkle import EMPTY_ROOT
from broker.trust.signing import note_verifier
from tests.support.trees import GrownTree
from tests.support.witnesses import (
    TORCHWOOD_KEY,
    TORCHWOOD_ORIGIN,
    SampleLog,
    torchwood_note,
    torchwood_request,
)

TREE = GrownTree(f"sample leaf {index}".encode() for index in range(40))
LOG = SampleLog(TREE)
LOGS = {LOG.origin: LOG.verifiers}
# From C2SP tlog-witness, "add-checkpoint".
C2SP_REQUEST = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa \
opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
""".encode()


def checkpoint_of(note: bytes) -> Checkpoint:
    return Checkpoint.parse(parse_note(note).text)


def cosigned(size: int) -> Cosigned:
    return Cosigned(size, TREE.roots[size])


def test_the_specification_s_example_is_read_and_written_byte_for_byte() -> None:
    request = AddCheckpoint.parse(C2SP_REQUEST)

    assert (request.old_size, len(request.proof)) == (20852014, 4)
    assert checkpoint_of(request.note).size == 20852163
    assert request.marshal() == C2SP_REQUEST


def test_a_request_without_proof_is_old_zero_and_the_checkpoint() -> None:
    assert AddCheckpoint(0, (), torchwood_note(1)).marshal() == b"old 0\n\n" + torchwood_note(1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0",
        b"old 0\n",
        b"old 00\n\nnote",
        b"old -1\n\nnote",
        b"old +1\n\nnote",
        b"old  1\n\nnote",
        b"old 1 \n\nnote",
        b"old\n\nnote",
        b"Old 1\n\nnote",
        b"old 1\r\n\r\nnote",
        b"old 1\nnot a hash\n\nnote",
        b"old 1\nAAAA\n\nnote",
        b"old 1\n" + b"A" * 44 + b"\n\nnote",
        "old 1\n\N{FULLWIDTH DIGIT ONE}\n\nnote".encode(),
        b"old " + b"9" * 20 + b"\n\nnote",
        b"old 1\n" + b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" * (MAX_PROOF_LINES + 1) + b"\nnote",
        b"old 1\n\n" + b"n" * (1 << 16),
    ],
)
def test_a_body_of_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(InputRefused):
        AddCheckpoint.parse(body)


def test_sixty_three_lines_of_proof_are_read() -> None:
    request = AddCheckpoint(1, (bytes(32),) * MAX_PROOF_LINES, b"note")

    assert AddCheckpoint.parse(request.marshal()) == request


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    try:
        request = AddCheckpoint.parse(body)
    except InputRefused:
        return
    assert request.marshal() == body


def test_another_project_s_log_is_accepted_with_its_proofs() -> None:
    logs = {TORCHWOOD_ORIGIN: {(TORCHWOOD_KEY.name, TORCHWOOD_KEY.key_id): note_verifier(TORCHWOOD_KEY.public_key)}}
    latest = Cosigned()
    for old, size in ((0, 1), (1, 5)):
        request = torchwood_request(old, size)
        _, checkpoint = open_checkpoint(request.note, logs)
        check_growth(request, checkpoint, latest)
        latest = Cosigned(checkpoint.size, checkpoint.root)

    assert latest.size == 5
    with pytest.raises(CosignedSizeDiffers) as refused:
        check_growth(torchwood_request(1, 3), checkpoint_of(torchwood_note(3)), latest)
    assert refused.value.details == {"size": "5"}


@given(st.integers(0, 40), st.integers(0, 40))
def test_every_tree_continues_every_smaller_one(one: int, other: int) -> None:
    old, new = sorted((one, other))
    request = LOG.request(old, new)

    check_growth(request, checkpoint_of(request.note), cosigned(old))


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_tree_that_does_not_continue_the_last_one_is_refused(one: int, other: int, data: st.DataObject) -> None:
    old, new = sorted((one, other))
    other_root = data.draw(st.binary(min_size=32, max_size=32).filter(lambda root: root != TREE.roots[old]))
    request = LOG.request(old, new)

    with pytest.raises(ProofInvalid):
        check_growth(request, checkpoint_of(request.note), Cosigned(old, other_root))


def test_an_old_size_beyond_the_checkpoint_is_a_bad_request_whatever_was_cosigned() -> None:
    for latest in (0, 3, 7, 9):
        with pytest.raises(InputRefused) as refused:
            check_growth(AddCheckpoint(9, (), LOG.note(7)), checkpoint_of(LOG.note(7)), cosigned(latest))
        assert not isinstance(refused.value, CosignedSizeDiffers)


@pytest.mark.parametrize(("old", "latest"), [(0, 3), (3, 0), (3, 4), (4, 3)])
def test_another_old_size_than_the_last_is_answered_with_the_last(old: int, latest: int) -> None:
    request = LOG.request(old, 7)

    with pytest.raises(CosignedSizeDiffers) as refused:
        check_growth(request, checkpoint_of(request.note), cosigned(latest))
    assert refused.value.details == {"size": str(latest)}


def test_an_empty_tree_has_the_root_of_the_empty_tree() -> None:
    check_growth(LOG.request(0, 0), checkpoint_of(LOG.note(0)), Cosigned())
    note = LOG.note(0, bytes(32))
    with pytest.raises(ProofInvalid):
        check_growth(AddCheckpoint(0, (), note), checkpoint_of(note), Cosigned())


def test_a_proof_from_the_empty_tree_must_be_empty() -> None:
    with pytest.raises(ProofInvalid):
        check_growth(AddCheckpoint(0, (bytes(32),), LOG.note(7)), checkpoint_of(LOG.note(7)), Cosigned())


def test_two_roots_of_one_size_are_refused() -> None:
    note = LOG.note(7, bytes(32))

    with pytest.raises(ProofInvalid):
        check_growth(AddCheckpoint(7, (), note), checkpoint_of(note), cosigned(7))


def test_an_unknown_origin_is_told_apart_from_a_bad_signature() -> None:
    other = SampleLog(TREE, origin="case-exchange.example/cases/1/a-log")
    unsigned = LOG.note(7).replace(b"\n7\n", b"\n8\n")

    assert open_checkpoint(LOG.note(7), LOGS)[1] == checkpoint_of(LOG.note(7))
    with pytest.raises(OriginUnknown):
        open_checkpoint(other.note(7), LOGS)
    with pytest.raises(CheckpointInvalid):
        open_checkpoint(unsigned, LOGS)
    with pytest.raises(CheckpointInvalid):
        open_checkpoint(LOG.note(7), {LOG.origin: {}})


@pytest.mark.parametrize("note", [b"", b"a\n1\n", LOG.note(7)[:-1], LOG.note(7).replace(b"\n7\n", b"\n07\n")])
def test_what_is_no_checkpoint_is_a_bad_request(note: bytes) -> None:
    with pytest.raises(InputRefused):
        open_checkpoint(note, LOGS)


def test_a_witness_that_has_seen_nothing_stands_at_the_empty_tree() -> None:
    assert Cosigned() == (0, EMPTY_ROOT)
