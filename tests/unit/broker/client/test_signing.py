"""With which keys an edge signs, by the directory that it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from broker.client.signing import OtherSigner, Signing
from broker.core.algorithms import SignatureRule, check_required
from broker.core.envelope import ECDSA_P256_SHA256, ML_DSA_65
from broker.core.errors import SigningKeyMissing
from certs.rights import HEBEI
from tests.support.pki import SamplePki
from tests.support.signers import CHIEF, KIND, TWO_PEOPLE, Desk, body_of, desk, named

if TYPE_CHECKING:
    from broker.client.signing import Signers
    from broker.core.policy import Directory

END_MS: Final = 2_000_000_000_000


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture(scope="module")
def made(pki: SamplePki) -> Desk:
    return desk(pki)


def signers(made: Desk, directory: Directory, at_ms: int, *, more: bool = True) -> Signers:
    first, *others = made.gateway
    chief = tuple(OtherSigner(CHIEF, named(each)) for each in made.chief)
    return Signing(lambda: directory, tuple(others) if more else (), chief).signers(HEBEI, KIND, at_ms, first)


def check(pki: SamplePki, directory: Directory, found: Signers, at_ms: int) -> None:
    """What the broker checks."""
    keyring = pki.keyring(directory)
    listed = [keyring.signer(each.certificate_sha256) for each in found.named]
    check_required(directory, body_of(found.named, at_ms), listed, at_ms)


@pytest.mark.parametrize(
    ("before", "later"),
    [
        (None, SignatureRule((ML_DSA_65,))),
        (SignatureRule(principals=2), SignatureRule((ML_DSA_65,))),
        (SignatureRule((ML_DSA_65,), 2, 1, SignatureRule()), SignatureRule()),
        (SignatureRule(), TWO_PEOPLE),
    ],
)
def test_before_a_rule_begins_a_record_is_signed_for_it_and_for_the_one_in_force(
    pki: SamplePki, made: Desk, before: SignatureRule | None, later: SignatureRule
) -> None:
    directory = made.with_rules({KIND: later._replace(from_ms=END_MS, before=before)})
    found = signers(made, directory, END_MS - 1)
    for at_ms in (END_MS - 1, END_MS):
        check(pki, directory, found, at_ms)


def test_a_clock_that_is_ahead_of_the_brokers_loses_no_signature_at_the_end_of_an_algorithm(
    pki: SamplePki, made: Desk
) -> None:
    directory = made.with_rules({KIND: TWO_PEOPLE}, {ECDSA_P256_SHA256: END_MS})
    found = signers(made, directory, END_MS + 1000)
    for at_ms in (END_MS - 1, END_MS):
        check(pki, directory, found, at_ms)


def test_the_key_of_an_algorithm_that_ended_is_not_needed(pki: SamplePki, made: Desk) -> None:
    directory = made.with_rules({KIND: SignatureRule((ECDSA_P256_SHA256, ML_DSA_65))}, {ML_DSA_65: END_MS})
    with pytest.raises(SigningKeyMissing):
        signers(made, directory, END_MS - 1, more=False)
    found = signers(made, directory, END_MS, more=False)
    assert found.named == (named(made.gateway[0]),)
    check(pki, directory, found, END_MS)


def test_without_a_rule_the_first_key_signs_and_all_keys_when_its_algorithm_has_an_end(
    pki: SamplePki, made: Desk
) -> None:
    first, second = map(named, made.gateway)
    assert signers(made, made.with_rules({}), END_MS).named == (first,)
    directory = made.with_rules({}, {ECDSA_P256_SHA256: END_MS})
    for at_ms in (END_MS - 1, END_MS):
        found = signers(made, directory, at_ms)
        assert found.named == (first, second)
        check(pki, directory, found, at_ms)
    assert signers(made, directory, END_MS - 1, more=False).named == (first,)
    with pytest.raises(SigningKeyMissing):
        signers(made, directory, END_MS, more=False)
