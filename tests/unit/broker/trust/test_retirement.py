from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import CertificatesUnlisted
from broker.core.policy import RetiredCertificate
from broker.trust.retirement import Retirement, keep_former_certificates

if TYPE_CHECKING:
    from broker.core.policy import Directory
    from tests.support.pki import SamplePki

POLICE, LAB = "shanxi-police", "national-dna-database"
OLD, NEW, OLDER = b"old", b"new", b"older"
NOW, BEFORE = 2_000, 1_000


def fingerprint(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()


def listing(
    pki: SamplePki, in_use: tuple[bytes, ...], retired: tuple[RetiredCertificate, ...] = (), agency: str = POLICE
) -> Directory:
    """The directory with these certificates of an agency. They need not be real: nothing reads them here."""
    member = replace(pki.directory.agencies[agency], signing_certificates=in_use, retired_certificates=retired)
    return replace(pki.directory, agencies={**pki.directory.agencies, agency: member})


def without(directory: Directory, agency: str) -> Directory:
    return replace(directory, agencies={id_: one for id_, one in directory.agencies.items() if id_ != agency})


def test_what_was_in_use_and_is_left_out_is_retired_from_now_on(pki: SamplePki) -> None:
    kept, retirements = keep_former_certificates(listing(pki, (NEW,)), listing(pki, (OLD,)), NOW, frozenset())
    assert kept == listing(pki, (NEW,), (RetiredCertificate(OLD, NOW),))
    assert retirements == [Retirement(POLICE, fingerprint(OLD))]


def test_what_was_retired_keeps_its_end_and_is_no_news(pki: SamplePki) -> None:
    former = listing(pki, (OLD,), (RetiredCertificate(OLDER, BEFORE),))
    kept, retirements = keep_former_certificates(listing(pki, (OLD,)), former, NOW, frozenset())
    assert kept == former
    assert retirements == []


def test_what_governance_wrote_itself_stays_as_it_is(pki: SamplePki) -> None:
    written = listing(pki, (NEW,), (RetiredCertificate(OLD, BEFORE), RetiredCertificate(b"another", BEFORE)))
    former = listing(pki, (OLD, NEW), (RetiredCertificate(OLDER, 1),))
    kept, retirements = keep_former_certificates(written, former, NOW, frozenset())
    retired = (*written.agencies[POLICE].retired_certificates, RetiredCertificate(OLDER, 1))
    assert kept == listing(pki, (NEW,), retired)
    assert retirements == []
    assert keep_former_certificates(written, written, NOW, frozenset()) == (written, [])


@pytest.mark.parametrize("name", [fingerprint(OLD), POLICE])
def test_what_is_to_be_dropped_is_not_kept(pki: SamplePki, name: str) -> None:
    new, former = listing(pki, (NEW,)), listing(pki, (OLD,))
    assert keep_former_certificates(new, former, NOW, frozenset({name})) == (new, [])


def test_of_two_certificates_only_the_one_named_is_dropped(pki: SamplePki) -> None:
    former = listing(pki, (OLD,), (RetiredCertificate(OLDER, BEFORE),))
    kept, retirements = keep_former_certificates(listing(pki, (NEW,)), former, NOW, frozenset({fingerprint(OLDER)}))
    assert kept == listing(pki, (NEW,), (RetiredCertificate(OLD, NOW),))
    assert [item.certificate_sha256 for item in retirements] == [fingerprint(OLD)]


def test_an_agency_is_left_out_only_if_that_was_asked_for(pki: SamplePki) -> None:
    former = listing(pki, (OLD,))
    new = without(former, POLICE)
    with pytest.raises(CertificatesUnlisted) as caught:
        keep_former_certificates(new, former, NOW, frozenset())
    assert caught.value.details == {"agency": POLICE}
    assert keep_former_certificates(new, former, NOW, frozenset({POLICE})) == (new, [])
    nothing = listing(pki, ())
    assert keep_former_certificates(without(nothing, POLICE), nothing, NOW, frozenset()) == (
        without(nothing, POLICE),
        [],
    )


@pytest.mark.parametrize("name", [LAB, fingerprint(NEW), "nobody"])
def test_a_name_of_which_there_is_nothing_to_drop_is_refused(pki: SamplePki, name: str) -> None:
    names = frozenset({name, fingerprint(OLD), "zebra"})
    with pytest.raises(CertificatesUnlisted) as caught:
        keep_former_certificates(listing(pki, (NEW,)), listing(pki, (OLD,)), NOW, names)
    assert caught.value.details == {"names": " ".join(sorted([name, "zebra"]))}


def test_every_agency_is_looked_at(pki: SamplePki) -> None:
    former = listing(pki, (OLD,))
    lab = replace(former.agencies[LAB], signing_certificates=(OLDER,))
    former = replace(former, agencies={**former.agencies, LAB: lab})
    kept, retirements = keep_former_certificates(pki.directory, former, NOW, frozenset())
    assert {item.agency for item in retirements} == {POLICE, LAB}
    assert kept.agencies[LAB].retired_certificates == (RetiredCertificate(OLDER, NOW),)
