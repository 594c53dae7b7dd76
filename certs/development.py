"""A complete PKI for development and first runs. It has all keys in one folder; a real exchange keeps them apart.

A person with this folder can act as every agency. Real keys are made where they are used, and never leave that place.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from broker.core.encryptionkeys import ARCHIVE, MLKEM768_X25519, RECORDS
from broker.core.errors import SetupInvalid
from broker.core.identity import Principal
from broker.core.policy import Agency, Directory
from broker.trust.certificates import der
from broker.trust.directory import sign_directory
from broker.trust.directory_payload import directory_payload
from broker.trust.hpke import PrivateEncryptionKey
from broker.trust.keyfolder import add_key
from broker.trust.keys import private_key_pem, public_key_pem
from broker.trust.keystatements import state_key
from broker.trust.signing import EcdsaSigner, Ed25519NoteSigner
from certs.authorities import new_authorities, save_authorities
from certs.folder import PkiFolder
from certs.operations import DIRECTORY_LIFETIME, write_credential
from certs.profiles import SIGNING, TLS_CLIENT, TLS_PEER
from certs.rights import EXCHANGE, MAY_CORRECT, PURPOSES, TRUST_DOMAIN, members
from certs.storage import make_folder, write_private, write_public

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from broker.core.encryptionkeys import EncryptionKey
    from certs.authority import Authority
    from certs.profiles import AuthorityKind
    from certs.rights import Member

CHECKPOINT_KEY_NAME: Final = f"{TRUST_DOMAIN}/log"
"""The name of the development exchange's checkpoint key, which signs for all of its logs."""

KEY_FOLDER: Final = "encryption"
"""The key folder, in an agency's own folder."""

_PARTS: Final = ("trust", "broker", "agencies", "authorities", "governance", "kafka")


def create(root: Path, now: datetime, *, force: bool = False, plain: bool = False) -> PkiFolder:
    """Make keys, certificates, revocation lists and a signed directory for every agency of the development exchange.

    Args:
        root: the folder. It is made if it does not exist.
        now: when everything is issued, with a time zone.
        force: delete the existing PKI, with its keys.
        plain: let the agencies publish everything plain, as if it were public.

    Raises:
        SetupInvalid: the folder is in use and ``force`` was not given, or it contains something else than a PKI.
    """
    _make_room(root, force=force)
    pki = PkiFolder(make_folder(root))
    authorities = new_authorities("case-exchange development", TRUST_DOMAIN, now)
    agencies = {member.agency: _enrol(pki, member, authorities, now) for member in members(plain=plain)}
    _equip_kafka(pki, authorities["kafka"], now)
    save_authorities(pki, authorities, now)
    checkpoint_vkey = _write_checkpoint_key(pki)
    now_ms = int(now.timestamp() * 1000)
    directory = Directory(
        version=1,
        trust_domain=TRUST_DOMAIN,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + int(DIRECTORY_LIFETIME.total_seconds() * 1000),
        exchange=EXCHANGE,
        signing_authorities=(der(authorities["signing"].certificate),),
        log_keys=(checkpoint_vkey,),
        purposes=PURPOSES,
        agencies=agencies,
        document=b"",
        may_correct=MAY_CORRECT,
    )
    # Last, because a PKI without a directory is visibly unfinished.
    write_public(pki.directory, sign_directory(directory_payload(directory), _write_governance_key(pki)))
    return pki


def _make_room(root: Path, *, force: bool) -> None:
    try:
        present = {entry.name for entry in root.iterdir()} if root.exists() else set()
    except OSError as error:
        message = f"{root.name} cannot be used as a PKI folder: {error.strerror}"
        raise SetupInvalid(message) from error
    if present and not force:
        message = f"{root.name} is not empty; --force deletes the PKI in it, with its keys"
        raise SetupInvalid(message)
    if not present.issubset(_PARTS):
        message = f"{root.name} contains something else than a PKI, so nothing was removed"
        raise SetupInvalid(message)
    for name in present:
        shutil.rmtree(root / name)


def _enrol(pki: PkiFolder, member: Member, authorities: Mapping[AuthorityKind, Authority], now: datetime) -> Agency:
    """Give an agency its keys and certificates. Returns its entry for the directory."""
    folder = make_folder(pki.member(member.agency))
    principal = Principal(TRUST_DOMAIN, member.agency, member.system)
    certificates = {}
    for profile in (TLS_PEER if member.agency == EXCHANGE else TLS_CLIENT, SIGNING):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authorities[profile.authority].issue(profile, principal, key.public_key(), now)
        write_credential(key, certificate, folder / f"{profile.file_stem}.pem")
        certificates[profile] = certificate
    return Agency(
        id=member.agency,
        name=member.name,
        signing_certificates=(der(certificates[SIGNING]),),
        publish=member.publish,
        receive=member.receive,
        replay=member.replay,
        # The exchange gets none: a broker opens nothing.
        encryption_keys=() if member.agency == EXCHANGE else _make_encryption_keys(folder, principal, now),
    )


def _make_encryption_keys(folder: Path, principal: Principal, now: datetime) -> tuple[EncryptionKey, ...]:
    """Make an agency's key for records and its archive key, in its key folder, and state them."""
    signer = EcdsaSigner.load(folder / f"{SIGNING.file_stem}.key", folder / f"{SIGNING.file_stem}.pem")
    now_ms = int(now.timestamp() * 1000)
    ends_ms = now_ms + int(DIRECTORY_LIFETIME.total_seconds() * 1000)
    stated = []
    for use in (RECORDS, ARCHIVE):
        private = PrivateEncryptionKey.generate(MLKEM768_X25519)
        key = private.stated_as(principal.agency, use, now_ms, ends_ms)
        stated.append(state_key(key, principal.trust_domain, now_ms, signer))
        add_key(folder / KEY_FOLDER, private, stated[-1])
    return tuple(stated)


def _equip_kafka(pki: PkiFolder, authority: Authority, now: datetime) -> None:
    make_folder(pki.kafka.folder)
    for path, profile, principal, names in pki.kafka.credentials():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority.issue(profile, principal, key.public_key(), now, server_names=names)
        write_credential(key, certificate, path)


def _write_checkpoint_key(pki: PkiFolder) -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    vkey = Ed25519NoteSigner(CHECKPOINT_KEY_NAME, key).vkey
    write_private(pki.checkpoint_key, private_key_pem(key))
    write_public(pki.checkpoint_vkey, vkey.encode() + b"\n")
    return vkey


def _write_governance_key(pki: PkiFolder) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    public_key = public_key_pem(key.public_key())
    make_folder(pki.governance_key.parent)
    write_private(pki.governance_key, private_key_pem(key))
    write_public(pki.governance_public_key, public_key)
    write_public(pki.trust / "governance.pem", public_key)
    return key
