from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.core.errors import CheckpointInvalid
from broker.core.streams import StreamPartition
from broker.core.tree.checkpoint import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Checkpoint,
    Note,
    NoteSignature,
    VerifierKey,
    ed25519_key_id,
    marshal_note,
    parse_note,
    verify_note,
)
from broker.core.tree.merkle import EMPTY_ROOT
from broker.core.tree.origin import checkpoint_origin, incarnation_of

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGIN = "case-exchange.example/cases/0/a-log"
ROOT = bytes(range(32))
TEXT = b"case-exchange.example/cases/0/a-log\n42\n" + b64encode(ROOT) + b"\n"
LOG = NoteSignature(ORIGIN, b"\x01\x02\x03\x04", b"log's signature")
WITNESS = NoteSignature("witness.example/ministry", b"\xff\x00\xff\x00", b"witness's signature")
LOG_LINE = f"— {LOG.name} {b64encode(LOG.key_id + LOG.value).decode()}\n".encode()
WITNESS_LINE = f"— {WITNESS.name} {b64encode(WITNESS.key_id + WITNESS.value).decode()}\n".encode()
NOTE = TEXT + b"\n" + LOG_LINE + WITNESS_LINE
# From the documentation of Go's golang.org/x/mod/sumdb/note.
GO_VERIFIER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
# From C2SP tlog-checkpoint.
C2SP_NOTE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
""".encode()

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z"), exclude_characters="+"), min_size=1)
note_signatures = st.lists(
    st.builds(NoteSignature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)),
    min_size=1,
    max_size=MAX_SIGNATURES,
)
note_texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), include_characters="\n")).map(
    lambda text: text.encode() + b"\n"
)


def signed_by(signature: NoteSignature) -> Callable[[bytes, bytes], bool]:
    return lambda text, value: text == TEXT and value == signature.value


def known(*signatures: NoteSignature) -> dict[tuple[str, bytes], Callable[[bytes, bytes], bool]]:
    return {(signature.name, signature.key_id): signed_by(signature) for signature in signatures}


# --- the checkpoint's text ---


def test_a_checkpoint_is_three_lines() -> None:
    assert Checkpoint(ORIGIN, 42, ROOT).marshal() == TEXT
    assert Checkpoint.parse(TEXT) == Checkpoint(ORIGIN, 42, ROOT)


def test_the_specification_s_example_is_read_and_written_byte_for_byte() -> None:
    note = parse_note(C2SP_NOTE)
    checkpoint = Checkpoint.parse(note.text)

    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert [signature.name for signature in note.signatures] == [checkpoint.origin]
    assert len(note.signatures[0].value) == 64
    assert marshal_note(checkpoint.marshal(), note.signatures) == C2SP_NOTE


def test_an_empty_log_has_size_zero() -> None:
    assert Checkpoint(ORIGIN, 0, EMPTY_ROOT).marshal() == (
        b"case-exchange.example/cases/0/a-log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    )


@given(names, st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_every_checkpoint_comes_back_as_it_was_written(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)

    assert Checkpoint.parse(checkpoint.marshal()) == checkpoint


def test_each_incarnation_of_a_partitions_log_has_an_origin_of_its_own() -> None:
    partition = StreamPartition("cases", 0)
    assert checkpoint_origin("case-exchange.example", partition, "a-log") == ORIGIN
    assert incarnation_of(ORIGIN, "case-exchange.example", partition) == "a-log"


@pytest.mark.parametrize(
    "origin",
    [
        "case-exchange.example/cases/0",
        "case-exchange.example/cases/0/",
        "case-exchange.example/cases/00/a-log",
        "case-exchange.example/cases/1/a-log",
        "case-exchange.example/dna/0/a-log",
        "other.example/cases/0/a-log",
        "a-log",
    ],
)
def test_an_origin_of_another_partition_or_exchange_names_no_incarnation(origin: str) -> None:
    with pytest.raises(CheckpointInvalid, match="another partition"):
        incarnation_of(origin, "case-exchange.example", StreamPartition("cases", 0))


@pytest.mark.parametrize(
    "origin", ["", "two words", "no\u00a0break", "a+b", "a\nb", "a\tb", "a\u2028b", "\x00", "\udc80"]
)
def test_an_origin_that_is_no_key_name_is_refused(origin: str) -> None:
    with pytest.raises(CheckpointInvalid):
        Checkpoint(origin, 42, ROOT)


@pytest.mark.parametrize("size", [-1, 2**63])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(CheckpointInvalid):
        Checkpoint(ORIGIN, size, ROOT)


@pytest.mark.parametrize("root", [b"", ROOT[:31], ROOT + b"\x00"])
def test_a_root_of_another_length_is_refused(root: bytes) -> None:
    with pytest.raises(CheckpointInvalid):
        Checkpoint(ORIGIN, 42, root)
    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(TEXT.replace(b64encode(ROOT), b64encode(root)))


@pytest.mark.parametrize(
    "size", ["", "042", "+42", "-42", "4_2", " 42", "42 ", "4.2", "0x2a", "٤٢", "4" * 20, "9" * 5000]
)
def test_a_size_that_is_not_a_plain_decimal_number_is_refused(size: str) -> None:
    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(TEXT.replace(b"\n42\n", f"\n{size}\n".encode()))


def test_base64_with_stray_low_bits_is_refused() -> None:
    text = TEXT.replace(b"Hh8=", b"Hh9=")
    assert text != TEXT

    with pytest.raises(CheckpointInvalid, match="base64"):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"\n\n\n",
        TEXT[:-1],
        TEXT + b"\n",
        b"\n" + TEXT,
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.replace(b"=\n", b"\n"),
        TEXT.replace(b"=\n", b"==\n"),
        TEXT.replace(b"AAEC", b"AA EC"),
        TEXT.replace(b"AAEC", b"AA-C"),
        TEXT.replace(b"cases", b"\xff"),
        TEXT.replace(b"cases", b"two words"),
        TEXT.replace(ORIGIN.encode(), b""),
    ],
)
def test_a_text_of_another_form_is_refused(text: bytes) -> None:
    with pytest.raises(CheckpointInvalid):
        Checkpoint.parse(text)


def test_an_extension_line_is_refused() -> None:
    with pytest.raises(CheckpointInvalid, match="three lines"):
        Checkpoint.parse(TEXT + b"Timestamp: 1767225600\n")


# --- the note around it ---


def test_a_note_is_text_blank_line_and_signature_lines() -> None:
    assert marshal_note(TEXT, [LOG, WITNESS]) == NOTE
    assert parse_note(NOTE) == Note(TEXT, (LOG, WITNESS))


@given(note_texts, note_signatures)
@example(b"\n", [LOG])
@example(b"a text\n\nwith empty lines\n\n", [LOG])
def test_every_note_comes_back_as_it_was_written(text: bytes, signatures: list[NoteSignature]) -> None:
    assert parse_note(marshal_note(text, signatures)) == Note(text, tuple(signatures))


def test_a_text_that_looks_like_a_note_keeps_its_own_signature_lines() -> None:
    assert parse_note(marshal_note(NOTE, [WITNESS])) == Note(NOTE, (WITNESS,))


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_is_another_note(at: int, change: int) -> None:
    changed = bytearray(NOTE)
    changed[at] ^= change
    try:
        note = parse_note(bytes(changed))
    except CheckpointInvalid:
        return
    assert note != Note(TEXT, (LOG, WITNESS))
    assert marshal_note(*note) == changed


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n",
        b"\n\n",
        TEXT,
        TEXT + b"\n",
        TEXT + b"\n\n",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE.replace(b"\n\n", b"\n"),
        NOTE.replace("— ".encode(), b"- "),
        NOTE.replace("— ".encode(), b""),
        NOTE.replace("— ".encode(), "—".encode()),
        NOTE.replace("— ".encode(), "—  ".encode()),
        NOTE.replace("— ".encode(), "— — ".encode(), 1),
        NOTE.replace(b"ministry ", b"ministry  "),
        NOTE.replace(b"ministry ", b"ministry"),
        NOTE.replace(b"ministry ", b"ministry+1 "),
        NOTE.replace(b"witness.example/ministry", b""),
        NOTE.replace(b"witness.example/ministry", "witness.example\u3000ministry".encode()),
        NOTE.replace(b"ministry", b"ministry\xff"),
        NOTE.replace(b"ministry", b"mini\tstry"),
        NOTE.replace(b"cases", b"ca\rses"),
        NOTE.replace(b"cases", b"ca\x00ses"),
        NOTE.replace(b"cases", b"ca\xffses"),
        TEXT + "\n— name \n".encode(),
        TEXT + "\n— name AQIDBA==\n".encode(),
        TEXT + "\n— name AQIDBAU\n".encode(),
        TEXT + "\n— name AQIDBAV=\n".encode(),
        TEXT + "\n— name AQID BAU=\n".encode(),
        TEXT + "\n— name äQIDBAU=\n".encode(),
    ],
)
def test_bytes_that_are_not_exactly_a_note_are_refused(note: bytes) -> None:
    with pytest.raises(CheckpointInvalid):
        parse_note(note)


def test_up_to_sixty_four_signatures_are_taken_and_no_more() -> None:
    full = NOTE + "— name AQIDBAU=\n".encode() * (MAX_SIGNATURES - 2)
    assert len(parse_note(full).signatures) == MAX_SIGNATURES == 64

    with pytest.raises(CheckpointInvalid):
        parse_note(full + "— name AQIDBAU=\n".encode())
    with pytest.raises(CheckpointInvalid):
        marshal_note(TEXT, [LOG] * (MAX_SIGNATURES + 1))


def test_sixty_four_post_quantum_signatures_fit_and_a_larger_note_is_refused() -> None:
    large = LOG._replace(value=bytes(5000))
    assert len(parse_note(marshal_note(TEXT, [large] * MAX_SIGNATURES)).signatures) == MAX_SIGNATURES

    padding = b"x" * (MAX_NOTE_BYTES - len(NOTE))
    assert parse_note(padding + NOTE).text == padding + TEXT
    with pytest.raises(CheckpointInvalid, match="large"):
        parse_note(b"x" + padding + NOTE)
    with pytest.raises(CheckpointInvalid, match="large"):
        marshal_note(b"x" + padding + TEXT, [LOG, WITNESS])


@pytest.mark.parametrize(
    ("text", "signatures"),
    [
        (TEXT, []),
        (TEXT[:-1], [LOG]),
        (b"", [LOG]),
        (b"tab\t\n", [LOG]),
        (b"\xff\n", [LOG]),
        (TEXT, [LOG._replace(name="")]),
        (TEXT, [LOG._replace(name="two words")]),
        (TEXT, [LOG._replace(name="a+b")]),
        (TEXT, [LOG._replace(name="line\nline")]),
        (TEXT, [LOG._replace(key_id=b"\x01\x02\x03")]),
        (TEXT, [LOG._replace(key_id=b"\x01\x02\x03\x04\x05")]),
        (TEXT, [LOG._replace(value=b"")]),
    ],
)
def test_parts_that_make_no_note_are_not_written(text: bytes, signatures: list[NoteSignature]) -> None:
    with pytest.raises(CheckpointInvalid):
        marshal_note(text, signatures)


# --- who signed it ---


def test_the_known_keys_that_signed_are_named_in_the_order_of_their_lines() -> None:
    note = parse_note(NOTE)

    assert verify_note(note, known(WITNESS, LOG)) == (LOG.name, WITNESS.name)
    assert verify_note(note, known(WITNESS)) == (WITNESS.name,)


def test_a_check_gets_the_text_with_its_last_newline_and_the_signature_without_the_key_id() -> None:
    seen: list[tuple[bytes, bytes]] = []

    def check(text: bytes, value: bytes) -> bool:
        seen.append((text, value))
        return True

    verify_note(parse_note(NOTE), {(LOG.name, LOG.key_id): check})

    assert seen == [(TEXT, LOG.value)]


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    with pytest.raises(CheckpointInvalid, match="no known key"):
        verify_note(parse_note(NOTE), {})


@pytest.mark.parametrize("stranger", [LOG._replace(key_id=b"\x01\x02\x03\x05"), LOG._replace(name="other.example/log")])
def test_a_stranger_with_a_known_name_or_a_known_id_is_ignored(stranger: NoteSignature) -> None:
    note = Note(TEXT, (stranger._replace(value=b"not a signature at all"), LOG))

    assert verify_note(note, known(LOG)) == (LOG.name,)
    with pytest.raises(CheckpointInvalid, match="no known key"):
        verify_note(Note(TEXT, (stranger,)), known(LOG))


def test_one_failing_line_of_a_known_key_refuses_the_whole_note() -> None:
    forged = WITNESS._replace(value=LOG.value)

    for lines in ((LOG, forged), (forged, LOG)):
        with pytest.raises(CheckpointInvalid, match="does not verify"):
            verify_note(Note(TEXT, lines), known(LOG, WITNESS))


def test_a_repeated_line_counts_once() -> None:
    assert verify_note(Note(TEXT, (LOG, LOG)), known(LOG)) == (LOG.name,)


def test_a_second_line_of_a_known_key_must_be_good_too() -> None:
    with pytest.raises(CheckpointInvalid, match="does not verify"):
        verify_note(Note(TEXT, (LOG, LOG._replace(value=b"another"))), known(LOG))


def test_two_keys_of_one_name_count_as_one_signer() -> None:
    rotated = LOG._replace(key_id=b"\x0a\x0b\x0c\x0d", value=b"the new key's signature")

    assert verify_note(Note(TEXT, (LOG, rotated)), known(LOG, rotated)) == (LOG.name,)


def test_signatures_over_another_text_are_refused() -> None:
    with pytest.raises(CheckpointInvalid, match="does not verify"):
        verify_note(Note(TEXT.replace(b"42", b"43"), (LOG,)), known(LOG))


# --- verifier keys ---


def test_the_verifier_key_of_go_s_documentation_is_read_and_written() -> None:
    key = VerifierKey.parse(GO_VERIFIER_KEY)

    assert key.name == "PeterNeumann"
    assert key.key_id == bytes.fromhex("c74f20a3") == ed25519_key_id(key.name, key.public_key)
    assert str(key) == GO_VERIFIER_KEY


@given(names, st.binary(min_size=32, max_size=32))
def test_every_verifier_key_comes_back_as_it_was_written(name: str, public_key: bytes) -> None:
    key = VerifierKey(name, public_key)

    assert VerifierKey.parse(str(key)) == key


def test_a_key_s_id_depends_on_its_name() -> None:
    assert ed25519_key_id("a.example", ROOT) != ed25519_key_id("b.example", ROOT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "++",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        GO_VERIFIER_KEY.replace("+c74f20a3", "+c74f20a4"),
        GO_VERIFIER_KEY.replace("+c74f20a3", "+C74F20A3"),
        GO_VERIFIER_KEY.replace("+c74f20a3", "+0c74f20a3"),
        GO_VERIFIER_KEY.replace("+c74f20a3", "+c74f20a"),
        GO_VERIFIER_KEY.replace("PeterNeumann", "PeterNewmann"),
        GO_VERIFIER_KEY.replace("PeterNeumann", ""),
        GO_VERIFIER_KEY.replace("PeterNeumann", "Peter Neumann"),
        GO_VERIFIER_KEY.replace("+ARpc", "+AhRpc"),
        GO_VERIFIER_KEY.replace("+ARpc", "+Ahpc"),
        GO_VERIFIER_KEY.replace("10TW", "10T"),
        GO_VERIFIER_KEY.replace("10TW", "10TWAA=="),
        GO_VERIFIER_KEY + "\n",
        " " + GO_VERIFIER_KEY,
    ],
)
def test_any_other_text_is_not_a_verifier_key(text: str) -> None:
    with pytest.raises(CheckpointInvalid):
        VerifierKey.parse(text)


@pytest.mark.parametrize("public_key", [b"", bytes(31), bytes(33)])
def test_a_public_key_of_another_length_is_refused(public_key: bytes) -> None:
    with pytest.raises(CheckpointInvalid):
        VerifierKey("a.example", public_key)
