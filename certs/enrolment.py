"""Enrolment and renewal in an exchange: an agency keeps its keys, and an authority signs what it asks for.

The agency makes key and request where the key is used (``make``, ``prepare``). The authority signs (``sign``). What it
signs is laid beside the request and has the same name with the suffix .pem.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec

from broker.core.errors import CertificateInvalid, RequestInvalid
from broker.trust.certificates import load_certificates, pem, principal_of
from broker.trust.keys import load_signing_key, private_key_pem
from broker.trust.renewal import pending, pending_certificate, put_in_place, request_of
from broker.trust.requests import key_sha256, make_request, read_request
from certs.folder import AUTHORITY_KINDS
from certs.kafka import keystore_of
from certs.operations import server_names_of
from certs.profiles import KAFKA_NODE, SIGNING, general_name, profile_of, subject
from certs.storage import make_folder, write_private, write_public

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from cryptography import x509

    from broker.core.identity import Principal
    from broker.trust.requests import CertificateRequest
    from certs.folder import PkiFolder
    from certs.profiles import Profile


class Requested(NamedTuple):
    """A request, its key's file, and the fingerprint of the key, which the agency tells authority and governance."""

    request: Path
    key: Path
    key_sha256: str


class Order(NamedTuple):
    """What an authority is asked to sign: a request, and what it must be.

    ``lifetime`` None: the profile's. ``out`` None: the certificate goes into the folder of the request.
    """

    request: Path
    principal: Principal
    profiles: Sequence[Profile]
    server_names: Sequence[str] = ()
    lifetime: timedelta | None = None
    out: Path | None = None


class Signed(NamedTuple):
    """A certificate that an authority made of a request."""

    certificate: x509.Certificate
    path: Path
    profile: Profile
    key_sha256: str


class Prepared(NamedTuple):
    """How a renewal stands: what was done now, and what is to be done next."""

    done: str
    next: str
    requested: Requested | None = None


def make(folder: Path, profile: Profile, principal: Principal, server_names: Sequence[str] = ()) -> Requested:
    """Make a key that never leaves this folder, and a request for its certificate.

    Raises:
        CertificateInvalid: there is already a key or certificate. Only a renewal may replace it.
        SetupInvalid: the folder cannot be used.
    """
    certificate = make_folder(folder) / f"{profile.file_stem}.pem"
    key = certificate.with_suffix(".key")
    for path in (key, certificate):
        if path.exists():
            message = f"{path.name} exists already; renew it with case-exchange certs renew"
            raise CertificateInvalid(message)
    return _make(key, request_of(certificate), profile, principal, server_names)


def prepare(certificate: Path, now: datetime, *, early: bool = False) -> Prepared:
    """Do what a renewal needs next. To be run every day: it does nothing twice.

    When two thirds of the certificate's life are over, a new key and a request are laid beside it. When the authority's
    answer lies there too, it takes the place of the former one; a signing certificate's place is for the program to
    change, which knows when the directory lists it.

    Args:
        certificate: the certificate in use. Its key has the same name with the suffix .key.
        now: the time.
        early: do not wait until it is due.

    Raises:
        CertificateInvalid, KeyInvalid: a file cannot be used, or it has no profile of this exchange.
    """
    old = load_certificates(certificate)[0]
    profile, key = profile_of(old), certificate.with_suffix(".key")
    if profile is None:
        message = f"{certificate.name} is no certificate of an agency or a broker in this exchange"
        raise CertificateInvalid(message)
    found = pending_certificate(certificate, key, int(now.timestamp() * 1000))
    if found is not None and profile is SIGNING:
        return Prepared(
            "the renewed certificate lies beside it",
            "governance lists it: case-exchange directory add-certificate; then the program takes it up",
        )
    if found is not None:
        put_in_place(certificate, key)
        if profile is KAFKA_NODE:
            write_private(keystore_of(certificate), key.read_bytes() + pem(found))
        return Prepared(f"renewed until {found.not_valid_after_utc.isoformat()}", "nothing: programs take it up")
    request = request_of(pending(certificate))
    if request.exists() and pending(key).exists():
        asked = Requested(request, pending(key), key_sha256(load_signing_key(pending(key)).public_key()))
        return Prepared("the request was made before", _to_sign(asked.request), asked)
    due = old.not_valid_before_utc + (old.not_valid_after_utc - old.not_valid_before_utc) * 2 / 3
    if now < due and not early:
        return Prepared("nothing", f"run it again: it is due at {due.isoformat(timespec='seconds')}")
    asked = _make(pending(key), request, profile, principal_of(old), server_names_of(old))
    return Prepared("a new key and a request", _to_sign(asked.request), asked)


def check(pki: PkiFolder, order: Order) -> tuple[CertificateRequest, Profile, Path]:
    """Check that a request is exactly what the authority was asked to sign. Return it, and its certificate's file.

    Raises:
        RequestInvalid: nobody has shown to have the key; it names another principal, profile or server; or the key was
            certified before.
        CertificateInvalid: there is a certificate already.
    """
    path, asked = order.request, read_request(order.request)
    profile = profile_of(asked.request)
    # (1) The principal and the profile that the operator was asked for.
    if asked.principal != order.principal:
        _refuse(path, f"names {asked.principal.spiffe_id}, for which you were not asked to sign")
    if profile is None or profile not in order.profiles:
        _refuse(path, f"asks for {profile.name if profile else 'no profile of this exchange'}, which you did not name")
    if set(asked.server_names) != (set(order.server_names) if profile.is_server else set()):
        _refuse(path, f"names the servers {', '.join(asked.server_names) or 'none'}, and not those that you named")
    # (2) A new key: a request that was used before, or one key for two purposes, would outlive a revocation.
    for kind in AUTHORITY_KINDS:
        if (former := pki.load_authority(kind).certified(asked.key_sha256)) is not None:
            _refuse(path, f"has a key that was certified before, as serial number {former.serial} ({former.profile})")
    target = (order.out or path.parent) / path.with_suffix(".pem").name
    if target.exists():
        message = f"{target.name} exists already; a renewal has names of its own: case-exchange certs renew"
        raise CertificateInvalid(message)
    return asked, profile, target


def sign(pki: PkiFolder, order: Order, now: datetime) -> Signed:
    """Sign a request, for exactly what the operator says that it is.

    Raises:
        RequestInvalid: as ``check``.
        CertificateInvalid: as ``check``; or the authority has ended, or ends before the certificate would.
    """
    asked, profile, target = check(pki, order)
    authority = pki.load_authority(profile.authority)
    certificate = authority.issue(
        profile, asked.principal, asked.key, now, lifetime=order.lifetime, server_names=asked.server_names
    )
    # Before it is handed out: otherwise nobody could revoke it.
    pki.save_state(profile.authority, authority)
    make_folder(target.parent)
    write_public(target, pem(certificate))
    return Signed(certificate, target, profile, asked.key_sha256)


def _make(
    key_path: Path, request_path: Path, profile: Profile, principal: Principal, server_names: Sequence[str]
) -> Requested:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [general_name(name) for name in server_names] if profile.is_server else []
    request = make_request(key, subject(profile, principal), principal, profile.usages, names)
    write_private(key_path, private_key_pem(key))
    write_public(request_path, request)
    return Requested(request_path, key_path, key_sha256(key.public_key()))


def _to_sign(request: Path) -> str:
    return f"have the authority sign {os.fspath(request)}, and lay {request.with_suffix('.pem').name} beside it"


def _refuse(path: Path, why: str) -> NoReturn:
    message = f"{path.name} {why}"
    raise RequestInvalid(message)
