"""Whose signatures a record gets, by the newest directory, and how those of a second principal come to it.

Every signature covers the whole body, and the body names all signers. So a publisher must know who signs second before
it signs. It signs itself, and its envelope has fewer signatures than its body names. The others sign the same bytes in
the same order (``countersign``), and only then the record is complete.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from broker.core.algorithms import ANY_SIGNATURE, end_of, rule_for, rules_from, unended
from broker.core.body import NamedSigner
from broker.core.dsse import DsseEnvelope, DsseSignature
from broker.core.envelope import BODY_TYPE, Signature
from broker.core.errors import AlgorithmEnded, SignatureInvalid, SigningKeyMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.authorship import Certificate, Certificates
    from broker.core.body import Body
    from broker.core.envelope import Envelope
    from broker.core.policy import Directory
    from broker.ports import Signer


class OtherSigner(NamedTuple):
    """A certificate of another principal of the publisher, who signs after it."""

    system: str
    named: NamedSigner


class Signers(NamedTuple):
    """Who signs a record: the publisher's own keys, and all signers as the body names them, its own first."""

    own: tuple[Signer, ...]
    named: tuple[NamedSigner, ...]


class Signing(NamedTuple):
    """What an edge signs with beside its first key, by the newest directory that it knows.

    ``more`` are further keys of the same principal, of other algorithms. ``others`` are certificates of other
    principals, in the order in which they sign. Without a directory nothing is demanded.
    """

    directory: Callable[[], Directory] | None = None
    more: tuple[Signer, ...] = ()
    others: tuple[OtherSigner, ...] = ()

    def signers(self, publisher: str, kind: str, at_ms: int, first: Signer) -> Signers:
        """Who signs a record of this kind.

        Args:
            publisher: the agency.
            kind: the kind of the record.
            at_ms: now: milliseconds since the Unix epoch, UTC.
            first: the first key of the publishing system.

        Raises:
            SigningKeyMissing: a key is not here, the directory does not list its certificate, the second principal is
                not known, or all algorithms that are demanded have ended. Nothing was signed.
            PeerUnknown: the directory does not list the publisher.
        """
        if self.directory is None:
            return _only(first)
        directory = self.directory()
        # What is published now may be accepted when another of these rules counts already, or by a clock that is
        # not this one. So it gets the signatures for all of them, also of an algorithm that has just ended.
        rules = rules_from(directory, kind, at_ms)
        wanted = tuple(dict.fromkeys(name for rule in rules for name in rule.algorithms or self._any(directory, first)))
        needed = unended(directory, dict.fromkeys(name for rule in rules for name in rule.algorithms), at_ms)
        try:
            rule_for(directory, kind, at_ms)
        except AlgorithmEnded as error:
            raise SigningKeyMissing(error.message) from error
        if rules == [ANY_SIGNATURE] and end_of(directory, first.algorithm) is None:
            # Whether the directory lists this one is for the broker to say.
            return _only(first)
        listed = {hashlib.sha256(each).digest() for each in directory.agency(publisher).signing_certificates}
        keys = {each.algorithm: each for each in (first, *self.more) if each.certificate_sha256 in listed}
        if not keys.keys() >= set(needed):
            _refuse(kind, f"a signature of each of {', '.join(needed)}, and a listed key of one is not here")
        if not unended(directory, keys, at_ms):
            _refuse(kind, "a signature of an algorithm that has not ended, and a listed key of one is not here")
        own = tuple(keys[name] for name in wanted if name in keys)
        named, principals = [_named(each) for each in own], 1
        most = max(rule.principals for rule in rules)
        systems = dict.fromkeys(each.system for each in self.others if each.named.certificate_sha256 in listed)
        for system in systems:
            theirs = {each.named.algorithm: each.named for each in self.others if each.system == system}
            if principals < most and theirs.keys() >= set(needed):
                named += [theirs[name] for name in wanted if name in theirs]
                principals += 1
        if principals < most:
            _refuse(kind, f"signatures of {most} principals, and so many are not set here")
        return Signers(own, tuple(named))

    def _any(self, directory: Directory, first: Signer) -> tuple[str, ...]:
        """The algorithms with which it signs what any one is enough for: its first, and all if that has an end."""
        more = () if end_of(directory, first.algorithm) is None else self.more
        return tuple(each.algorithm for each in (first, *more))


ALONE: Final = Signing()
"""Every record has one signature, by the first key."""


def outstanding(envelope: Envelope, body: Body) -> tuple[NamedSigner, ...]:
    """The signers that the body names whose signatures the envelope lacks, in their order."""
    return body.signers[len(envelope.signatures) :]


def countersign(envelope: Envelope, body: Body, keys: Sequence[Signer]) -> bytes:
    """Sign a record as a second principal: a DSSE envelope in JSON of the body, with these keys' signatures.

    Args:
        envelope: the record that waits.
        body: its body, which the caller has shown to who signs.
        keys: the keys of the second principal.

    Raises:
        SigningKeyMissing: the body names none of these keys as a signer whose signature is outstanding.
    """
    held = {key.certificate_sha256: key for key in keys}
    due = [held[each.certificate_sha256] for each in outstanding(envelope, body) if each.certificate_sha256 in held]
    if not due:
        _refuse(body.kind, "a signature of another key: the record names none of these, or has it already")
    message = envelope.signed_bytes
    return DsseEnvelope(
        BODY_TYPE,
        envelope.body,
        tuple(DsseSignature(key.certificate_sha256.hex(), key.sign(message)) for key in due),
    ).encode()


def countersignatures(
    envelope: Envelope, body: Body, document: DsseEnvelope, certificates: Certificates[Certificate]
) -> dict[bytes, bytes]:
    """The outstanding signatures of a record that are in a document: by the certificate's fingerprint.

    Args:
        envelope: the record that waits.
        body: its body.
        document: what ``countersign`` made.
        certificates: those of the directory.

    Raises:
        SignatureInvalid: it is of another record, has no signature that is outstanding, or a key did not sign these
            bytes.
        SignerUnknown: the directory does not list a certificate.
    """
    if (document.payload_type, document.payload) != (envelope.body_type, envelope.body):
        message = "the countersignature is of another record"
        raise SignatureInvalid(message, record_id=body.record_id)
    due = {each.certificate_sha256.hex(): each.certificate_sha256 for each in outstanding(envelope, body)}
    found = {due[each.key_id]: each.value for each in document.signatures if each.key_id in due}
    if not found:
        message = "the countersignature is of nobody whom the body names"
        raise SignatureInvalid(message, record_id=body.record_id)
    for certificate_sha256, value in found.items():
        certificates.signer(certificate_sha256).verify(envelope.signed_bytes, value)
    return found


def completed(envelope: Envelope, body: Body, found: Mapping[bytes, bytes]) -> Envelope:
    """A record with the signatures of its other signers, as far as each one before is there too.

    Args:
        envelope: the record that waits.
        body: its body.
        found: what ``countersignatures`` returned, of all documents together: they come in any order.
    """
    signatures = list(envelope.signatures)
    for signer in outstanding(envelope, body):
        if signer.certificate_sha256 not in found:
            break
        signatures.append(Signature(signer.certificate_sha256, found[signer.certificate_sha256]))
    return replace(envelope, signatures=tuple(signatures))


def _only(signer: Signer) -> Signers:
    return Signers((signer,), (_named(signer),))


def _named(signer: Signer) -> NamedSigner:
    return NamedSigner(signer.certificate_sha256, signer.algorithm)


def _refuse(kind: str, needs: str) -> NoReturn:
    message = f"a {kind} needs {needs}"
    raise SigningKeyMissing(message)
