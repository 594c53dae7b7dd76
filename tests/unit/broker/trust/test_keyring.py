from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from broker.core.errors import (
    CaseExchangeError,
    DirectoryInvalid,
    DirectoryUnavailable,
    RevocationUnavailable,
    SignatureInvalid,
    SignerCertificateInvalid,
    SignerRevoked,
    SignerUnknown,
)
from broker.core.policy import RetiredCertificate
from broker.trust.certificates import der
from broker.trust.directory import PinnedDirectory
from broker.trust.keyring import DirectoryKeyring, LiveKeyring
from broker.trust.revocation import RevocationLists
from certs import profiles
from certs.authority import Authority
from tests.support.pki import Credential, ManualClock, SamplePki, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE_MS = 60_000


def test_what_an_agency_signs_verifies_with_its_listed_certificate(pki: SamplePki) -> None:
    signer = pki.signer()
    listed = pki.keyring().signer(signer.certificate_sha256)
    assert listed.agency == "shanxi-police"
    assert listed.sha256 == signer.certificate_sha256
    listed.check_valid(pki.now_ms)
    listed.verify(b"sample", signer.sign(b"sample"))
    with pytest.raises(SignatureInvalid) as caught:
        listed.verify(b"sampld", signer.sign(b"sample"))
    assert caught.value.details == {"certificate_sha256": signer.certificate_sha256.hex()}
    with pytest.raises(SignatureInvalid):
        listed.verify(b"sample", pki.signer("hebei-police").sign(b"sample"))


def test_a_certificate_that_the_directory_does_not_list_is_unknown(pki: SamplePki) -> None:
    # For bytes that are not a fingerprint, the error has no more of them than a fingerprint's length.
    for fingerprint in (pki.credential().signer.certificate_sha256, b"", bytes(32), bytes(40)):
        with pytest.raises(SignerUnknown) as caught:
            pki.keyring().signer(fingerprint)
        assert caught.value.details == {"certificate_sha256": fingerprint[:32].hex()}


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (SamplePki.of_another_authority, SignerCertificateInvalid),
        (SamplePki.expired, SignerCertificateInvalid),
        (lambda pki: pki.credential(profiles.TLS_CLIENT), SignerCertificateInvalid),
        (lambda pki: pki.credential(issued=pki.now + timedelta(days=1)), SignerCertificateInvalid),
        (lambda pki: pki.credential(profiles.TLS_SERVER, authority=pki.authority("signing")), SignerCertificateInvalid),
    ],
    ids=["another authority", "expired", "tls", "not valid yet", "serverAuth by the signing authority"],
)
def test_a_bad_certificate_in_the_directory_is_refused_and_the_others_still_work(
    pki: SamplePki, make: Callable[[SamplePki], Credential], error: type[CaseExchangeError]
) -> None:
    bad = make(pki)
    keyring = pki.keyring_with(bad)
    with pytest.raises(error) as caught:
        keyring.signer(bad.signer.certificate_sha256).check_valid(pki.now_ms)
    assert caught.value.details["certificate_sha256"] == bad.signer.certificate_sha256.hex()
    assert caught.value.message.startswith("the signing certificate ")
    keyring.signer(pki.signer("hebei-police").certificate_sha256).check_valid(pki.now_ms)


@pytest.mark.parametrize(
    "make",
    [
        lambda pki: pki.credential(agency="hebei-police").der,
        lambda pki: pki.with_uris(profile=profiles.SIGNING).der,
        lambda pki: pki.credential(key=ec.generate_private_key(ec.SECP384R1())).der,
        lambda _: b"sample",
    ],
    ids=["another agency's", "nobody's", "another curve", "no certificate"],
)
def test_no_directory_may_list_for_an_agency_what_is_not_its_own(
    pki: SamplePki, make: Callable[[SamplePki], bytes]
) -> None:
    with pytest.raises(DirectoryInvalid):
        pki.keyring(pki.directory_with("shanxi-police", [make(pki)]))


def test_a_certificate_is_valid_from_its_first_to_its_last_moment(pki: SamplePki) -> None:
    credential = pki.credential(issued=pki.now + timedelta(hours=1), lifetime=timedelta(hours=1))
    listed = pki.keyring_with(credential).signer(credential.signer.certificate_sha256)
    first = milliseconds(credential.certificate.not_valid_before_utc)
    last = milliseconds(credential.certificate.not_valid_after_utc)
    for at_ms in (first, last):
        listed.check_valid(at_ms)
    named = {"certificate_sha256": credential.signer.certificate_sha256.hex()}
    assert listed.ended_at_ms == last + 1
    for at_ms, details in ((first - 7, {**named, "retry_after_ms": "7"}), (last + 1, named)):
        with pytest.raises(SignerCertificateInvalid, match="at the time of use") as caught:
            listed.check_valid(at_ms)
        assert caught.value.details == details


def test_a_revoked_signer_is_refused_from_the_moment_of_revocation_and_stands_before_it(pki: SamplePki) -> None:
    credential = pki.revoked["signing"]
    keyring = pki.keyring_with(credential, agency="hebei-police")
    listed = keyring.signer(credential.signer.certificate_sha256)
    for at_ms in (pki.now_ms, pki.now_ms + MINUTE_MS):
        with pytest.raises(SignerRevoked) as caught:
            listed.check_valid(at_ms)
        named = credential.signer.certificate_sha256.hex()
        assert caught.value.details == {"certificate_sha256": named, "revoked_at_ms": str(pki.now_ms)}
    listed.check_valid(pki.now_ms - 1)


def test_a_word_about_the_past_counts_up_to_the_signers_end_and_until_its_revocation(pki: SamplePki) -> None:
    credential, revoked_ms = pki.revoked["signing"], pki.now_ms
    listed = pki.keyring_with(credential, agency="hebei-police").signer(credential.signer.certificate_sha256)
    first, last = (
        milliseconds(each)
        for each in (credential.certificate.not_valid_before_utc, credential.certificate.not_valid_after_utc)
    )
    # What it speaks of may be older than it, and it does not matter whether that was before the revocation.
    for of_ms in (first - MINUTE_MS, revoked_ms, last):
        listed.check_trusted(of_ms, revoked_ms - 1)
        with pytest.raises(SignerRevoked):
            listed.check_trusted(of_ms, revoked_ms)
    with pytest.raises(SignerCertificateInvalid, match="at the time of use"):
        listed.check_trusted(last + 1, revoked_ms - 1)
    foreign = pki.of_another_authority()
    with pytest.raises(SignerCertificateInvalid):
        pki.keyring_with(foreign).signer(foreign.signer.certificate_sha256).check_trusted(pki.now_ms, pki.now_ms)


def test_a_retired_signer_stands_for_what_was_before_its_end_and_for_nothing_after(pki: SamplePki) -> None:
    credential, end_ms = pki.credential(), pki.now_ms + MINUTE_MS
    member = replace(
        pki.directory.agency("shanxi-police"), retired_certificates=(RetiredCertificate(credential.der, end_ms),)
    )
    keyring = pki.keyring(replace(pki.directory, agencies={**pki.directory.agencies, "shanxi-police": member}))
    retired = keyring.signer(credential.signer.certificate_sha256)
    assert retired.agency == "shanxi-police"
    retired.verify(b"sample", credential.signer.sign(b"sample"))
    retired.check_valid(end_ms - 1)
    for at_ms in (end_ms, end_ms + MINUTE_MS):
        with pytest.raises(SignerCertificateInvalid, match="retired") as caught:
            retired.check_valid(at_ms)
        assert caught.value.details == {"certificate_sha256": credential.signer.certificate_sha256.hex()}
    keyring.signer(pki.signer().certificate_sha256).check_valid(end_ms)


def test_without_a_list_or_with_one_too_old_no_signer_is_accepted(pki: SamplePki) -> None:
    fingerprint = pki.signer().certificate_sha256
    nothing = pki.keyring(revocations=RevocationLists([], [], grace_ms=0)).signer(fingerprint)
    with pytest.raises(RevocationUnavailable):
        nothing.check_valid(pki.now_ms)
    due_ms = milliseconds(pki.now + timedelta(days=7))
    listed = pki.keyring(revocations=pki.revocation_lists(grace_ms=MINUTE_MS)).signer(fingerprint)
    listed.check_valid(due_ms + MINUTE_MS)
    with pytest.raises(RevocationUnavailable):
        listed.check_valid(due_ms + MINUTE_MS + 1)


def test_each_certificate_is_judged_by_its_own_authority_s_list(pki: SamplePki) -> None:
    ours, second = pki.authority("signing"), Authority.create("second signing authority", pki.now)
    credential = pki.credential(authority=second)
    directory = replace(
        pki.directory_with("shanxi-police", [credential.der]),
        signing_authorities=(der(ours.certificate), der(second.certificate)),
    )
    fingerprint = credential.signer.certificate_sha256
    with pytest.raises(RevocationUnavailable):
        pki.keyring(directory).signer(fingerprint).check_valid(pki.now_ms)
    documents = [
        authority.revocation_list(pki.now, timedelta(days=1)).public_bytes(Encoding.DER) for authority in (ours, second)
    ]
    lists = RevocationLists(documents, directory.signing_authorities, grace_ms=0)
    DirectoryKeyring(directory, lists).signer(fingerprint).check_valid(pki.now_ms)


def test_a_new_directory_version_changes_the_live_keyring_and_an_expired_one_stops_it(pki: SamplePki) -> None:
    clock = ManualClock(pki.now_ms)
    # The agency states no encryption key: only with its certificate could it take one back.
    police = replace(pki.directory.agencies["shanxi-police"], encryption_keys=())
    without = replace(pki.directory, agencies={**pki.directory.agencies, police.id: police})
    pinned = PinnedDirectory(pki.sign(without), pki.governance, clock)
    keyring = LiveKeyring(pinned, pki.revocation_lists())
    old, new = pki.signer().certificate_sha256, pki.credential()
    assert keyring.signer(old) is keyring.signer(old)
    pinned.offer(pki.sign(replace(pki.directory_with("shanxi-police", [new.der]), version=2)))
    assert keyring.signer(new.signer.certificate_sha256).agency == "shanxi-police"
    with pytest.raises(SignerUnknown):
        keyring.signer(old)
    clock.value_ms = pki.directory.expires_at_ms
    with pytest.raises(DirectoryUnavailable):
        keyring.signer(new.signer.certificate_sha256)
