from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from broker.core.errors import PeerIdentityMissing, PeerRevoked, PeerUnknown
from broker.core.identity import Principal
from broker.trust import peers as module
from broker.trust.certificates import der
from broker.trust.peers import TlsPeers
from broker.trust.revocation import PeerRevocation
from certs import profiles
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.errors import CaseExchangeError
    from broker.core.policy import Directory
    from tests.support.pki import Credential

URI = "spiffe://case-exchange.example/agency/shanxi-police/gateway"


def peers_of(pki: SamplePki, directory: Directory | None = None) -> TlsPeers:
    authorities = [der(pki.authority("tls").certificate)]
    revocation = PeerRevocation(pki.revocation_lists("tls"), authorities, ManualClock(pki.now_ms))
    return TlsPeers(FixedDirectory(directory or pki.directory), revocation)


def pem(credential: Credential) -> bytes:
    return credential.certificate.public_bytes(Encoding.PEM)


def tls(pki: SamplePki, **how: str) -> Credential:
    return pki.credential(profiles.TLS_CLIENT, **how)  # type: ignore[arg-type]


def test_a_peer_is_who_its_certificate_names(pki: SamplePki) -> None:
    peers = peers_of(pki)
    expected = Principal("case-exchange.example", "shanxi-police", "gateway")
    certificate = pem(tls(pki))
    assert [peers.authenticate(certificate), peers.authenticate(certificate)] == [expected, expected]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(lambda _: b"no certificate", PeerIdentityMissing, id="no certificate"),
        pytest.param(lambda pki: pem(pki.with_uris()), PeerIdentityMissing, id="no name"),
        pytest.param(lambda pki: pem(pki.with_uris(URI, URI + "2")), PeerIdentityMissing, id="two names"),
        pytest.param(lambda pki: pem(tls(pki, agency="stranger")), PeerUnknown, id="an agency that is not listed"),
        pytest.param(lambda pki: pem(pki.revoked["tls"]), PeerRevoked, id="revoked"),
    ],
)
def test_a_peer_that_is_not_welcome_is_refused_every_time(
    pki: SamplePki, make: Callable[[SamplePki], bytes], error: type[CaseExchangeError]
) -> None:
    peers, certificate = peers_of(pki), make(pki)
    for _ in range(2):
        with pytest.raises(error):
            peers.authenticate(certificate)


def test_a_peer_of_another_exchange_is_refused(pki: SamplePki) -> None:
    directory = replace(pki.directory, trust_domain="another.example")
    with pytest.raises(PeerUnknown, match="another exchange"):
        peers_of(pki, directory).authenticate(pem(tls(pki)))


def test_what_is_remembered_of_peers_is_bounded(pki: SamplePki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 2)
    peers = peers_of(pki)
    certificates = [pem(tls(pki, system=f"system-{number}")) for number in range(3)]
    remembered = []
    for certificate in (certificates[0], certificates[1], certificates[0], certificates[2]):
        peers.authenticate(certificate)
        remembered.append(len(peers._known))
    assert remembered == [1, 2, 2, 1]
    assert [peers.authenticate(certificate).system for certificate in certificates] == [
        "system-0",
        "system-1",
        "system-2",
    ]
