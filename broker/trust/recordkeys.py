"""The keys that sign records: ECDSA on P-256, and ML-DSA-65 (FIPS 204) beside it.

Which algorithms there are stands in broker/core/algorithms.py. ML-DSA signs the same bytes as ECDSA does, with an empty
context: they begin with the type of what is signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, mldsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
    load_pem_private_key,
)

from broker.core.algorithms import ALGORITHMS
from broker.core.envelope import ECDSA_P256_SHA256, ML_DSA_65
from broker.core.errors import CertificateInvalid, KeyInvalid
from broker.trust.certificates import fingerprint, load_certificates
from broker.trust.keys import is_p256
from broker.trust.privatefiles import read_private_file
from broker.trust.signing import ecdsa_verifies

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

RecordKey: TypeAlias = ec.EllipticCurvePublicKey | mldsa.MLDSA65PublicKey
_SIGNATURE_BYTES: Final = ALGORITHMS[ML_DSA_65].signature_bytes


def record_key(certificate: x509.Certificate) -> RecordKey:
    """The certificate's key.

    Raises:
        CertificateInvalid: it is neither on P-256 nor of ML-DSA-65, so it signs no records.
    """
    return _checked(certificate.public_key())


def load_record_key(der: bytes) -> RecordKey:
    """A key from SubjectPublicKeyInfo (DER) that ``record_key`` gave.

    Raises:
        CertificateInvalid: it signs no records.
    """
    return _checked(load_der_public_key(der))


def algorithm_of(key: object) -> str:
    """The name of the algorithm of a key that signs records. Empty: it signs none."""
    if isinstance(key, mldsa.MLDSA65PublicKey):
        return ML_DSA_65
    return ECDSA_P256_SHA256 if is_p256(key) else ""


def verifies(key: RecordKey, message: bytes, signature: bytes) -> bool:
    """Whether this is a signature by this key over exactly these bytes."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return ecdsa_verifies(key, message, signature)
    if len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


class MlDsaSigner:
    """An ML-DSA-65 key with its certificate (the port Signer). Keeps no state between calls, so any thread may sign."""

    algorithm: Final = ML_DSA_65

    def __init__(self, key: mldsa.MLDSA65PrivateKey, certificate: x509.Certificate) -> None:
        """Pair a key with its certificate.

        Raises:
            KeyInvalid: the certificate belongs to another key.
        """
        if key.public_key() != certificate.public_key():
            message = "the ML-DSA-65 private key does not belong to its certificate"
            raise KeyInvalid(message)
        self._key = key
        self.certificate: Final = certificate
        self.certificate_sha256: Final = fingerprint(certificate)

    @classmethod
    def load(cls, key_path: Path, certificate_path: Path) -> MlDsaSigner:
        """Read both from PEM files.

        Raises:
            KeyInvalid: unreadable, open to group or others, encrypted, or of another type.
            CertificateInvalid
        """
        return cls(load_mldsa_key(key_path), load_certificates(certificate_path)[0])

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes: 3,309 bytes of ML-DSA-65. Each call gives other bytes (FIPS 204, hedged)."""
        return self._key.sign(message)


def load_mldsa_key(path: Path) -> mldsa.MLDSA65PrivateKey:
    """Read an ML-DSA-65 private key in PEM.

    Raises:
        KeyInvalid: unreadable, open to group or others, encrypted, or of another type.
    """
    data = read_private_file(path)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's message may quote the bytes.
        key = None
    if not isinstance(key, mldsa.MLDSA65PrivateKey):
        message = f"{path.name} cannot be read as an unencrypted ML-DSA-65 private key in PEM"
        raise KeyInvalid(message)
    return key


def mldsa_key_pem(key: mldsa.MLDSA65PrivateKey) -> bytes:
    """PKCS #8 in PEM (RFC 9881, the seed), not encrypted. Only the file's mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _checked(key: object) -> RecordKey:
    if isinstance(key, mldsa.MLDSA65PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and is_p256(key):
        return key
    message = "the certificate's key is neither on P-256 nor of ML-DSA-65"
    raise CertificateInvalid(message)
