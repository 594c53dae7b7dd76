"""A record's signature as CMS SignedData (RFC 5652), without any key: the same signature in another wrapper.

It has no signed attributes. Then the signature is over the content itself (RFC 5652 section 5.4), which here is the
record's signed bytes. The content is detached. The signer's certificate is inside.

Without signed attributes, a signature over a content that is itself a SET OF Attribute could pass for another one
(draft-ietf-lamps-cms-euf-cma-signeddata). Signed bytes begin with ``DSSEv1 ``, and a SET begins with 0x31, so no record
can be read so.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat import asn1

from broker.core.errors import ExportInvalid
from broker.trust.certificates import der, parse_certificate

_SIGNED_DATA: Final = x509.ObjectIdentifier("1.2.840.113549.1.7.2")
_DATA: Final = x509.ObjectIdentifier("1.2.840.113549.1.7.1")
_SHA256: Final = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_ECDSA_SHA256: Final = x509.ObjectIdentifier("1.2.840.10045.4.3.2")
_VERSION: Final = 1
"""Of SignedData and of SignerInfo, where the content is plain data and the signer is named by issuer and number."""


@asn1.sequence
class _Algorithm:
    # Both algorithms go without parameters (RFC 5754 sections 2 and 3.2).
    oid: x509.ObjectIdentifier


@asn1.sequence
class _DetachedContent:
    content_type: x509.ObjectIdentifier


@asn1.sequence
class _IssuerAndSerialNumber:
    issuer: asn1.TLV
    serial_number: int


@asn1.sequence
class _SignerInfo:
    version: int
    sid: _IssuerAndSerialNumber
    digest_algorithm: _Algorithm
    signature_algorithm: _Algorithm
    signature: bytes


@asn1.sequence
class _SignedData:
    version: int
    digest_algorithms: asn1.SetOf[_Algorithm]
    content: _DetachedContent
    certificates: Annotated[asn1.SetOf[x509.Certificate], asn1.Implicit(0)]
    signers: asn1.SetOf[_SignerInfo]


@asn1.sequence
class _ContentInfo:
    content_type: x509.ObjectIdentifier
    content: Annotated[_SignedData, asn1.Explicit(0)]


class DetachedSignature(NamedTuple):
    """A signature (ECDSA with SHA-256, ASN.1 DER) and its signer's certificate. Nothing is checked yet."""

    value: bytes
    certificate: x509.Certificate


def marshal_cms(signature: DetachedSignature) -> bytes:
    """Write the SignedData of a signature, DER."""
    value, certificate = signature
    sha256 = _Algorithm(oid=_SHA256)
    issuer = asn1.decode_der(asn1.TLV, certificate.issuer.public_bytes())
    signer = _SignerInfo(
        version=_VERSION,
        sid=_IssuerAndSerialNumber(issuer=issuer, serial_number=certificate.serial_number),
        digest_algorithm=sha256,
        signature_algorithm=_Algorithm(oid=_ECDSA_SHA256),
        signature=value,
    )
    signed = _SignedData(
        version=_VERSION,
        digest_algorithms=asn1.SetOf([sha256]),
        content=_DetachedContent(content_type=_DATA),
        certificates=asn1.SetOf([certificate]),
        signers=asn1.SetOf([signer]),
    )
    return asn1.encode_der(_ContentInfo(content_type=_SIGNED_DATA, content=signed))


def parse_cms(document: bytes) -> DetachedSignature:
    """Read a SignedData. Only the exact bytes that ``marshal_cms`` writes are accepted.

    Raises:
        ExportInvalid: it is something else.
        CertificateInvalid: the certificate in it cannot be read.
    """
    try:
        signed = asn1.decode_der(_ContentInfo, document).content
        (certificate,), (signer,) = signed.certificates.as_list(), signed.signers.as_list()
    except (ValueError, x509.InvalidVersion) as error:
        message = "the file is not a CMS signature with one signer and its certificate"
        raise ExportInvalid(message) from error
    found = DetachedSignature(signer.signature, parse_certificate(der(certificate)))
    if marshal_cms(found) != document:
        message = "the file is not the CMS signature of a record, byte for byte"
        raise ExportInvalid(message)
    return found
