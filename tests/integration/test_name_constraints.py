"""An authority that may name principals of one trust domain only: which verifier holds it to that."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from broker.client.connection import ConnectionSettings, open_channel
from broker.client.publisher import Publisher
from broker.core.errors import ConnectionFailed, SignerCertificateInvalid
from broker.core.identity import Principal
from broker.trust.certificates import pem, signing_validity
from broker.trust.keys import private_key_pem
from broker.wire.tls import TlsFiles
from certs import profiles
from certs.authority import Authority
from certs.rights import SHANXI, TRUST_DOMAIN
from certs.storage import write_private, write_public
from tests.support.records import CODEC

if TYPE_CHECKING:
    from pathlib import Path

    from certs.profiles import Profile
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

OURS, FOREIGN = (Principal(domain, SHANXI, "gateway") for domain in (TRUST_DOMAIN, "elsewhere.example"))


def issued(authority: Authority, profile: Profile, principal: Principal, pki: SamplePki, folder: Path) -> TlsFiles:
    """A certificate with its key, and the authority, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.issue(profile, principal, key.public_key(), pki.now)
    files = TlsFiles(folder / "leaf.pem", folder / "leaf.key", folder / "ca.pem")
    write_public(files.certificate, pem(certificate))
    write_private(files.key, private_key_pem(key))
    write_public(files.authorities, pem(authority.certificate))
    return files


def openssl_accepts(files: TlsFiles) -> bool:
    paths = ["-CAfile", str(files.authorities), "-no-CApath", "-no-CAstore", str(files.certificate)]
    command = ["openssl", "verify", *paths]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0 or "permitted subtree violation" in found.stderr
    return found.returncode == 0


def test_the_development_tls_authority_is_held_to_its_trust_domain(pki: SamplePki) -> None:
    certificate = pki.authority("tls").certificate
    constraint = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraint.critical
    assert constraint.value.permitted_subtrees == [x509.UniformResourceIdentifier(TRUST_DOMAIN)]


@pytest.mark.parametrize("constrained", [True, False])
def test_openssl_refuses_a_principal_of_another_trust_domain(
    pki: SamplePki, tmp_path: Path, *, constrained: bool
) -> None:
    authority = Authority.create("a sample authority", pki.now, TRUST_DOMAIN if constrained else "")
    assert openssl_accepts(issued(authority, profiles.TLS_CLIENT, OURS, pki, tmp_path))
    assert openssl_accepts(issued(authority, profiles.TLS_CLIENT, FOREIGN, pki, tmp_path)) is not constrained


@pytest.mark.parametrize("principal", [OURS, FOREIGN])
def test_the_library_s_verifier_takes_no_chain_with_a_constraint_on_uris(pki: SamplePki, principal: Principal) -> None:
    """So no signing authority may have one. The directory holds signing certificates to the trust domain instead."""
    authority = Authority.create("a sample authority", pki.now, TRUST_DOMAIN)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    certificate = authority.issue(profiles.SIGNING, principal, key, pki.now)
    with pytest.raises(SignerCertificateInvalid, match="unsupported name constraint"):
        signing_validity(certificate, [authority.certificate])


async def test_a_broker_s_tls_refuses_a_client_of_another_trust_domain(exchange: Exchange, tmp_path: Path) -> None:
    authority = exchange.pki.authority("tls")
    ours = issued(authority, profiles.TLS_CLIENT, OURS, exchange.pki, tmp_path)
    async with open_channel(ConnectionSettings(exchange.target), ours.read()) as channel:
        receipt = await Publisher(channel, CODEC, exchange.receipts()).publish(exchange.maker().make())
        assert receipt.statement
    foreign = issued(authority, profiles.TLS_CLIENT, FOREIGN, exchange.pki, tmp_path)
    async with open_channel(ConnectionSettings(exchange.target), foreign.read()) as channel:
        # Not PeerUnknown: the handshake itself fails, before the broker asks who it is.
        with pytest.raises(ConnectionFailed):
            await Publisher(channel, CODEC, exchange.receipts()).publish(exchange.maker().make())


@pytest.mark.parametrize("constrained", [True, False])
async def test_a_client_s_tls_refuses_a_server_of_another_trust_domain(
    pki: SamplePki, tmp_path: Path, *, constrained: bool
) -> None:
    authority = Authority.create("a sample authority", pki.now, TRUST_DOMAIN if constrained else "")
    for principal, accepted in ((OURS, True), (FOREIGN, not constrained)):
        files = issued(authority, profiles.TLS_PEER, principal, pki, tmp_path)
        server = grpc.aio.server()
        pair = (files.key.read_bytes(), files.certificate.read_bytes())
        credentials = grpc.ssl_server_credentials([pair], files.authorities.read_bytes(), require_client_auth=True)
        port = server.add_secure_port("localhost:0", credentials)
        await server.start()
        own = issued(authority, profiles.TLS_CLIENT, OURS, pki, tmp_path)
        try:
            async with open_channel(ConnectionSettings(f"localhost:{port}"), own.read()) as channel:
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/sample.Service/Method")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(b"", timeout=60)
            # Nobody offers this method. To say so, the two must have believed each other.
            expected = grpc.StatusCode.UNIMPLEMENTED if accepted else grpc.StatusCode.UNAVAILABLE
            assert caught.value.code() is expected
        finally:
            await server.stop(None)
