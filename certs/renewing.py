"""What an agency does to renew a certificate, where its key is: ask again, and put the answer in its place."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from broker.core.errors import CertificateInvalid, KeyInvalid, SetupInvalid
from broker.core.keyuri import SCHEME
from broker.trust.certificates import load_certificates, principal_of, server_names_of
from broker.trust.keys import load_signing_key
from broker.trust.renewal import check_issuer, finish, pending, pending_certificate, put_in_place, request_of
from broker.trust.requests import key_sha256, read_request
from broker.trust.tokenkeys import is_reference
from certs.enrolment import SUFFIX, Requested, changing, make_key, write_request
from certs.kafka import keystore_of
from certs.profiles import KAFKA_NODE, SIGNING, SIGNING_ML_DSA_65, profile_of
from certs.storage import write_private

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    from certs.profiles import Profile


class Prepared(NamedTuple):
    """How a renewal stands: what was done now, and what is to be done next."""

    done: str
    next: str
    requested: Requested | None = None


def prepare(
    certificate: Path, now: datetime, *, early: bool = False, anew: bool = False, authorities: Path | None = None
) -> Prepared:
    """Do what a renewal needs next. To be run every day: it does nothing twice.

    When two thirds of the certificate's life are over, a new key and a request are laid beside it. When the authority's
    answer lies there too, it takes the place of the former one; a signing certificate's place is for the program to
    change, which knows when the directory lists it.

    A key that waits is never replaced, unless its answer has ended or ``anew`` says so. Its request is written again
    when it is lost.

    Args:
        certificate: the certificate in use. Its key has the same name with the suffix .key.
        now: the time.
        early: do not wait until it is due.
        anew: forget the key, the request and the answer that lie there, and make others.
        authorities: see ``broker.trust.renewal.check_issuer``.

    Raises:
        CertificateInvalid, KeyInvalid: a file cannot be used, it has no profile of this exchange, or is of ML-DSA-65.
    """
    if certificate.suffix != SUFFIX:
        message = f"{certificate.name} must end in {SUFFIX}: the names of its key and its answer are made from it"
        raise CertificateInvalid(message)
    with changing(certificate.parent):
        return _prepare(certificate, now, _Wish(early, anew, authorities))


class _Wish(NamedTuple):
    early: bool
    anew: bool
    authorities: Path | None


def _prepare(certificate: Path, now: datetime, wish: _Wish) -> Prepared:
    key, laid = certificate.with_suffix(".key"), pending(certificate)
    request, next_key = request_of(laid), pending(key)
    # What cannot be read is told below.
    with contextlib.suppress(SetupInvalid):
        finish(certificate, key, locked=True)
    old = load_certificates(certificate)[0]
    profile = profile_of(old)
    if profile is None:
        message = f"{certificate.name} is no certificate of an agency or a broker in this exchange"
        raise CertificateInvalid(message)
    if profile is SIGNING_ML_DSA_65:
        message = f"{certificate.name} is of ML-DSA-65: request another one in another folder (docs/algorithms.md)"
        raise CertificateInvalid(message)
    if profile is KAFKA_NODE:
        _keep_keystore(certificate, key)
    if wish.anew:
        _forget(laid, request, next_key)
    else:
        _forget_ended(laid, next_key, request, now)
    found = pending_certificate(certificate, key, int(now.timestamp() * 1000))
    if found is None:
        return _ask(certificate, old, profile, now, early=wish.early or wish.anew)
    if profile is SIGNING:
        return Prepared(
            "the renewed certificate lies beside it",
            "governance lists it: case-exchange directory add-certificate; then the program takes it up",
        )
    check_issuer(found, certificate, wish.authorities)
    put_in_place(certificate, key, found, locked=True)
    if profile is KAFKA_NODE:
        _keep_keystore(certificate, key)
    return Prepared(f"renewed until {found.not_valid_after_utc.isoformat()}", "nothing: programs take it up")


def _ask(certificate: Path, old: x509.Certificate, profile: Profile, now: datetime, *, early: bool) -> Prepared:
    request, next_key = request_of(pending(certificate)), pending(certificate.with_suffix(".key"))
    if next_key.exists():
        waiting = load_signing_key(next_key)
        done = "the request was made before"
        if not _is_request_of(request, waiting):
            write_request(waiting, request, profile, principal_of(old), server_names_of(old))
            done = "the request was written again, for the key that was made before"
        asked = Requested(request, next_key, key_sha256(waiting.public_key()))
        return Prepared(done, _to_sign(asked.request), asked)
    due = old.not_valid_before_utc + (old.not_valid_after_utc - old.not_valid_before_utc) * 2 / 3
    if now < due and not early:
        return Prepared("nothing", f"run it again: it is due at {due.isoformat(timespec='seconds')}")
    if names_token_key(certificate.with_suffix(".key")):
        # A key that was in a token must not become a file.
        return Prepared("nothing", f"case-exchange token-key URI --out {os.fspath(next_key)}, then run this again")
    asked = make_key(next_key, request, profile, principal_of(old), server_names_of(old))
    return Prepared("a new key and a request", _to_sign(asked.request), asked)


def names_token_key(key: Path) -> bool:
    """Whether this file names a key in a token. Its key is not needed: it may be gone, or moved elsewhere.

    Raises:
        KeyInvalid: it is there, and nobody can say.
    """
    try:
        with key.open("rb") as file:
            return is_reference(file.read(len(SCHEME)))
    except FileNotFoundError:
        return False
    except OSError:
        message = f"{key.name} cannot be read"
        raise KeyInvalid(message) from None


def _forget_ended(laid: Path, next_key: Path, request: Path, now: datetime) -> None:
    """Remove an answer that has ended, and its key: no authority certifies a key twice."""
    if not laid.exists():
        return
    found = load_certificates(laid)[0]
    if found.not_valid_after_utc >= now:
        return
    own = next_key.exists() and load_signing_key(next_key).public_key() == found.public_key()
    _forget(laid, *((request, next_key) if own else ()))


def _forget(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _keep_keystore(certificate: Path, key: Path) -> None:
    """Kafka reads key and certificate from one file: make it up when a process ended before it was written."""
    path, store = keystore_of(certificate), key.read_bytes() + certificate.read_bytes()
    if not path.exists() or path.read_bytes() != store:
        write_private(path, store)


def _is_request_of(request: Path, key: ec.EllipticCurvePrivateKey) -> bool:
    try:
        return read_request(request).key_sha256 == key_sha256(key.public_key())
    except SetupInvalid:
        return False


def _to_sign(request: Path) -> str:
    return f"have the authority sign {os.fspath(request)}, and lay {request.with_suffix('.pem').name} beside it"
