"""Revocation lists: which certificates are revoked, and since when.

gRPC for Python cannot check them in the handshake. So they are checked at every call. A certificate is accepted only if
its authority's list says that it is not revoked. If there is no list, or only one past its next update and the grace
period, the certificate is refused. RFC 5280 section 5 gives the format.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from broker.core.errors import (
    CertificateInvalid,
    PeerIdentityMissing,
    PeerRevoked,
    RevocationListInvalid,
    RevocationUnavailable,
)
from broker.trust.certificates import find_issuer, fingerprint, parse_certificate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

    from broker.ports import Clock

_PEM_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_MAX_REMEMBERED_PEERS: Final = 4096


class Revocations(Protocol):
    """The revocation lists in force. Safe to call from any thread."""

    def listing(self, authority: x509.Certificate) -> RevocationList | None:
        """The list of this authority, or None if there is none."""


@dataclass(frozen=True, slots=True)
class RevocationList:
    """One authority's list, with a verified signature. Times are milliseconds since the Unix epoch, UTC.

    ``usable_until_ms`` is the next update plus the grace period. ``revoked`` gives the time of revocation by serial
    number.
    """

    number: int
    usable_until_ms: int
    revoked: Mapping[int, int]
    der: bytes

    def revoked_at(self, serial: int, at_ms: int) -> int | None:
        """When the certificate of this serial number was revoked, or None if it was not.

        Raises:
            RevocationUnavailable: at ``at_ms`` the list was too old to say.
        """
        if at_ms > self.usable_until_ms:
            message = "the revocation list is past its next update and the grace period"
            raise RevocationUnavailable(message, crl_number=str(self.number))
        return self.revoked.get(serial)


class RevocationLists:
    """Lists of several authorities, at most one for each. Never changes."""

    def __init__(self, documents: Iterable[bytes], authorities: Sequence[bytes], *, grace_ms: int) -> None:
        """Read the lists and verify each with its authority.

        Args:
            documents: CRLs, DER or PEM. One PEM document may hold several.
            authorities: certificates (DER) of the trusted authorities.
            grace_ms: how long a list is still used after its next update.

        Raises:
            RevocationListInvalid: one is malformed, none of the authorities signed it, or an authority has a second
                list.
            CertificateInvalid: an authority's certificate cannot be read.
        """
        trusted = [parse_certificate(authority) for authority in authorities]
        self._lists: dict[bytes, RevocationList] = {}
        for document in documents:
            for crl in _parse(document):
                authority = _authority_of(crl, trusted)
                if self._lists.setdefault(authority, listed := _read(crl, grace_ms)) is not listed:
                    message = "there are two revocation lists of one authority"
                    raise RevocationListInvalid(message)

    def listing(self, authority: x509.Certificate) -> RevocationList | None:
        """The list of this authority, or None if there is none."""
        return self._lists.get(fingerprint(authority))

    def documents(self) -> tuple[bytes, ...]:
        """Every list, DER."""
        return tuple(listed.der for listed in self._lists.values())

    def by_authority(self) -> Mapping[bytes, RevocationList]:
        """The lists by the SHA-256 of their authority's certificate."""
        return self._lists


class PeerRevocation:
    """The port RevocationCheck, for TLS certificates of given authorities."""

    def __init__(self, revocations: Revocations, authorities: Sequence[bytes], clock: Clock) -> None:
        """Check peers against these lists.

        Args:
            revocations: the lists in force. Every check asks for them again.
            authorities: certificates (DER) of the authorities that issue TLS certificates.
            clock: shows whether a list is too old.

        Raises:
            CertificateInvalid: an authority's certificate cannot be read.
        """
        self._revocations = revocations
        self._authorities = [parse_certificate(authority) for authority in authorities]
        self._clock = clock
        # By SHA-256 of the certificate. Finding the issuer costs a signature verification, and the issuer never
        # changes.
        self._issued: dict[bytes, tuple[x509.Certificate, int]] = {}

    def check(self, certificate_der: bytes) -> None:
        """Refuse a certificate that its authority revoked. A date of revocation in the future counts too.

        Raises:
            PeerRevoked: it is on the list.
            RevocationUnavailable: there is no list that says whether it was revoked.
            PeerIdentityMissing: it cannot be read as a certificate.
        """
        authority, serial = self._issuer_and_serial(certificate_der)
        listed = self._revocations.listing(authority)
        if listed is None:
            message = "there is no revocation list of the authority that issued the peer's certificate"
            raise RevocationUnavailable(message)
        if listed.revoked_at(serial, self._clock.now_ms()) is not None:
            message = "the peer's certificate is revoked"
            raise PeerRevoked(message, serial=f"{serial:x}")

    def _issuer_and_serial(self, certificate_der: bytes) -> tuple[x509.Certificate, int]:
        key = hashlib.sha256(certificate_der).digest()
        known = self._issued.get(key)
        if known is not None:
            return known
        try:
            certificate = parse_certificate(certificate_der)
        except CertificateInvalid as error:
            message = "the peer's certificate cannot be read"
            raise PeerIdentityMissing(message) from error
        authority = find_issuer(certificate, self._authorities)
        if authority is None:
            message = "the peer's certificate is of an authority that has no revocation list here"
            raise RevocationUnavailable(message)
        if len(self._issued) >= _MAX_REMEMBERED_PEERS:
            self._issued.clear()
        found = authority, certificate.serial_number
        self._issued[key] = found
        return found


def split_pem(document: bytes) -> list[bytes]:
    """The lists of a PEM document, one by one."""
    return [_PEM_BEGIN + block for block in document.split(_PEM_BEGIN)[1:]]


def pem_of(list_der: bytes) -> bytes:
    """A list as PEM."""
    return x509.load_der_x509_crl(list_der).public_bytes(Encoding.PEM)


def _parse(document: bytes) -> list[x509.CertificateRevocationList]:
    blocks = split_pem(document)
    try:
        if blocks:
            return [x509.load_pem_x509_crl(block) for block in blocks]
        return [x509.load_der_x509_crl(document)]
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        message = "a revocation list cannot be read"
        raise RevocationListInvalid(message) from error


def _authority_of(crl: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]) -> bytes:
    try:
        # The library parses a list only when it is used. So an invalid name is found only here.
        issuer = crl.issuer
    except ValueError as error:
        message = "a revocation list cannot be read"
        raise RevocationListInvalid(message) from error
    for authority in authorities:
        if issuer == authority.subject and _signed_by(crl, authority.public_key()):
            return fingerprint(authority)
    message = "a revocation list is not signed by a trusted authority"
    raise RevocationListInvalid(message)


def _signed_by(crl: x509.CertificateRevocationList, key: object) -> bool:
    issuer_key: CertificateIssuerPublicKeyTypes = key  # type: ignore[assignment] # a type that cannot sign is refused below
    try:
        return crl.is_signature_valid(issuer_key)
    except (TypeError, ValueError):
        return False


def _read(crl: x509.CertificateRevocationList, grace_ms: int) -> RevocationList:
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        message = "a revocation list has no CRL number, so an older one could not be told from it"
        raise RevocationListInvalid(message) from error
    if crl.next_update_utc is None:
        message = "a revocation list does not say when its next update is due"
        raise RevocationListInvalid(message)
    # Delta lists, and lists of only some certificates, have a critical extension (RFC 5280 section 5.2).
    if any(extension.critical for extension in crl.extensions):
        message = "a revocation list has a critical extension: it is not a complete list"
        raise RevocationListInvalid(message)
    return RevocationList(
        number=number,
        usable_until_ms=int(crl.next_update_utc.timestamp() * 1000) + grace_ms,
        revoked={entry.serial_number: int(entry.revocation_date_utc.timestamp() * 1000) for entry in crl},
        der=crl.public_bytes(Encoding.DER),
    )
