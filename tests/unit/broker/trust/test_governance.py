"""Governance changes its key: who believes which document."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from broker.core.envelope import SUCCESSION_TYPE
from broker.core.errors import DirectoryInvalid
from broker.core.strict import decode_base64, encode_base64
from broker.trust.directory import PinnedDirectory, open_directory, sign_directory, successions_of
from broker.trust.directory_files import DirectoryFile
from broker.trust.directory_payload import directory_payload
from broker.trust.governance import MAX_SUCCESSIONS, Governance, public_key_of, state_succession
from broker.trust.signedjson import signed_json
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.policy import Directory
    from tests.support.pki import SamplePki

Key = ec.EllipticCurvePrivateKey
FIRST, SECOND, THIRD, THIEF = (ec.derive_private_key(number, ec.SECP256R1()) for number in (11, 12, 13, 14))


def pin(*keys: Key) -> Governance:
    return Governance(*map(public_key_of, keys))


class Versions:
    """What governance signs, version by version."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.statements: list[dict[str, Any]] = []

    def sign(self, version: int, key: Key, statements: list[dict[str, Any]] | None = None) -> bytes:
        payload = directory_payload(replace(self.directory, version=version))
        return sign_directory(payload, key, self.statements if statements is None else statements)

    def succeed(self, version: int, former: Key, following: Key, *, lost: bool = False) -> bytes:
        """The first version that another key signs."""
        first = replace(self.directory, version=version)
        self.statements.append(state_succession(first, former.public_key() if lost else former, following))
        return self.sign(version, following)


@pytest.fixture
def versions(pki: SamplePki) -> Versions:
    return Versions(pki.directory)


def refused(document: bytes, governance: Governance) -> str:
    with pytest.raises(DirectoryInvalid) as caught:
        open_directory(document, governance)
    return caught.value.message


def test_who_pinned_the_first_key_goes_on_with_the_next_and_the_one_after_it(versions: Versions) -> None:
    governance = pin(FIRST)
    open_directory(versions.sign(1, FIRST), governance)
    assert open_directory(versions.succeed(2, FIRST, SECOND), governance).version == 2
    assert open_directory(versions.sign(3, SECOND), governance).version == 3
    fourth = versions.succeed(4, SECOND, THIRD)
    assert open_directory(fourth, governance).version == 4
    # A newcomer with the first key needs only the newest version.
    assert open_directory(fourth, pin(FIRST)).version == 4


def test_who_pins_the_newest_key_can_check_what_the_former_ones_signed(versions: Versions) -> None:
    old = versions.sign(1, FIRST)
    versions.succeed(2, FIRST, SECOND)
    newest = versions.succeed(5, SECOND, THIRD)
    governance = pin(THIRD)
    assert "not signed by" in refused(old, governance)
    open_directory(newest, governance)
    assert open_directory(old, governance).version == 1


def test_a_key_that_was_handed_over_signs_no_later_version(versions: Versions) -> None:
    governance = pin(FIRST)
    second = versions.succeed(2, FIRST, SECOND)
    open_directory(second, governance)
    for statements in ([], versions.statements):
        assert "does not sign this version" in refused(versions.sign(3, FIRST, statements), governance)
        assert "does not sign this version" in refused(versions.sign(2, FIRST, statements), governance)
    # Nor may the next key go behind what was handed over to it.
    assert "does not sign this version" in refused(versions.sign(1, SECOND), governance)


def test_a_thief_of_the_former_key_hands_over_to_nobody_once_more(versions: Versions) -> None:
    governance = pin(FIRST)
    open_directory(versions.succeed(2, FIRST, SECOND), governance)
    stolen = Versions(versions.directory)
    assert "not signed by" in refused(stolen.succeed(3, FIRST, THIEF), governance)
    # Not with an earlier version either, and not beside the real statement.
    stolen = Versions(versions.directory)
    stolen.statements += versions.statements
    assert "not signed by" in refused(stolen.succeed(1, FIRST, THIEF), governance)
    assert open_directory(versions.sign(3, SECOND), governance).version == 3


def test_a_lost_key_is_replaced_only_for_who_pins_the_new_one(versions: Versions) -> None:
    old, new = versions.sign(1, FIRST), versions.succeed(2, FIRST, SECOND, lost=True)
    assert "not signed by" in refused(new, pin(FIRST))
    for governance in (pin(SECOND), pin(FIRST, SECOND)):
        assert open_directory(new, governance).version == 2
        assert open_directory(old, governance).version == 1
        assert "does not sign this version" in refused(versions.sign(3, FIRST), governance)


def test_what_a_pinned_key_says_of_its_predecessor_counts_before_what_a_thief_made_it_say(versions: Versions) -> None:
    stolen = Versions(versions.directory)
    by_thief = stolen.succeed(2, FIRST, THIEF)
    governance = pin(FIRST, SECOND)
    open_directory(by_thief, governance)
    assert open_directory(versions.succeed(3, FIRST, SECOND, lost=True), governance).version == 3
    assert "not signed by" in refused(stolen.sign(4, THIEF), governance)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("pinned", [(FIRST,), (SECOND,), (FIRST, SECOND)])
def test_a_key_that_has_handed_over_names_no_predecessor_and_no_successor(
    versions: Versions, pinned: tuple[Key, ...], *, lost: bool
) -> None:
    governance = pin(*pinned)
    tenth = versions.succeed(10, FIRST, SECOND, lost=lost)
    if lost and pinned == (FIRST,):
        assert "not signed by" in refused(tenth, governance)
        return
    open_directory(tenth, governance)
    for from_version, former, following in (
        (2**62, THIEF.public_key(), FIRST),
        (2**62, FIRST, THIEF),
        (12, THIEF.public_key(), FIRST),
    ):
        stated = state_succession(replace(versions.directory, version=from_version), former, following)
        for statements in ([stated], [*versions.statements, stated], [stated, *versions.statements]):
            for version in (1, 11, 2**61, 2**62):
                assert "not signed by" in refused(versions.sign(version, THIEF, statements), governance)
    assert open_directory(versions.sign(11, SECOND), governance).version == 11


def test_a_key_hands_over_no_version_from_before_its_own_first(versions: Versions) -> None:
    governance = pin(FIRST)
    open_directory(versions.succeed(10, FIRST, SECOND), governance)
    early = state_succession(replace(versions.directory, version=1), SECOND, THIEF)
    for version in (3, 11):
        document = versions.sign(version, THIEF, [*versions.statements, early])
        assert "not signed by" in refused(document, governance)


def test_a_statement_that_its_next_key_did_not_sign_is_refused(versions: Versions) -> None:
    good = state_succession(replace(versions.directory, version=2), FIRST, SECOND)
    for signature in good["signatures"]:
        alone = {**good, "signatures": [signature]}
        document = versions.sign(2, FIRST, [alone])
        if decode_base64(signature["sig"]) == decode_base64(good["signatures"][0]["sig"]):
            # Only the next key signed: this alone hands nothing over.
            assert open_directory(document, pin(FIRST)).version == 2
        else:
            assert "not signed by its next key" in refused(document, pin(FIRST))


def test_a_statement_of_another_exchange_is_refused(versions: Versions) -> None:
    elsewhere = replace(versions.directory, version=2, trust_domain="elsewhere.example")
    statement = state_succession(elsewhere, FIRST, SECOND)
    governance = pin(FIRST)
    assert "another exchange" in refused(versions.sign(2, SECOND, [statement]), governance)
    # And nothing of it was learned.
    assert open_directory(versions.sign(2, FIRST, []), governance).version == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"from_version": 0}, "positive from_version"),
        ({"from_version": True}, "positive from_version"),
        ({"more": 1}, "not exactly"),
        ({"next": None}, "not exactly"),
        ({"former": "AAAA"}, "not a P-256"),
        ({"former": "AA"}, "base64"),
    ],
)
def test_a_malformed_statement_is_refused(versions: Versions, change: dict[str, Any], message: str) -> None:
    payload = json.loads(decode_base64(state_succession(versions.directory, FIRST, SECOND)["payload"]))
    statement = signed_json(SUCCESSION_TYPE, json.dumps(payload | change).encode(), FIRST, SECOND)
    assert message in refused(versions.sign(2, FIRST, [statement]), pin(FIRST))


def test_a_key_cannot_follow_itself_and_the_statements_are_few(versions: Versions) -> None:
    itself = state_succession(versions.directory, FIRST, FIRST)
    assert "to itself" in refused(versions.sign(2, FIRST, [itself]), pin(FIRST))
    good = state_succession(replace(versions.directory, version=2), FIRST, SECOND)
    assert open_directory(versions.sign(2, SECOND, [good] * MAX_SUCCESSIONS), pin(FIRST)).version == 2
    assert "at most" in refused(versions.sign(2, SECOND, [good] * (MAX_SUCCESSIONS + 1)), pin(FIRST))
    assert "no list" in refused(
        json.dumps({**json.loads(versions.sign(2, FIRST)), "successions": {}}).encode(), pin(FIRST)
    )


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_a_statement_can_be_changed(pki: SamplePki, at: int, bit: int) -> None:
    versions = Versions(pki.directory)
    versions.succeed(2, FIRST, SECOND)
    (statement,) = versions.statements
    payload = bytearray(decode_base64(statement["payload"]))
    payload[at % len(payload)] ^= 1 << bit
    document = versions.sign(2, SECOND, [{**statement, "payload": encode_base64(bytes(payload))}])
    with pytest.raises(DirectoryInvalid):
        open_directory(document, pin(FIRST))


def test_a_restart_does_not_go_back_to_the_former_key(versions: Versions, tmp_path: Path) -> None:
    path, kept = tmp_path / "directory.json", tmp_path / "kept" / "directory.json"
    clock = ManualClock(versions.directory.issued_at_ms)
    path.write_bytes(versions.sign(1, FIRST))
    running = DirectoryFile(path, pin(FIRST), clock, kept)
    path.write_bytes(tenth := versions.succeed(10, FIRST, SECOND))
    assert running.reload()
    # A thief of the former key has this file only.
    path.write_bytes(versions.sign(11, FIRST, []))
    with pytest.raises(DirectoryInvalid, match="does not sign this version"):
        running.reload()
    with pytest.raises(DirectoryInvalid, match="does not sign this version"):
        DirectoryFile(path, pin(FIRST), clock, kept)
    assert kept.read_bytes() == tenth


def test_the_directory_in_force_follows_and_does_not_go_back_to_the_former_key(versions: Versions) -> None:
    pinned = PinnedDirectory(versions.sign(1, FIRST), pin(FIRST), ManualClock(versions.directory.issued_at_ms))
    second = versions.succeed(2, FIRST, SECOND)
    assert pinned.offer(second)
    with pytest.raises(DirectoryInvalid, match="does not sign this version"):
        pinned.offer(versions.sign(3, FIRST))
    assert pinned.latest.document == second
    assert successions_of(second) == versions.statements
