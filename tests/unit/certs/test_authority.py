from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from broker.core.errors import CertificateInvalid, KeyInvalid
from broker.core.identity import Principal
from certs.authority import Authority
from certs.profiles import TLS_CLIENT

if TYPE_CHECKING:
    from tests.support.pki import SamplePki

DAY = timedelta(days=1)


@pytest.fixture
def authority(pki: SamplePki) -> Authority:
    return Authority.create("sample authority", pki.now)


def issue(authority: Authority, pki: SamplePki) -> x509.Certificate:
    principal = Principal("case-exchange.example", "hebei-police", "gateway")
    key = ec.generate_private_key(ec.SECP256R1())
    return authority.issue(TLS_CLIENT, principal, key.public_key(), pki.now)


def test_what_was_issued_is_remembered(authority: Authority, pki: SamplePki) -> None:
    certificate = issue(authority, pki)
    entry = authority.issued[certificate.serial_number]
    assert entry.principal == "spiffe://case-exchange.example/agency/hebei-police/gateway"
    assert (entry.profile, entry.revoked_at) == ("tls-client", None)


def test_each_list_has_the_next_number_and_names_what_is_revoked(authority: Authority, pki: SamplePki) -> None:
    good, bad = issue(authority, pki), issue(authority, pki)
    first = authority.revocation_list(pki.now, DAY)
    authority.revoke(bad.serial_number, pki.now - DAY, "keyCompromise")
    second = authority.revocation_list(pki.now, DAY)
    numbers = [crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for crl in (first, second)]
    assert numbers == [1, 2]
    assert len(first) == 0
    assert second.get_revoked_certificate_by_serial_number(good.serial_number) is None
    revoked = second.get_revoked_certificate_by_serial_number(bad.serial_number)
    assert revoked is not None
    assert revoked.revocation_date_utc == pki.now - DAY
    assert revoked.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise


def test_what_it_did_not_issue_or_has_revoked_it_does_not_revoke(authority: Authority, pki: SamplePki) -> None:
    certificate = issue(authority, pki)
    authority.revoke(certificate.serial_number, pki.now, "superseded")
    for serial in (certificate.serial_number, 1):
        with pytest.raises(CertificateInvalid):
            authority.revoke(serial, pki.now - DAY, "superseded")
    assert authority.issued[certificate.serial_number].revoked_at == pki.now


def test_an_authority_does_not_start_with_another_s_certificate(authority: Authority, pki: SamplePki) -> None:
    with pytest.raises(KeyInvalid):
        Authority(authority.key, pki.authority("tls").certificate)
