"""A certificate authority in memory: it issues and revokes certificates, and lists the revoked ones.

Times are arguments, and nothing is written. The caller decides where its state is stored (certs/folder.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from broker.core.errors import CertificateInvalid, KeyInvalid
from broker.trust.certificates import fingerprint, p256_public_key
from broker.trust.requests import key_sha256
from certs import profiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from broker.core.identity import Principal
    from broker.trust.recordkeys import RecordKey
    from certs.profiles import Profile

REASONS: Final = {
    flag.value: flag
    for flag in (
        x509.ReasonFlags.key_compromise,
        x509.ReasonFlags.affiliation_changed,
        x509.ReasonFlags.superseded,
        x509.ReasonFlags.cessation_of_operation,
    )
}
"""The reasons for a revocation, by RFC 5280's names. None of them can be undone."""


_Hexadecimal = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]+$")]


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """What an authority stores about a certificate. ``revoked_at`` is None while the certificate is not revoked.

    ``key_sha256`` is the fingerprint of its key: no key is certified twice.
    """

    serial: _Hexadecimal
    sha256: _Hexadecimal
    key_sha256: _Hexadecimal
    principal: str
    profile: str
    not_after: datetime
    revoked_at: datetime | None = None
    reason: str = ""


class Authority:
    """An authority for one kind of certificate. For one thread at a time."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        *,
        issued: Iterable[Issued] = (),
        crl_number: int = 0,
    ) -> None:
        """Continue an authority's work.

        Args:
            key: its private key.
            certificate: its certificate.
            issued: the certificates that it has issued so far.
            crl_number: the number of its last revocation list, 0 before the first.

        Raises:
            KeyInvalid: the certificate belongs to another key.
        """
        if key.public_key() != p256_public_key(certificate):
            message = "the authority's private key does not belong to its certificate"
            raise KeyInvalid(message)
        self.key: Final = key
        self.certificate: Final = certificate
        self._issued = {int(entry.serial, 16): entry for entry in issued}
        self._crl_number = crl_number

    @classmethod
    def create(cls, name: str, now: datetime, trust_domain: str = "") -> Authority:
        """A new authority with a key and a self-signed certificate. ``trust_domain``: see ``profiles.authority``."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = profiles.authority(name, key.public_key(), now, trust_domain).issuer_name(profiles.common_name(name))
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def issued(self) -> Mapping[int, Issued]:
        """The certificates that it has issued, by serial number."""
        return self._issued

    @property
    def crl_number(self) -> int:
        """The number of its last revocation list, 0 before the first."""
        return self._crl_number

    def issue(
        self,
        profile: Profile,
        principal: Principal,
        public_key: RecordKey,
        now: datetime,
        *,
        lifetime: timedelta | None = None,
        server_names: Sequence[str] = profiles.LOCAL_NAMES,
    ) -> x509.Certificate:
        """Certify that this key belongs to this principal. ``profiles.leaf`` explains the arguments.

        Raises:
            CertificateInvalid: the authority has ended, or ends before the certificate would.
        """
        self._check_outlives(now, now + (lifetime or profile.lifetime))
        certificate = self.sign(
            profiles.leaf(profile, principal, public_key, now, lifetime=lifetime, server_names=server_names)
        )
        self._issued[certificate.serial_number] = Issued(
            serial=f"{certificate.serial_number:x}",
            sha256=fingerprint(certificate).hex(),
            key_sha256=key_sha256(public_key),
            principal=principal.spiffe_id,
            profile=profile.name,
            not_after=certificate.not_valid_after_utc,
        )
        return certificate

    def certified(self, sha256: str) -> Issued | None:
        """The certificate of the key with this fingerprint that it issued, or None."""
        return next((entry for entry in self._issued.values() if entry.key_sha256 == sha256), None)

    def _check_outlives(self, now: datetime, end: datetime) -> None:
        last = self.certificate.not_valid_after_utc
        if last < end:
            left = f"it can sign for {(last - now).days} days at most" if now <= last else "it signs nothing any more"
            message = f"the authority {'ends' if now <= last else 'has ended'} at {last.isoformat()}: {left}"
            raise CertificateInvalid(message)

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Add issuer and authority key identifier, and sign anything. Use ``issue`` for certificates in use."""
        own_identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            builder.issuer_name(self.certificate.subject)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_identifier), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )

    def revoke(self, serial: int, at: datetime, reason: str) -> Issued:
        """Put a certificate on the next revocation list.

        Args:
            serial: its serial number.
            at: from this time on, it must not be trusted. The time may be in the past.
            reason: one of ``REASONS``.

        Raises:
            CertificateInvalid: it was not issued here, or is already revoked. The first date stays, because it decided
                about records.
        """
        entry = self._issued.get(serial)
        if entry is None:
            message = "this authority did not issue the certificate"
            raise CertificateInvalid(message, serial=f"{serial:x}")
        if entry.revoked_at is not None:
            message = "the certificate is revoked already"
            raise CertificateInvalid(message, serial=f"{serial:x}")
        self._issued[serial] = msgspec.structs.replace(entry, revoked_at=at, reason=REASONS[reason].value)
        return self._issued[serial]

    def revocation_list(
        self, now: datetime, valid_for: timedelta, *, number: int | None = None
    ) -> x509.CertificateRevocationList:
        """List every certificate that was ever revoked, under the next number.

        Expired certificates stay in the list, because the records that they signed are verified for decades.

        Args:
            now: when the list is issued.
            valid_for: the time until the next update.
            number: a number to use instead of the next.
        """
        self._crl_number = self._crl_number + 1 if number is None else number
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + valid_for)
            .add_extension(x509.CRLNumber(self._crl_number), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        for entry in self._issued.values():
            if entry.revoked_at is not None:
                builder = builder.add_revoked_certificate(_revoked(entry, entry.revoked_at))
        return builder.sign(self.key, hashes.SHA256())


def _revoked(entry: Issued, revoked_at: datetime) -> x509.RevokedCertificate:
    return (
        x509.RevokedCertificateBuilder()
        .serial_number(int(entry.serial, 16))
        .revocation_date(revoked_at)
        .add_extension(x509.CRLReason(REASONS[entry.reason]), critical=False)
        .build()
    )
