"""The signing certificates that the directory lists, ready to verify with.

Paths are validated when the keyring is built, once for each directory version. Then each record needs only two
comparisons of times, one look-up of a serial number, and the check of the signature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core.errors import (
    CertificateInvalid,
    DirectoryInvalid,
    PeerIdentityMissing,
    RevocationUnavailable,
    SignatureInvalid,
    SignerCertificateInvalid,
    SignerRevoked,
    SignerUnknown,
)
from broker.trust.certificates import (
    Validity,
    find_issuer,
    fingerprint,
    parse_certificate,
    principal_of,
    signing_validity,
)
from broker.trust.recordkeys import algorithm_of, record_key, verifies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from broker.core.policy import Directory
    from broker.ports import DirectoryInForce
    from broker.trust.revocation import Revocations


class ListedCertificate:
    """A signing certificate of the directory (the port SignerCertificate). Only its revocation can change."""

    def __init__(
        self,
        agency: str,
        certificate: x509.Certificate,
        authorities: Sequence[x509.Certificate],
        revocations: Revocations,
        *,
        retired_at_ms: int | None = None,
    ) -> None:
        """Validate the certificate's path. A certificate that fails is kept, and ``check_valid`` raises the reason.

        One certificate that is no longer valid must not stop the whole directory. It affects only its agency. If the
        certificate is retired, ``retired_at_ms`` is its end (epoch milliseconds).
        """
        self.agency: Final = agency
        self.certificate: Final = certificate
        self.sha256: Final = fingerprint(certificate)
        self.system: Final = principal_of(certificate).system
        self._key = record_key(certificate)
        self.algorithm: Final = algorithm_of(self._key)
        self.public_key_der: Final = self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._serial = certificate.serial_number
        self.authority: Final = find_issuer(certificate, authorities)
        self._revocations = revocations
        self.retired_at_ms: Final = retired_at_ms
        self._validity: Validity | None = None
        self._fault = ""
        try:
            self._validity = signing_validity(certificate, authorities)
        except SignerCertificateInvalid as error:
            self._fault = error.message

    def check_valid(self, at_ms: int) -> None:
        """Check that it is a signing certificate of the directory's authority, valid and unrevoked at this time.

        An auditor passes a time in the past: a certificate that was revoked later was good then.

        Args:
            at_ms: milliseconds since the Unix epoch, UTC.

        Raises:
            SignerCertificateInvalid: wrong profile or authority, not yet valid, no longer valid, or retired.
            SignerRevoked: revoked at this time or before.
            RevocationUnavailable: no list says whether it was revoked.
        """
        # (1) Path and profile.
        validity, authority = self._path()
        # (2) Within its own period and its authority's.
        if at_ms < validity.first_ms:
            message = "the signing certificate is not valid yet at the time of use"
            early = {"certificate_sha256": self.sha256.hex(), "retry_after_ms": str(validity.first_ms - at_ms)}
            raise SignerCertificateInvalid(message, **early)
        self._check_end(validity, at_ms)
        # (4) A list says that it was not revoked.
        self._check_unrevoked(authority, at_ms)

    @property
    def revoked_at_ms(self) -> int | None:
        """When it was revoked: milliseconds since the Unix epoch, UTC. None: no list says so, and it may be too old."""
        listed = None if self.authority is None else self._revocations.listing(self.authority)
        return None if listed is None else listed.revoked.get(self._serial)

    @property
    def ended_at_ms(self) -> int | None:
        """The first time at which it is past its end, or retired (epoch milliseconds, UTC). None: it never was good."""
        if self._validity is None:
            return None
        past_ms = self._validity.last_ms + 1
        return past_ms if self.retired_at_ms is None else min(past_ms, self.retired_at_ms)

    def check_trusted(self, of_ms: int, now_ms: int) -> None:
        """Check that its word of now about a time in the past counts.

        A statement does not prove when it was signed. So the certificate may be younger than what it speaks of. But it
        must not have ended before, and nobody may have its key now who can state any time.

        Args:
            of_ms: the time of which it speaks: milliseconds since the Unix epoch, UTC.
            now_ms: the time at which its word is taken.

        Raises:
            SignerCertificateInvalid: wrong profile or authority, or it had ended or was retired by ``of_ms``.
            SignerRevoked: revoked at ``now_ms`` or before.
            RevocationUnavailable: no list says whether it was revoked.
        """
        validity, authority = self._path()
        self._check_end(validity, of_ms)
        self._check_unrevoked(authority, now_ms)

    def _path(self) -> tuple[Validity, x509.Certificate]:
        # Validated when the keyring was built (RFC 5280 section 6).
        if self._validity is None or self.authority is None:
            raise SignerCertificateInvalid(self._fault, certificate_sha256=self.sha256.hex())
        return self._validity, self.authority

    def _check_end(self, validity: Validity, at_ms: int) -> None:
        if at_ms > validity.last_ms:
            message = "the signing certificate is not valid at the time of use"
            raise SignerCertificateInvalid(message, certificate_sha256=self.sha256.hex())
        # (3) Its agency had not retired it by this time.
        if self.retired_at_ms is not None and self.retired_at_ms <= at_ms:
            message = "the signing certificate is retired"
            raise SignerCertificateInvalid(message, certificate_sha256=self.sha256.hex())

    def _check_unrevoked(self, authority: x509.Certificate, at_ms: int) -> None:
        # RFC 5280 section 6.3.
        listed = self._revocations.listing(authority)
        if listed is None:
            message = "there is no revocation list of the authority that issued the signing certificate"
            raise RevocationUnavailable(message)
        revoked_at_ms = listed.revoked_at(self._serial, at_ms)
        if revoked_at_ms is not None and revoked_at_ms <= at_ms:
            message = "the signing certificate is revoked"
            raise SignerRevoked(message, certificate_sha256=self.sha256.hex(), revoked_at_ms=str(revoked_at_ms))

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature of the certificate's algorithm over exactly these bytes.

        This does not check whether the certificate is valid: call ``check_valid`` too.

        Raises:
            SignatureInvalid: this key did not sign these bytes.
        """
        if not verifies(self._key, message, signature):
            text = "the signature is not by this key over these bytes"
            raise SignatureInvalid(text, certificate_sha256=self.sha256.hex())


class DirectoryKeyring:
    """The signing certificates of one directory version (the port Keyring)."""

    def __init__(self, directory: Directory, revocations: Revocations) -> None:
        """Validate every certificate that the directory lists, in use or retired.

        Raises:
            DirectoryInvalid: an authority or a listed certificate cannot be used at all (see ``listed_certificate``).
        """
        self.directory: Final = directory
        authorities = signing_authorities(directory.signing_authorities)
        self._signers: dict[bytes, ListedCertificate] = {}
        for agency in directory.agencies.values():
            ends: dict[bytes, int | None] = dict.fromkeys(agency.signing_certificates)
            ends.update(agency.retired_certificates)
            for data, end in ends.items():
                certificate = listed_certificate(data, agency.id, directory.trust_domain)
                signer = ListedCertificate(agency.id, certificate, authorities, revocations, retired_at_ms=end)
                self._signers[signer.sha256] = signer

    def signer(self, certificate_sha256: bytes) -> ListedCertificate:
        """The certificate of this fingerprint.

        Raises:
            SignerUnknown: the directory lists no such certificate.
        """
        found = self._signers.get(certificate_sha256)
        if found is None:
            message = "the directory in force does not list the signing certificate"
            raise SignerUnknown(message, certificate_sha256=certificate_sha256[:32].hex())
        return found


class LiveKeyring:
    """The keyring of the directory version in force (the port Keyring). Safe to call from any thread."""

    def __init__(self, directory: DirectoryInForce, revocations: Revocations) -> None:
        """Build the keyring of the version in force.

        Raises:
            DirectoryInvalid, DirectoryUnavailable
        """
        self._directory = directory
        self._revocations = revocations
        self._keyring = DirectoryKeyring(directory.current(), revocations)

    def signer(self, certificate_sha256: bytes) -> ListedCertificate:
        """The certificate of this fingerprint in the version in force.

        Raises:
            SignerUnknown: the directory lists no such certificate.
            DirectoryUnavailable: the directory has expired.
        """
        directory = self._directory.current()
        keyring = self._keyring
        if keyring.directory is not directory:
            # After a change, two threads may both build it. The results are equal, so either may stay.
            keyring = self._keyring = DirectoryKeyring(directory, self._revocations)
        return keyring.signer(certificate_sha256)


def signing_authorities(documents: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Read the signing authorities that a directory lists.

    Raises:
        DirectoryInvalid: one cannot be read.
    """
    try:
        return tuple(parse_certificate(document) for document in documents)
    except CertificateInvalid as error:
        message = "the directory lists a signing authority whose certificate cannot be read"
        raise DirectoryInvalid(message) from error


def timestamp_chain(documents: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Read the certificates of a timestamp authority that a directory lists: the signer first, a root last.

    Raises:
        DirectoryInvalid: one cannot be read, or there are fewer than two.
    """
    try:
        chain = tuple(parse_certificate(document) for document in documents)
    except CertificateInvalid as error:
        message = "the directory lists a timestamp authority whose certificate cannot be read"
        raise DirectoryInvalid(message) from error
    if len(chain) < 2:  # noqa: PLR2004 - the signer and a root
        message = "the directory lists a timestamp authority without the certificates above it, up to a root"
        raise DirectoryInvalid(message)
    return chain


def listed_certificate(data: bytes, agency: str, trust_domain: str) -> x509.Certificate:
    """Read a certificate that a directory lists for an agency.

    Raises:
        DirectoryInvalid: it cannot be read, its key signs no records, or it names another agency or trust domain. No
            directory may let one agency's key sign for another.
    """
    try:
        certificate = parse_certificate(data)
        record_key(certificate)
        principal = principal_of(certificate)
    except (CertificateInvalid, PeerIdentityMissing) as error:
        message = f"the directory lists a signing certificate of {agency} that cannot be used: {error.message}"
        raise DirectoryInvalid(message) from error
    if (principal.agency, principal.trust_domain) != (agency, trust_domain):
        message = f"the directory lists for {agency} a signing certificate that names another agency"
        raise DirectoryInvalid(message)
    return certificate
