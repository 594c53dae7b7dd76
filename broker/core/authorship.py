"""Decide who signed a record. Broker, recipient and auditor use the same checks.

A record is its publisher's if all of this holds, checked in this order:

1. the type of its body is that of a record: BodyTypeUnsupported
2. its body is well formed, in every field: EnvelopeMalformed
3. it has exactly one signature, and its body names exactly one signer: EnvelopeMalformed. Both are lists, in the same
   order. A later directory will say how many signatures a kind needs, and whose
4. the algorithm that the body names is the one for records: EnvelopeMalformed
5. its kind belongs on the stream that it names: KindUnknown
6. the signature names the certificate that the body names: SignatureInvalid
7. the directory lists that certificate: SignerUnknown
8. the directory lists it for the agency that the body names as publisher: SignerNotPrincipal
9. that certificate's key signed exactly these bytes: SignatureInvalid
10. the certificate was valid, and not revoked, when the record was accepted: SignerCertificateInvalid, SignerRevoked
11. the sections in this copy are those that were signed: SectionMismatch

The body must be parsed to learn who signed it. Nobody may act on its content before (9) holds. Afterwards
broker/core/policy.py decides what the publisher may say, and to whom. The checks are split into functions, because the
broker checks the signatures of many records together: ``read_body`` is (1) and (2), ``claim`` is (3) to (8),
``check_signature`` is (9), ``check_proved`` is (10) and (11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from broker.core.envelope import BODY_TYPE, ECDSA_P256_SHA256
from broker.core.errors import (
    BodyTypeUnsupported,
    EnvelopeMalformed,
    KindUnknown,
    SectionMismatch,
    SignatureInvalid,
    SignerNotPrincipal,
)
from broker.core.sections import check_sections
from broker.core.streams import OWN_KINDS, check_kind

if TYPE_CHECKING:
    from broker.core.body import Body
    from broker.core.envelope import Envelope, Signature


class Certificate(Protocol):
    """A signing certificate that a directory lists."""

    @property
    def agency(self) -> str:
        """The agency that the directory lists it for."""

    @property
    def revoked_at_ms(self) -> int | None:
        """When it was revoked (epoch milliseconds, UTC). None: no list says so."""

    @property
    def retired_at_ms(self) -> int | None:
        """When its agency retired it (epoch milliseconds, UTC). None: it is in use."""

    @property
    def ended_at_ms(self) -> int | None:
        """The first time at which it is past its end, or retired (epoch milliseconds, UTC). None: it never was good."""

    def check_valid(self, at_ms: int) -> None:
        """Raise unless it was valid and unrevoked at this time."""

    def check_trusted(self, of_ms: int, now_ms: int) -> None:
        """Raise if it had ended before the time ``of_ms``, or is revoked at ``now_ms``."""

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raise unless it signed these bytes."""


_Certificate = TypeVar("_Certificate", bound=Certificate)
_Listed_co = TypeVar("_Listed_co", bound=Certificate, covariant=True)


class Certificates(Protocol[_Listed_co]):
    """The signing certificates of one directory version."""

    def signer(self, certificate_sha256: bytes) -> _Listed_co:
        """The certificate of this fingerprint, or SignerUnknown."""


class BodyReader(Protocol):
    """Reads bodies."""

    def parse_body(self, body: bytes) -> Body:
        """Read a body, or raise EnvelopeMalformed."""


class Claim(NamedTuple, Generic[_Certificate]):
    """A record, and the certificate that is said to have signed it. The signature is not checked yet."""

    envelope: Envelope
    body: Body
    certificate: _Certificate
    signature: Signature


def read_body(envelope: Envelope, reader: BodyReader) -> Body:
    """Checks (1) and (2).

    Raises:
        BodyTypeUnsupported, EnvelopeMalformed
    """
    # (1) The signature covers the type, so no other statement of an agency can pass as a record.
    if envelope.body_type != BODY_TYPE:
        message = "the envelope's body type is not that of a record"
        raise BodyTypeUnsupported(message)
    # (2) Its form.
    return reader.parse_body(envelope.body)


def claim(
    envelope: Envelope, body: Body, certificates: Certificates[_Certificate], *, exchange: str = ""
) -> Claim[_Certificate]:
    """Checks (3) to (8): who is said to have signed it.

    Args:
        envelope: the record.
        body: the result of ``read_body``.
        certificates: those of the directory version to judge by.
        exchange: the agency id under which the broker signs its own records, if they may come here. They have their
            own kinds, which nobody else may use.

    Raises:
        EnvelopeMalformed, KindUnknown, SignatureInvalid, SignerUnknown, SignerNotPrincipal
    """
    # (3) and (4) One signature, by one signer, of the one algorithm.
    if len(envelope.signatures) != 1 or [signer.algorithm for signer in body.signers] != [ECDSA_P256_SHA256]:
        message = f"a record carries exactly one signature, of algorithm {ECDSA_P256_SHA256}"
        raise EnvelopeMalformed(message, record_id=body.record_id)
    (signature,), (signer,) = envelope.signatures, body.signers
    # (5) Its kind.
    if not exchange or body.publisher != exchange:
        check_kind(body.kind, body.stream)
    elif (body.stream, body.kind) not in OWN_KINDS:
        message = "the record is the broker's own, and not of a kind that it writes there"
        raise KindUnknown(message)
    # (6) The signature only hints at its certificate. The signed body says which it is.
    if signature.certificate_sha256 != signer.certificate_sha256:
        message = "the signature's certificate is not the one that the body names"
        raise SignatureInvalid(message, record_id=body.record_id)
    # (7) and (8) Listed, for the publisher.
    certificate = certificates.signer(signer.certificate_sha256)
    if certificate.agency != body.publisher:
        message = "the signing certificate is another agency's"
        raise SignerNotPrincipal(message, record_id=body.record_id)
    return Claim(envelope, body, certificate, signature)


def check_signature(claimed: Claim[_Certificate], *, holds: bool | None = None) -> None:
    """Check (9): the signature over the exact bytes.

    Args:
        claimed: the record and its certificate.
        holds: the result for this signature, if many signatures were checked together; None to check it here.

    Raises:
        SignatureInvalid: this key did not sign these bytes.
    """
    if holds is None:
        claimed.certificate.verify(claimed.envelope.signed_bytes, claimed.signature.value)
    elif not holds:
        message = "the signature is not by this key over these bytes"
        raise SignatureInvalid(message, record_id=claimed.body.record_id)


def check_proved(claimed: Claim[_Certificate], at_ms: int, *, complete: bool) -> tuple[str, ...]:
    """Checks (10) and (11), for a record with a valid signature. Return the names of the sections that are not here.

    Args:
        claimed: the record and its certificate.
        at_ms: when it was accepted: milliseconds since the Unix epoch, UTC.
        complete: whether every section must be present, as at publishing.

    Raises:
        SignerCertificateInvalid, SignerRevoked, SectionMismatch
        RevocationUnavailable: no revocation list says whether it was revoked.
    """
    # (10) Valid at that time.
    claimed.certificate.check_valid(at_ms)
    # (11) The sections in this copy.
    if complete and claimed.envelope.erased:
        message = "a record that is published has no erased sections: its publisher orders that afterwards"
        raise SectionMismatch(message, record_id=claimed.body.record_id)
    envelope = claimed.envelope
    return check_sections(claimed.body, envelope.sections, complete=complete, erased=envelope.erased)
