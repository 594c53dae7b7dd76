"""A record's signature in the formats of others: CMS, sigstore, DSSE in JSON. Nothing is signed anew.

Each has the publisher's own signature over the record's signed bytes, and what its verifiers need beside it. Each is
checked here too, as strictly as any of them: a file that is not exactly what is written here does not pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.dsse import DsseEnvelope, DsseSignature
from broker.core.envelope import BODY_TYPE, pae
from broker.core.errors import ExportInvalid, SignatureInvalid, SignerCertificateInvalid, SignerRevoked
from broker.core.sigstore import (
    NamedKey,
    SigstoreBundle,
    StampedKey,
    TrustedChain,
    marshal_sigstore,
    parse_sigstore,
    trusted_root,
)
from broker.core.strict import NotStrict, parse_json
from broker.trust.certificates import (
    Validity,
    der,
    fingerprint,
    p256_public_key,
    signing_validity,
    validity,
)
from broker.trust.cms import DetachedSignature, marshal_cms, parse_cms
from broker.trust.directory_fields import rfc3339
from broker.trust.signing import ecdsa_verifies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from broker.core.envelope import Envelope
    from broker.trust.timestamps import TimestampAuthority


class SignedRecord(NamedTuple):
    """A record whose publisher signed it.

    Attributes:
        envelope: the record.
        certificate: that of a signer with an ECDSA key. A record can have more signatures; an export shows one.
        authority: that of the signing authority which issued it, as the signed directory lists it.
        accepted_at_ms: when the exchange accepted the record: milliseconds since the Unix epoch, UTC.
        revoked_at_ms: when the certificate was revoked, on the same scale. None: the bundle's lists do not say so.
    """

    envelope: Envelope
    certificate: x509.Certificate
    authority: x509.Certificate
    accepted_at_ms: int
    revoked_at_ms: int | None = None

    @property
    def signature(self) -> bytes:
        """The signature by this certificate: ECDSA P-256 with SHA-256, ASN.1 DER."""
        named = fingerprint(self.certificate)
        return next(each.value for each in self.envelope.signatures if each.certificate_sha256 == named)

    @property
    def signer(self) -> TrustedSigner:
        """What decides whether the signature counts."""
        return TrustedSigner(self.certificate, self.authority, self.accepted_at_ms, self.revoked_at_ms)


class TrustedSigner(NamedTuple):
    """A signer, the authority that must have issued its certificate, and a time at which both must be valid.

    ``revoked_at_ms`` is when the certificate was revoked. None: it was not, as far as is known.
    """

    certificate: x509.Certificate
    authority: x509.Certificate
    at_ms: int
    revoked_at_ms: int | None = None

    def check(self, message: bytes, signature: bytes) -> None:
        """Check that this signer signed these bytes, with a signing certificate of this authority.

        Raises:
            SignerCertificateInvalid, SignerRevoked, SignatureInvalid
        """
        usable = signing_validity(self.certificate, [self.authority])
        if not usable.first_ms <= self.at_ms <= usable.last_ms:
            text = "the signing certificate is not valid at the time of the record"
            raise SignerCertificateInvalid(text)
        if self.revoked_at_ms is not None and self.revoked_at_ms <= self.at_ms:
            text = "the signing certificate was revoked at the time of the record, or of its timestamp"
            raise SignerRevoked(text, revoked_at_ms=str(self.revoked_at_ms))
        if not ecdsa_verifies(p256_public_key(self.certificate), message, signature):
            text = "the signature is not by this key over these bytes"
            raise SignatureInvalid(text)


def cms_of(record: SignedRecord) -> bytes:
    """The signature as CMS SignedData, DER. The signed bytes are beside it."""
    return marshal_cms(DetachedSignature(record.signature, record.certificate))


def check_cms(document: bytes, message: bytes, signer: TrustedSigner) -> None:
    """Check a CMS signature over these bytes, by this signer, whose certificate is in it.

    Raises:
        ExportInvalid, CertificateInvalid, SignerCertificateInvalid, SignatureInvalid
    """
    found = parse_cms(document)
    # Not only of the same key and name: a certificate has bits that its authority's signature does not cover.
    if found.certificate != signer.certificate:
        text = "the CMS signature has another signer's certificate"
        raise ExportInvalid(text)
    signer.check(message, found.value)


def dsse_of(record: SignedRecord) -> bytes:
    """The record's body with its signature, as DSSE in JSON. The key id is the SHA-256 of the certificate."""
    signature = DsseSignature(fingerprint(record.certificate).hex(), record.signature)
    return DsseEnvelope(record.envelope.body_type, record.envelope.body, (signature,)).encode()


def check_dsse(document: bytes, signer: TrustedSigner) -> bytes:
    """Check a DSSE document by this signer. Return the body.

    Raises:
        ExportInvalid, SignerCertificateInvalid, SignatureInvalid
    """
    try:
        found = DsseEnvelope.from_json(parse_json(document))
    except NotStrict as error:
        text = f"the file is {error}"
        raise ExportInvalid(text) from error
    kind, body, signatures = found
    expected = fingerprint(signer.certificate).hex()
    if [signature.key_id for signature in signatures] != [expected] or kind != BODY_TYPE:
        text = "the file is not a record with the one signature of this signer"
        raise ExportInvalid(text)
    if found.encode() != document:
        text = "the file is not the DSSE document of a record, byte for byte"
        raise ExportInvalid(text)
    signer.check(pae(kind, body), signatures[0].value)
    return body


def sigstore_of(record: SignedRecord, timestamp: bytes = b"") -> bytes:
    """The signature as a sigstore bundle. The artifact is the signed bytes.

    Args:
        record: the record.
        timestamp: a timestamp response over the signature. With it the bundle has the certificate, otherwise only its
            SHA-256 as a hint.
    """
    key: StampedKey | NamedKey = NamedKey(fingerprint(record.certificate).hex())
    if timestamp:
        key = StampedKey(der(record.certificate), timestamp)
    return marshal_sigstore(record.envelope.signed_bytes, SigstoreBundle(record.signature, key))


def check_sigstore(
    document: bytes, message: bytes, signer: TrustedSigner, timestamps: TimestampAuthority | None = None
) -> None:
    """Check a sigstore bundle over these bytes, by this signer.

    Args:
        document: the bundle.
        message: the artifact.
        signer: the signer. If the bundle has a timestamp, this decides about the time.
        timestamps: the pinned timestamp authority, for a bundle that has a timestamp.

    Raises:
        ExportInvalid, SignerCertificateInvalid, SignerRevoked, SignatureInvalid, TimestampInvalid
    """
    signature, key = parse_sigstore(document, message)
    match key:
        case StampedKey(certificate, timestamp) if timestamps is not None and certificate == der(signer.certificate):
            signer = signer._replace(at_ms=timestamps.verify(timestamp, signature))
        case NamedKey(hint) if hint == fingerprint(signer.certificate).hex():
            pass
        case _:
            text = "the bundle names another key, or has a timestamp and no authority is pinned"
            raise ExportInvalid(text)
    signer.check(message, signature)


def sigstore_root(authority: x509.Certificate, timestamps: Sequence[x509.Certificate] = ()) -> bytes:
    """The trusted root for a sigstore bundle: the signing authority, and the chain of the timestamp authority."""
    return trusted_root(_chain([authority]), _chain(timestamps) if timestamps else None)


def _chain(certificates: Sequence[x509.Certificate]) -> TrustedChain:
    periods = [validity(certificate) for certificate in certificates]
    usable = Validity(max(item.first_ms for item in periods), min(item.last_ms for item in periods))
    return TrustedChain([der(item) for item in certificates], rfc3339(usable.first_ms), rfc3339(usable.last_ms))
