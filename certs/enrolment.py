"""Enrolment and renewal in an exchange: an agency keeps its keys, and an authority signs what it asks for.

The agency makes key and request where the key is used (``make_all``; at a renewal, certs/renewing.py). The authority
signs (``sign``). What it signs is laid beside the request and has the same name with the suffix .pem.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from broker.core.errors import CertificateInvalid, RequestInvalid, SetupInvalid
from broker.files import exclusive
from broker.trust.certificates import pem
from broker.trust.renewal import request_of
from broker.trust.requests import key_sha256, make_request, read_request
from broker.trust.tokenkeys import make_signing_key
from certs.folder import AUTHORITY_KINDS
from certs.profiles import SIGNING, general_name, is_server_name, profile_of, subject
from certs.signingkeys import key_pem, new_key
from certs.storage import make_folder, write_private, write_public

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from cryptography import x509

    from broker.core.identity import Principal
    from broker.core.keyuri import KeyUri
    from broker.trust.requests import CertificateRequest
    from certs.folder import PkiFolder
    from certs.profiles import Profile
    from certs.signingkeys import PrivateKey


SUFFIX: Final = ".pem"


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


def make(folder: Path, profile: Profile, principal: Principal, server_names: Sequence[str] = ()) -> Requested:
    """As ``make_all``, for one profile."""
    return make_all(folder, [profile], principal, server_names)[0]


def make_all(
    folder: Path,
    profiles: Sequence[Profile],
    principal: Principal,
    server_names: Sequence[str] = (),
    uri: KeyUri | None = None,
) -> list[Requested]:
    """Make keys that never leave this folder, and a request for a certificate of each: all, or none.

    ``uri``: the signing key is the one of this name in a token. It is made there if it is not there.

    Raises:
        CertificateInvalid: there is already a key or certificate. Only a renewal may replace it.
        RequestInvalid: a name is none that a server can have; or a key in a token is asked for, and none signs.
        SetupInvalid: the folder cannot be used.
        HardwareKeyUnavailable: the token cannot be used now.
    """
    if uri is not None and SIGNING not in profiles:
        message = "only a signing key can be in a token: TLS libraries need the key itself"
        raise RequestInvalid(message)
    with changing(make_folder(folder)):
        certificates = {folder / f"{profile.file_stem}.pem": profile for profile in profiles}
        for path in (path for one in certificates for path in (one.with_suffix(".key"), one)):
            if path.exists():
                message = f"{path.name} exists already; renew it with case-exchange certs renew"
                raise CertificateInvalid(message)
        _general_names(server_names)
        in_token = None if uri is None else make_signing_key(uri)
        return [
            make_key(
                path.with_suffix(".key"),
                request_of(path),
                profile,
                principal,
                server_names,
                key=in_token if profile is SIGNING else None,
            )
            for path, profile in certificates.items()
        ]


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Be the only one that changes this folder of keys."""
    try:
        with exclusive(folder):
            yield
    except OSError as error:
        message = f"the folder {folder.name} cannot be used: {error.strerror}"
        raise SetupInvalid(message) from error


def check(pki: PkiFolder, order: Order) -> tuple[CertificateRequest, Profile, Path]:
    """Check that a request is exactly what the authority was asked to sign. Return it, and its certificate's file.

    Raises:
        RequestInvalid: nobody has shown to have the key; it names another principal, profile or server; or the key was
            certified before.
        CertificateInvalid: there is a certificate already.
    """
    if order.request.suffix == SUFFIX:
        _refuse(order.request, f"must end in .csr: its certificate is written beside it, with the suffix {SUFFIX}")
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
            told = f"certified before, as serial number {former.serial} ({former.profile})"
            _refuse(path, f"has a key that was {told}; if that certificate is lost: case-exchange certs renew --anew")
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
    with pki.locked():
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


def make_key(
    key_path: Path,
    request_path: Path,
    profile: Profile,
    principal: Principal,
    server_names: Sequence[str],
    *,
    key: PrivateKey | None = None,
) -> Requested:
    """Make a key, unless there is this one, and its request.

    The caller has the folder (``changing``), and looked that no key is there.
    """
    key = new_key(profile) if key is None else key
    write_private(key_path, key_pem(key))
    write_request(key, request_path, profile, principal, server_names)
    return Requested(request_path, key_path, key_sha256(key.public_key()))


def write_request(
    key: PrivateKey,
    path: Path,
    profile: Profile,
    principal: Principal,
    server_names: Sequence[str],
) -> None:
    """Write the request for the certificate of a key, public and whole.

    Raises:
        RequestInvalid: a name is none that a server can have.
    """
    names = _general_names(server_names) if profile.is_server else []
    write_public(path, make_request(key, subject(profile, principal), principal, profile.usages, names))


def _general_names(server_names: Sequence[str]) -> list[x509.GeneralName]:
    for name in server_names:
        if not is_server_name(name):
            message = f"{name!r} is no DNS name or address; write a name of other letters as xn--…"
            raise RequestInvalid(message)
    return [general_name(name) for name in server_names]


def _refuse(path: Path, why: str) -> NoReturn:
    message = f"{path.name} {why}"
    raise RequestInvalid(message)
