"""Decide who signed a record. Broker, recipient and auditor use the same checks.

A record is its publisher's if all of this holds, checked in this order:

1. the type of its body is that of a record: BodyTypeUnsupported
2. its body is well formed, in every field: EnvelopeMalformed
3. it has a signature of each signer that its body names, in the same order, and of nobody else: EnvelopeMalformed,
   and if some are missing, SignatureMissing
4. each algorithm that the body names is one for records: EnvelopeMalformed
5. its kind belongs on the stream that it names: KindUnknown
6. each signature names the certificate that the body names: SignatureInvalid
7. the directory lists these certificates: SignerUnknown
8. the directory lists them for the agency that the body names as publisher, and their keys are of the algorithms that
   the body names: SignerNotPrincipal, SignatureInvalid
9. these certificates' keys signed exactly these bytes: SignatureInvalid
10. the signatures are those that the directory demands for the kind, of algorithms that had not ended when the record
   was accepted (broker/core/algorithms.py): SignatureMissing, AlgorithmEnded
11. the certificates were valid, and not revoked, when the record was accepted: SignerCertificateInvalid, SignerRevoked
12. the sections in this copy are those that were signed: SectionMismatch

A record may have more signatures than it needs. They hold too, or it is refused.

The body must be parsed to learn who signed it. Nobody may act on its content before (9) holds. Afterwards
broker/core/policy.py decides what the publisher may say, and to whom. The checks are split into functions, because the
broker checks the signatures of many records together: ``read_body`` is (1) and (2), ``claim`` is (3) to (8),
``check_signature`` is (9), ``check_proved`` is (10) to (12).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from broker.core.algorithms import ALGORITHMS, check_required, signs_records
from broker.core.envelope import BODY_TYPE
from broker.core.errors import (
    AlgorithmEnded,
    BodyTypeUnsupported,
    EnvelopeMalformed,
    KindUnknown,
    SectionMismatch,
    SignatureInvalid,
    SignatureMissing,
    SignerNotPrincipal,
)
from broker.core.sections import check_sections
from broker.core.streams import OWN_KINDS, check_kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.algorithms import Rules
    from broker.core.body import Body
    from broker.core.envelope import Envelope, Signature


class Certificate(Protocol):
    """A signing certificate that a directory lists."""

    @property
    def agency(self) -> str:
        """The agency that the directory lists it for."""

    @property
    def system(self) -> str:
        """The system of the agency that it names. With the agency, this is the principal."""

    @property
    def algorithm(self) -> str:
        """The signature algorithm of its key, as it is written in bodies."""

    @property
    def public_key_der(self) -> bytes:
        """Its public key, as SubjectPublicKeyInfo (DER)."""

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


class SignedBy(NamedTuple, Generic[_Certificate]):
    """A signature, and the certificate that is said to have made it."""

    certificate: _Certificate
    signature: Signature


class Claim(NamedTuple, Generic[_Certificate]):
    """A record, and the certificates that are said to have signed it. No signature is checked yet."""

    envelope: Envelope
    body: Body
    signers: tuple[SignedBy[_Certificate], ...]


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
        EnvelopeMalformed, KindUnknown, SignatureInvalid, SignatureMissing, SignerUnknown, SignerNotPrincipal
    """
    _check_count(envelope, body)
    # (5) Its kind.
    if not exchange or body.publisher != exchange:
        check_kind(body.kind, body.stream)
    elif (body.stream, body.kind) not in OWN_KINDS:
        message = "the record is the broker's own, and not of a kind that it writes there"
        raise KindUnknown(message)
    # (6) A signature only hints at its certificate. The signed body says which it is.
    for signature, signer in zip(envelope.signatures, body.signers, strict=True):
        if signature.certificate_sha256 != signer.certificate_sha256:
            message = "a signature's certificate is not the one that the body names"
            raise SignatureInvalid(message, record_id=body.record_id)
    signers = tuple([SignedBy(certificates.signer(each.certificate_sha256), each) for each in envelope.signatures])
    # (7) and (8) Listed, for the publisher, with a key of this algorithm.
    for (certificate, signature), signer in zip(signers, body.signers, strict=True):
        if certificate.agency != body.publisher:
            message = "a signing certificate is another agency's"
            raise SignerNotPrincipal(message, record_id=body.record_id)
        size = ALGORITHMS[signer.algorithm].signature_bytes
        if certificate.algorithm != signer.algorithm or len(signature.value) > size:
            message = f"a signature is not of {signer.algorithm}, as the body says"
            raise SignatureInvalid(message, record_id=body.record_id)
    return Claim(envelope, body, signers)


def _check_count(envelope: Envelope, body: Body) -> None:
    # (3) and (4) One signature of each signer, of an algorithm for records.
    missing = len(body.signers) - len(envelope.signatures)
    if missing < 0 or not envelope.signatures:
        message = "a record carries one signature of each signer that its body names"
        raise EnvelopeMalformed(message, record_id=body.record_id)
    if missing:
        message = f"of the {len(body.signers)} signatures that its body names, the record lacks {missing}"
        raise SignatureMissing(message, record_id=body.record_id)
    if not all(signs_records(signer.algorithm) for signer in body.signers):
        message = "the body names an algorithm that signs no records"
        raise EnvelopeMalformed(message, record_id=body.record_id)


def check_signature(claimed: Claim[_Certificate], *, holds: Sequence[bool] | None = None) -> None:
    """Check (9): the signatures over the exact bytes.

    Args:
        claimed: the record and its certificates.
        holds: the results for these signatures, if those of many records were checked together; None to check them
            here.

    Raises:
        SignatureInvalid: one of these keys did not sign these bytes.
    """
    if holds is None:
        for certificate, signature in claimed.signers:
            certificate.verify(claimed.envelope.signed_bytes, signature.value)
    elif not all(holds):
        message = "a signature is not by this key over these bytes"
        raise SignatureInvalid(message, record_id=claimed.body.record_id)


def check_proved(
    claimed: Claim[_Certificate], rules: Rules, at_ms: int, *, complete: bool, slack_ms: int = 0
) -> tuple[str, ...]:
    """Checks (10) to (12), for a record with valid signatures. Return the names of the sections that are not here.

    Args:
        claimed: the record and its certificates.
        rules: the directory version to judge by.
        at_ms: when it was accepted: milliseconds since the Unix epoch, UTC.
        complete: whether every section must be present, as at publishing.
        slack_ms: so long before its acceptance the broker may have looked what the directory demands. What was enough
            at one of both times is enough: a rule begins between them, or an algorithm ends.

    Raises:
        SignatureMissing, AlgorithmEnded, SignerCertificateInvalid, SignerRevoked, SectionMismatch
        RevocationUnavailable: no revocation list says whether a certificate was revoked.
    """
    # (10) Enough, at that time.
    signers = [each.certificate for each in claimed.signers]
    try:
        check_required(rules, claimed.body, signers, at_ms)
    except (SignatureMissing, AlgorithmEnded):
        if not slack_ms:
            raise
        check_required(rules, claimed.body, signers, at_ms - slack_ms)
    # (11) Valid at that time.
    for each in claimed.signers:
        each.certificate.check_valid(at_ms)
    # (12) The sections in this copy.
    envelope = claimed.envelope
    if complete and envelope.erased:
        message = "a record that is published has no erased sections: its publisher orders that afterwards"
        raise SectionMismatch(message, record_id=claimed.body.record_id)
    return check_sections(claimed.body, envelope.sections, complete=complete, erased=envelope.erased)
