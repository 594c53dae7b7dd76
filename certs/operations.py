"""The tasks of an authority's operator: revoke, and publish lists; in a development PKI also issue and renew.

certs/enrolment.py has the tasks of an exchange in which agencies keep their keys.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from broker.core.errors import CertificateInvalid, DirectoryInvalid, SetupInvalid
from broker.core.identity import Principal
from broker.trust.certificates import der, find_issuer, load_certificates, principal_of, server_names_of
from broker.trust.directory import open_directory, sign_directory, successions_of
from broker.trust.directory_payload import directory_payload
from broker.trust.governance import Governance
from broker.trust.keys import load_signing_key
from certs.folder import AUTHORITY_KINDS
from certs.kafka import keystore_of
from certs.profiles import KAFKA_NODE, LOCAL_NAMES, SIGNING, profile_of
from certs.signingkeys import key_pem, new_key
from certs.storage import make_folder, write_private, write_public

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509

    from broker.core.policy import Directory
    from certs.authority import Authority, Issued
    from certs.folder import PkiFolder
    from certs.profiles import AuthorityKind, Profile
    from certs.signingkeys import PrivateKey

LIST_LIFETIME: Final = timedelta(days=7)
"""The lifetime of a revocation list, unless the operator chooses another."""

DIRECTORY_LIFETIME: Final = timedelta(days=365)


class Credential(NamedTuple):
    """A certificate with its file and its key's file."""

    certificate: x509.Certificate
    certificate_path: Path
    key_path: Path


def issue(
    pki: PkiFolder,
    profile: Profile,
    principal: Principal,
    now: datetime,
    *,
    folder: Path | None = None,
    server_names: Sequence[str] = LOCAL_NAMES,
    lifetime: timedelta | None = None,
) -> Credential:
    """In a development PKI: make a key, certify it, and write both into the agency's folder, or into ``folder``.

    A signing certificate is listed in the directory at once.

    Raises:
        SetupInvalid: this is no development PKI.
        CertificateInvalid: there is already a key or certificate. Only a renewal may replace it.
        PeerUnknown: it is a signing certificate for an agency that the directory does not list.
    """
    pki.check_development()
    target = make_folder(pki.member(principal.agency) if folder is None else folder)
    key_path, certificate_path = target / f"{profile.file_stem}.key", target / f"{profile.file_stem}.pem"
    for path in (key_path, certificate_path):
        if path.exists():
            message = f"{path.name} exists already; replace it with case-exchange certs renew"
            raise CertificateInvalid(message)
    names = server_names
    return _certify(pki, profile, principal, now, path=certificate_path, server_names=names, lifetime=lifetime)


def renew(pki: PkiFolder, certificate_path: Path, now: datetime) -> Credential:
    """In a development PKI: replace a certificate and its key with new ones for the same principal, profile and names.

    The old certificate is not revoked, so TLS connections and spooled records that use it stay valid. The directory
    still lists an old signing certificate, so that what it signed can be verified as long as it is kept.

    Raises:
        SetupInvalid: this is no development PKI.
        CertificateInvalid: the certificate has no profile of this exchange, or was not issued by this PKI.
    """
    pki.check_development()
    old = load_certificates(certificate_path)[0]
    profile = profile_of(old)
    if profile is None or find_issuer(old, [pki.load_authority(profile.authority).certificate]) is None:
        message = f"{certificate_path.name} was not issued by an authority in this PKI folder"
        raise CertificateInvalid(message)
    names = server_names_of(old)
    return _certify(pki, profile, principal_of(old), now, path=certificate_path, server_names=names)


class Revoked(NamedTuple):
    """A certificate that was revoked, and the kind of its authority."""

    kind: AuthorityKind
    entry: Issued


def by_file(pki: PkiFolder, certificate_path: Path) -> dict[AuthorityKind, list[int]]:
    """The serial number of the certificate in a file, by its authority.

    Raises:
        CertificateInvalid: no authority here issued it.
    """
    certificate = load_certificates(certificate_path)[0]
    for kind in AUTHORITY_KINDS:
        if find_issuer(certificate, [pki.load_authority(kind).certificate]) is not None:
            return {kind: [certificate.serial_number]}
    message = f"{certificate_path.name} was not issued by an authority in this PKI folder"
    raise CertificateInvalid(message)


def by_serial(pki: PkiFolder, serial: int) -> dict[AuthorityKind, list[int]]:
    """A serial number, by the authority that gave it.

    Raises:
        SetupInvalid: no authority here gave it.
    """
    for kind in AUTHORITY_KINDS:
        if serial in pki.load_authority(kind).issued:
            return {kind: [serial]}
    message = f"no authority in this PKI folder issued a certificate with the serial number {serial:x}"
    raise SetupInvalid(message)


def by_agency(pki: PkiFolder, agency: str, since: datetime) -> dict[AuthorityKind, list[int]]:
    """All certificates of an agency that are not revoked and had not ended at this time, by authority.

    One that has ended since is among them: what it signed from that time on must not be trusted.

    Raises:
        SetupInvalid: there are none.
    """
    found = {
        kind: [
            serial
            for serial, entry in pki.load_authority(kind).issued.items()
            if Principal.parse(entry.principal).agency == agency
            and entry.revoked_at is None
            and entry.not_after > since
        ]
        for kind in AUTHORITY_KINDS
    }
    if not any(found.values()):
        message = f"no authority in this PKI folder issued a certificate of {agency} that is still good"
        raise SetupInvalid(message)
    return found


def revoke(
    pki: PkiFolder,
    find: Callable[[], Mapping[AuthorityKind, Sequence[int]]],
    now: datetime,
    reason: str,
    *,
    since: datetime,
) -> list[Revoked]:
    """Revoke certificates, and publish the revocation lists with them.

    Args:
        pki: the PKI of their authorities.
        find: ``by_file``, ``by_serial`` or ``by_agency``. It is called when nobody else can sign here.
        now: the time.
        reason: one of ``certs.authority.REASONS``.
        since: from this time on, they must not be trusted.

    Raises:
        CertificateInvalid: one is already revoked. Then none of its authority is.
    """
    revoked: list[Revoked] = []
    with pki.locked():
        for kind, numbers in find().items():
            if numbers:
                authority = pki.load_authority(kind)
                revoked += [Revoked(kind, authority.revoke(serial, since, reason)) for serial in numbers]
                pki.publish_revocation_list(kind, authority, now, LIST_LIFETIME)
    return revoked


def publish_lists(
    pki: PkiFolder, kinds: Sequence[AuthorityKind], now: datetime, valid_for: timedelta = LIST_LIFETIME
) -> dict[AuthorityKind, Authority]:
    """Publish new revocation lists. Do this before the next update of the last lists. Returns the authorities."""
    with pki.locked():
        authorities = {kind: pki.load_authority(kind) for kind in kinds}
        for kind, authority in authorities.items():
            pki.publish_revocation_list(kind, authority, now, valid_for)
    return authorities


def write_credential(key: PrivateKey, certificate: x509.Certificate, certificate_path: Path) -> tuple[Path, Path]:
    """Write a certificate, its key beside it, and for a Kafka node its keystore. Returns the first two paths."""
    key_path = certificate_path.with_suffix(".key")
    private_pem, certificate_pem = key_pem(key), certificate.public_bytes(Encoding.PEM)
    write_private(key_path, private_pem)
    write_public(certificate_path, certificate_pem)
    if profile_of(certificate) is KAFKA_NODE:
        # Kafka reads both from one file (KIP-651).
        write_private(keystore_of(certificate_path), private_pem + certificate_pem)
    return certificate_path, key_path


def _certify(
    pki: PkiFolder,
    profile: Profile,
    principal: Principal,
    now: datetime,
    *,
    path: Path,
    server_names: Sequence[str],
    lifetime: timedelta | None = None,
) -> Credential:
    with pki.locked():
        directory = _directory_to_amend(pki) if profile.authority == SIGNING.authority else None
        if directory is not None:
            directory.agency(principal.agency)
        authority = pki.load_authority(profile.authority)
        key = new_key(profile)
        certificate = authority.issue(
            profile, principal, key.public_key(), now, server_names=server_names, lifetime=lifetime
        )
        pki.save_state(profile.authority, authority)
        # It is listed before the key is used, because a record signed with an unlisted certificate would be refused.
        if directory is not None:
            _list_signer(pki, directory, principal.agency, certificate, now)
    return Credential(certificate, *write_credential(key, certificate, path))


def _directory_to_amend(pki: PkiFolder) -> Directory:
    try:
        document = pki.directory.read_bytes()
    except OSError as error:
        message = f"{pki.directory.name} cannot be read as a directory: {error.strerror}"
        raise DirectoryInvalid(message) from error
    return open_directory(document, Governance.load(pki.governance_public_key))


def _list_signer(
    pki: PkiFolder, directory: Directory, agency: str, certificate: x509.Certificate, now: datetime
) -> None:
    member = directory.agency(agency)
    listed = replace(member, signing_certificates=(*member.signing_certificates, der(certificate)))
    now_ms = int(now.timestamp() * 1000)
    amended = replace(
        directory,
        version=directory.version + 1,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + int(DIRECTORY_LIFETIME.total_seconds() * 1000),
        agencies={**directory.agencies, agency: listed},
    )
    key, successions = load_signing_key(pki.governance_key), successions_of(directory.document)
    write_public(pki.directory, sign_directory(directory_payload(amended), key, successions))
