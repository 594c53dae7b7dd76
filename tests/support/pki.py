"""A development PKI for tests, with every kind of wrong certificate that must be refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from broker.client.verifying import InForce
from broker.core.identity import Principal
from broker.core.inforce import DirectoryVersion
from broker.trust.certificates import der, load_certificates
from broker.trust.directory import open_directory, sign_directory
from broker.trust.directory_payload import directory_payload
from broker.trust.governance import Governance
from broker.trust.keyring import DirectoryKeyring
from broker.trust.keys import load_signing_key
from broker.trust.revocation import RevocationLists
from broker.trust.signing import EcdsaSigner, Ed25519NoteSigner
from certs import development, profiles
from certs.authority import Authority
from certs.operations import LIST_LIFETIME, write_credential
from certs.rights import HEBEI, SHANXI, TRUST_DOMAIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.core.policy import Directory
    from certs.folder import PkiFolder
    from certs.profiles import AuthorityKind, Profile


class ManualClock:
    """A clock that a test sets."""

    def __init__(self, now_ms: int) -> None:
        self.value_ms = now_ms

    def now_ms(self) -> int:
        return self.value_ms

    def monotonic(self) -> float:
        return self.value_ms / 1000


def milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


@dataclass(frozen=True)
class Credential:
    """A key and its certificate, in memory."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return der(self.certificate)

    @property
    def signer(self) -> EcdsaSigner:
        return EcdsaSigner(self.key, self.certificate)

    def write(self, folder: Path, stem: str) -> tuple[Path, Path]:
        """Write both into an existing folder. Return the paths of certificate and key."""
        return write_credential(self.key, self.certificate, folder / f"{stem}.pem")


def without_keys(directory: Directory) -> Directory:
    """A directory in which no agency states an encryption key."""
    agencies = {name: replace(agency, encryption_keys=()) for name, agency in directory.agencies.items()}
    return replace(directory, agencies=agencies)


class SamplePki:
    """What ``certs init`` writes, and wrong variants on demand. Nothing here changes the files after ``build``.

    ``revoked`` names, for each authority, a certificate of hebei-police that its published list revokes.
    """

    def __init__(self, folder: PkiFolder, now: datetime, revoked: dict[AuthorityKind, Credential]) -> None:
        self.folder = folder
        self.now = now
        self.revoked = revoked

    @classmethod
    def build(cls, root: Path, *, now: datetime | None = None, plain: bool = True) -> SamplePki:
        """Write a PKI into an empty folder. It takes about 50 ms. Sessions without revocations can share it.

        Most tests are not about sealing, and publish plain. Without ``plain`` the rights are those of ``certs init``.
        """
        now = datetime.now(UTC).replace(microsecond=0) if now is None else now
        folder = development.create(root, now, plain=plain)
        revoked: dict[AuthorityKind, Credential] = {}
        for profile in (profiles.TLS_CLIENT, profiles.SIGNING):
            authority = folder.load_authority(profile.authority)
            key = ec.generate_private_key(ec.SECP256R1())
            principal = Principal(TRUST_DOMAIN, HEBEI, "gateway")
            certificate = authority.issue(profile, principal, key.public_key(), now)
            authority.revoke(certificate.serial_number, now, "keyCompromise")
            folder.publish_revocation_list(profile.authority, authority, now, LIST_LIFETIME)
            revoked[profile.authority] = Credential(key, certificate)
        return cls(folder, now, revoked)

    @property
    def now_ms(self) -> int:
        return milliseconds(self.now)

    @cached_property
    def governance_key(self) -> ec.EllipticCurvePrivateKey:
        return load_signing_key(self.folder.governance_key)

    @property
    def governance(self) -> Governance:
        """The pinned key, with nothing learned."""
        return Governance.load(self.folder.governance_public_key)

    @cached_property
    def directory(self) -> Directory:
        return open_directory(self.folder.directory.read_bytes(), self.governance)

    @cached_property
    def note_signer(self) -> Ed25519NoteSigner:
        return Ed25519NoteSigner.load(development.CHECKPOINT_KEY_NAME, self.folder.checkpoint_key)

    def authority(self, kind: AuthorityKind) -> Authority:
        """A new copy of the authority, so that a test can revoke without an effect on other tests."""
        return self.folder.load_authority(kind)

    def tls_paths(self, agency: str) -> tuple[Path, Path]:
        """The certificate and key files of an agency's (or the exchange's) TLS certificate."""
        return self.folder.member(agency) / "tls.pem", self.folder.member(agency) / "tls.key"

    def signer(self, agency: str = SHANXI) -> EcdsaSigner:
        """An agency's (or the exchange's) signing key, as the directory lists it."""
        folder = self.folder.member(agency)
        return EcdsaSigner.load(folder / "signing.key", folder / "signing.pem")

    def tls_certificate(self, agency: str = SHANXI) -> x509.Certificate:
        return load_certificates(self.tls_paths(agency)[0])[0]

    def revocation_lists(self, kind: AuthorityKind = "signing", *, grace_ms: int = 0) -> RevocationLists:
        """The published list."""
        documents = [self.folder.revocation_list(kind).read_bytes()]
        return RevocationLists(documents, [der(self.authority(kind).certificate)], grace_ms=grace_ms)

    def keyring(
        self, directory: Directory | None = None, revocations: RevocationLists | None = None
    ) -> DirectoryKeyring:
        return DirectoryKeyring(directory or self.directory, revocations or self.revocation_lists())

    def version(self, directory: Directory | None = None, *, in_force_from_ms: int = 0) -> DirectoryVersion:
        """A directory as a version to judge records by."""
        directory = directory or self.directory
        return DirectoryVersion(in_force_from_ms, directory, self.keyring(directory))

    def in_force(self, directory: Directory | None = None) -> InForce:
        """One directory to judge a received record by, at its acceptance and at its delivery."""
        version = self.version(directory)
        return InForce([version], [version])

    def keyring_with(self, *credentials: Credential, agency: str = SHANXI) -> DirectoryKeyring:
        """A keyring of a directory that lists only these certificates for an agency."""
        return self.keyring(self.directory_with(agency, [credential.der for credential in credentials]))

    def directory_with(self, agency: str, signing_certificates: Sequence[bytes]) -> Directory:
        """The directory, signed again, with these signing certificates for an agency."""
        listed = self.directory.agencies[agency]
        # What is signed with a certificate that is not listed may not be there.
        stated = listed.encryption_keys if set(listed.signing_certificates) <= set(signing_certificates) else ()
        member = replace(listed, signing_certificates=tuple(signing_certificates), encryption_keys=stated)
        return replace(self.directory, agencies={**self.directory.agencies, agency: member})

    def sign(self, directory: Directory) -> bytes:
        """A directory's document, signed by governance."""
        return sign_directory(directory_payload(directory), self.governance_key)

    # --- variants -----------------------------------------------------------------------------------------------

    def credential(
        self,
        profile: Profile = profiles.SIGNING,
        *,
        agency: str = SHANXI,
        system: str = "gateway",
        authority: Authority | None = None,
        issued: datetime | None = None,
        lifetime: timedelta | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> Credential:
        """A new certificate. Every argument makes it differ from a good one in that point."""
        key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
        builder = profiles.leaf(
            profile,
            Principal(TRUST_DOMAIN, agency, system),
            key.public_key(),
            self.now if issued is None else issued,
            lifetime=lifetime,
        )
        return Credential(key, (authority or self.authority(profile.authority)).sign(builder))

    def revoked_from(self, at: datetime, *, agency: str = SHANXI) -> tuple[Credential, RevocationLists]:
        """A signing certificate, and a list that says that it is revoked from this time on. No file changes."""
        authority, key = self.authority("signing"), ec.generate_private_key(ec.SECP256R1())
        principal = Principal(TRUST_DOMAIN, agency, "gateway")
        certificate = authority.issue(profiles.SIGNING, principal, key.public_key(), self.now)
        authority.revoke(certificate.serial_number, at, "keyCompromise")
        listed = authority.revocation_list(self.now, LIST_LIFETIME)
        lists = RevocationLists([listed.public_bytes(Encoding.DER)], [der(authority.certificate)], grace_ms=0)
        return Credential(key, certificate), lists

    def of_another_authority(self, profile: Profile = profiles.SIGNING, *, agency: str = SHANXI) -> Credential:
        """Right in every point, but from an untrusted authority of the same name."""
        name = f"case-exchange development {profile.authority} authority"
        return self.credential(profile, agency=agency, authority=Authority.create(name, self.now))

    def expired(self, profile: Profile = profiles.SIGNING, *, agency: str = SHANXI) -> Credential:
        """Valid until a minute ago."""
        issued = self.now - timedelta(minutes=2)
        return self.credential(profile, agency=agency, issued=issued, lifetime=timedelta(minutes=1))

    def with_extensions(
        self, *extensions: x509.ExtensionType, profile: Profile = profiles.SIGNING, critical: bool = False
    ) -> Credential:
        """A certificate of shanxi-police with these extensions added, or in place of those of the same type."""
        good = self.credential(profile)
        oids = {extension.oid for extension in extensions} | {x509.AuthorityKeyIdentifier.oid}
        builder = (
            x509.CertificateBuilder()
            .subject_name(good.certificate.subject)
            .public_key(good.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(good.certificate.not_valid_before_utc)
            .not_valid_after(good.certificate.not_valid_after_utc)
        )
        for kept in good.certificate.extensions:
            if kept.oid not in oids:
                builder = builder.add_extension(kept.value, critical=kept.critical)
        for added in extensions:
            builder = builder.add_extension(added, critical=critical)
        return Credential(good.key, self.authority(profile.authority).sign(builder))

    def with_uris(self, *uris: str, profile: Profile = profiles.TLS_CLIENT) -> Credential:
        """A certificate with these URI names instead of its agency's: none, two, or one of another form."""
        names = [x509.DNSName("localhost"), *map(x509.UniformResourceIdentifier, uris)]
        return self.with_extensions(x509.SubjectAlternativeName(names), profile=profile)
