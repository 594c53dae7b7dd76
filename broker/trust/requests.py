"""Certificate requests (PKCS #10, RFC 2986): an agency asks for a certificate, and its private key stays where it is.

What is in a request counts for nothing by itself: whoever has the key wrote it. So whoever signs it, or lists its
certificate, says whose it must be, and compares the key's fingerprint with what the agency says over another channel.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core.errors import PeerIdentityMissing, RequestInvalid
from broker.core.identity import Principal
from broker.files import read_file
from broker.trust.keys import is_p256

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_REQUEST_BYTES: Final = 64 * 1024
RequestKey: TypeAlias = ec.EllipticCurvePublicKey | mldsa.MLDSA65PublicKey
_PEM: Final = b"-----BEGIN"
_EXTENSIONS: Final = frozenset({x509.SubjectAlternativeName.oid, x509.ExtendedKeyUsage.oid})


class CertificateRequest(NamedTuple):
    """A request whose maker has the private key. ``request`` has its name and usages, for ``certs.profiles``."""

    request: x509.CertificateSigningRequest
    principal: Principal
    key: RequestKey
    server_names: tuple[str, ...]

    @property
    def key_sha256(self) -> str:
        """The fingerprint of its key, in hexadecimal."""
        return key_sha256(self.key)


def key_sha256(key: RequestKey) -> str:
    """The fingerprint of a key: SHA-256 of SubjectPublicKeyInfo, in hexadecimal. Every command prints this one."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def make_request(
    key: ec.EllipticCurvePrivateKey | mldsa.MLDSA65PrivateKey,
    subject: x509.Name,
    principal: Principal,
    usages: Sequence[x509.ObjectIdentifier],
    server_names: Sequence[x509.GeneralName] = (),
) -> bytes:
    """A request, as a file in PEM. Its signature proves that its maker has the private key."""
    names = [x509.UniformResourceIdentifier(principal.spiffe_id), *server_names]
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
    )
    # ML-DSA has no hash function beside it.
    digest = hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(key, digest).public_bytes(Encoding.PEM)


def read_request(path: Path) -> CertificateRequest:
    """Read a request, PEM or DER, and check all that it can prove.

    Raises:
        RequestInvalid: it cannot be read, nobody has shown to have its key, its key is neither on P-256 nor of
            ML-DSA-65, it names no principal or several, or it asks for more than names and usages, such as to be an
            authority.
    """
    try:
        data = read_file(path, MAX_REQUEST_BYTES)
        request = x509.load_pem_x509_csr(data) if _PEM in data else x509.load_der_x509_csr(data)
        # The library parses these only when they are used.
        asked, key, signed = request.extensions, request.public_key(), request.is_signature_valid
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion):
        _refuse(path, "cannot be read as a certificate request")
    # (1) Whoever made it has the private key.
    if not signed:
        _refuse(path, "is not signed with the key that it names: nobody has shown to have this key")
    # (2) A key that certificates of this exchange may have.
    if not isinstance(key, mldsa.MLDSA65PublicKey) and not (
        isinstance(key, ec.EllipticCurvePublicKey) and is_p256(key)
    ):
        _refuse(path, "has a key that is neither on P-256 nor of ML-DSA-65")
    # (3) It asks for names and usages, and for nothing else.
    if {extension.oid for extension in asked} != _EXTENSIONS:
        _refuse(path, "asks for something else than names and usages, or does not say which")
    # (4) It names exactly one principal.
    names = asked.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = tuple(map(str, names.get_values_for_type(x509.IPAddress)))
    uris, servers = names.get_values_for_type(x509.UniformResourceIdentifier), names.get_values_for_type(x509.DNSName)
    if len(uris) != 1 or len(uris) + len(servers) + len(addresses) != len(list(names)):
        _refuse(path, "does not name exactly one principal, with nothing else than names of servers beside it")
    try:
        principal = Principal.parse(uris[0])
    except PeerIdentityMissing as error:
        _refuse(path, f"names no principal of an exchange: {error.message}")
    return CertificateRequest(request, principal, key, (*servers, *addresses))


def _refuse(path: Path, why: str) -> NoReturn:
    message = f"{path.name} {why}"
    raise RequestInvalid(message)
