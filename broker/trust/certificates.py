"""Certificates: how to read them, whom they name, and whether one may sign records.

A signing certificate and a TLS certificate of one agency name the same agency. They differ in their profile and their
authority, which are checked here: a stolen TLS key must not be able to sign records.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from broker.core.errors import CertificateInvalid, PeerIdentityMissing, SignerCertificateInvalid
from broker.core.identity import Principal
from broker.trust.keys import is_p256

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.x509.verification import Policy

DOCUMENT_SIGNING: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")
"""RFC 9336 section 3.1, id-kp-documentSigning: the only extended key usage that a signing certificate may have."""

MAX_CERTIFICATE_FILE_BYTES: Final = 1024 * 1024
_PEM: Final = b"-----BEGIN"


class Validity(NamedTuple):
    """A period in milliseconds since the Unix epoch, UTC. It includes both ends (RFC 5280 section 4.1.2.5)."""

    first_ms: int
    last_ms: int


def parse_certificate(data: bytes) -> x509.Certificate:
    """Read one certificate, DER or PEM.

    Raises:
        CertificateInvalid: it is not a certificate.
    """
    try:
        certificate = x509.load_pem_x509_certificate(data) if _PEM in data else x509.load_der_x509_certificate(data)
        # The library parses these only when they are used. So they are used here, and an accepted certificate is well
        # formed.
        certificate.extensions, certificate.public_key(), certificate.issuer, certificate.subject
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion) as error:
        message = "a certificate cannot be read"
        raise CertificateInvalid(message) from error
    return certificate


def load_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Read a file of one or more certificates in PEM, or of one in DER. The first is the leaf.

    Raises:
        CertificateInvalid: it names the file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CERTIFICATE_FILE_BYTES)
        blocks = x509.load_pem_x509_certificates(data) if _PEM in data else [x509.load_der_x509_certificate(data)]
        return tuple(parse_certificate(der(block)) for block in blocks)
    except (OSError, ValueError, CertificateInvalid) as error:
        message = f"{path.name} cannot be read as a certificate file"
        raise CertificateInvalid(message) from error


def der(certificate: x509.Certificate) -> bytes:
    """The certificate's bytes."""
    return certificate.public_bytes(Encoding.DER)


def pem(certificate: x509.Certificate) -> bytes:
    """The certificate as a file in PEM."""
    return certificate.public_bytes(Encoding.PEM)


@lru_cache(maxsize=256)
def fingerprint(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the certificate's DER. Bodies and signatures name a certificate by it."""
    return certificate.fingerprint(hashes.SHA256())


def principal_of(certificate: x509.Certificate) -> Principal:
    """The principal that the certificate names, by exactly one URI name (SPIFFE X509-SVID section 2).

    DNS names and addresses in it are for TLS server verification. They name nobody here.

    Raises:
        PeerIdentityMissing: it has no URI name, several, or one of another form.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        message = "the certificate has no subject alternative name"
        raise PeerIdentityMissing(message) from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        message = f"the certificate has {len(uris)} URI names, not exactly one"
        raise PeerIdentityMissing(message)
    return Principal.parse(uris[0])


def server_names_of(certificate: x509.Certificate) -> list[str]:
    """The DNS names and addresses in a server's certificate."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]


def validity(certificate: x509.Certificate) -> Validity:
    """When the certificate is valid, by its own dates only."""
    return Validity(
        int(certificate.not_valid_before_utc.timestamp() * 1000),
        int(certificate.not_valid_after_utc.timestamp() * 1000),
    )


def p256_public_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """The certificate's key.

    Raises:
        CertificateInvalid: it is not on P-256, the only curve for signing records.
    """
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not is_p256(key):
        message = "the certificate's key is not on P-256"
        raise CertificateInvalid(message)
    return key


def signing_validity(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> Validity:
    """Check that this is a signing certificate of one of the authorities. Return when it can be used.

    The path is validated once, at a time within the returned period. Later, only the time of use must be compared with
    the period. The period is where the certificate's and its issuer's own periods overlap.

    Raises:
        SignerCertificateInvalid: it has another profile, or no authority issued it.
    """
    issuer = find_issuer(certificate, authorities)
    if issuer is None:
        message = "the signing certificate was not issued by a signing authority of the directory"
        raise SignerCertificateInvalid(message)
    own, above = validity(certificate), validity(issuer)
    usable = Validity(max(own.first_ms, above.first_ms), min(own.last_ms, above.last_ms))
    if usable.first_ms > usable.last_ms:
        message = "the signing certificate is never valid at the same time as its authority"
        raise SignerCertificateInvalid(message)
    verifier = (
        PolicyBuilder()
        .store(Store([issuer]))
        .time(datetime.fromtimestamp(usable.first_ms / 1000, UTC))
        .max_chain_depth(0)
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=_signing_profile())
        .build_client_verifier()
    )
    try:
        verifier.verify(certificate, [])
    except VerificationError as error:
        message = f"the signing certificate is refused: {_first_line(error)}"
        raise SignerCertificateInvalid(message) from error
    return usable


def find_issuer(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """The authority whose key signed this certificate, or None. Names alone prove nothing, so the signature decides."""
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError):
            continue  # another name, or a key of another type
        except InvalidSignature:
            continue  # an authority of the same name with another key, as after a change of its key
        return authority
    return None


def _signing_profile() -> ExtensionPolicy:
    """The profile that a signing certificate must have. Any other critical extension is refused."""
    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
        .require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
        .require_present(x509.KeyUsage, Criticality.CRITICAL, _check_key_usage)
        .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _check_not_an_authority)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_extended_key_usage)
    )


def _check_key_usage(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage) -> None:
    if not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        message = "key usage is not digitalSignature alone"
        raise ValueError(message)


def _check_not_an_authority(
    _policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints | None
) -> None:
    if constraints is not None and constraints.ca:
        message = "it is an authority's certificate"
        raise ValueError(message)


def _check_extended_key_usage(
    _policy: Policy, _certificate: x509.Certificate, usages: x509.ExtendedKeyUsage | None
) -> None:
    if usages is not None and any(usage != DOCUMENT_SIGNING for usage in usages):
        message = "extended key usage allows more than document signing, so it is not a signing certificate"
        raise ValueError(message)


def _first_line(error: VerificationError) -> str:
    # The library adds the certificate with its subject. An operator needs only the reason.
    return str(error).partition(" (encountered processing")[0]
