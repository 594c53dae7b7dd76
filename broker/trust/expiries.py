"""When what trust rests on ends: certificates, authorities, encryption keys, the directory and revocation lists.

Each is to be renewed when two thirds of its life are over: the last third is the time to do it in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from cryptography import x509

from broker.core.encryptionkeys import ARCHIVE, RECORDS
from broker.core.errors import CaseExchangeError
from broker.trust.certificates import fingerprint, load_certificates, parse_certificate, validity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.policy import Agency, Directory
    from broker.ports import Clock

_log = structlog.get_logger("broker.trust")
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_DIGITS: Final = 16
"""So many digits of a key's id name it, as they do its file."""
ARCHIVE_KEY: Final = "archive key"
AUTHORITY: Final = "authority"
DIRECTORY: Final = "directory"
KEY: Final = "encryption key"
LIST: Final = "revocation list"
SIGNING: Final = "signing certificate"
TLS: Final = "TLS certificate"
_REMEDIES: Final = {
    ARCHIVE_KEY: "The agency: case-exchange keys rotate --use archive, and give governance the statements.",
    AUTHORITY: "Governance: make another authority, and list it beside this one before it ends.",
    DIRECTORY: "Governance: sign the next version: case-exchange directory sign.",
    KEY: "The agency: case-exchange keys rotate, and give governance the statements before it ends (docs/keys.md).",
    LIST: "The authority: publish a fresh list: case-exchange certs crl.",
    SIGNING: "Make a request with case-exchange certs renew, and have it signed and listed (docs/enrolment.md).",
    TLS: "Make a request with case-exchange certs renew, and have it signed (docs/enrolment.md).",
}


class Expiry(NamedTuple):
    """The life of one thing, in milliseconds since the Unix epoch, UTC. ``name`` is a file, an issuer or a version.

    ``key`` tells those of one name apart: the whole path with the certificate's fingerprint, or the authority's key.
    ``followed``: another one is there already that lasts longer, so nothing is to be done about the end of this one.
    """

    what: str
    name: str
    first_ms: int
    last_ms: int
    key: str = ""
    followed: bool = False

    @property
    def due_ms(self) -> int:
        """When two thirds of its life are over; after its end, if it is followed."""
        if self.followed:
            return self.last_ms + 1
        return self.first_ms + (self.last_ms - self.first_ms) * 2 // 3

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return _REMEDIES[self.what]


class ExpiryWatch:
    """Tells the operator's log once a day what is to be renewed, and what has ended. For one thread at a time."""

    def __init__(self, expiries: Callable[[], Iterable[Expiry]], clock: Clock) -> None:
        self._expiries = expiries
        self._clock = clock
        self._told: dict[tuple[str, str, str], int] = {}
        self._looked_ms = -_HOUR_MS

    def look(self) -> None:
        """Look once an hour. What cannot be read is told elsewhere: whoever uses it fails."""
        now_ms = self._clock.now_ms()
        if 0 <= now_ms - self._looked_ms < _HOUR_MS:
            return
        self._looked_ms = now_ms
        for one in self._expiries():
            last = self._told.get((one.what, one.name, one.key))
            if now_ms < one.due_ms or (last is not None and 0 <= now_ms - last < _DAY_MS):
                continue
            self._told[one.what, one.name, one.key] = now_ms
            tell, state = (_log.warning, "ends soon") if now_ms <= one.last_ms else (_log.error, "has ended")
            hours = (one.last_ms - now_ms) // _HOUR_MS
            article = "an" if one.what in {AUTHORITY, ARCHIVE_KEY, KEY} else "a"
            tell(f"{article} {one.what} {state}: renew it", path=one.name, hours=hours, remedy=one.remedy)


def certificate_expiries(what: str, *paths: Path) -> list[Expiry]:
    """The certificates in these files. One that cannot be read is left out."""
    found = []
    for path in paths:
        try:
            for one in load_certificates(path):
                key = f"{path.absolute()} {fingerprint(one).hex()}"
                found.append(Expiry(what, path.name, *validity(one), key=key))
        except CaseExchangeError:
            continue
    return found


def own_expiries(tls: Path, signing: Path, authorities: Path, directory: Directory) -> list[Expiry]:
    """What a broker or an edge has of its own, and the authorities of TLS and of signing certificates."""
    return [
        *certificate_expiries(TLS, tls),
        *certificate_expiries(SIGNING, signing),
        *certificate_expiries(AUTHORITY, authorities),
        *authority_expiries(directory.signing_authorities),
    ]


def authority_expiries(certificates: Iterable[bytes]) -> list[Expiry]:
    """The authorities that a directory lists, by their names."""
    parsed = map(parse_certificate, certificates)
    return [
        Expiry(AUTHORITY, one.subject.rfc4514_string(), *validity(one), key=fingerprint(one).hex()) for one in parsed
    ]


def list_expiries(documents: Sequence[bytes]) -> list[Expiry]:
    """Revocation lists (DER) that were verified, by their issuers."""
    found = []
    for document in documents:
        crl = x509.load_der_x509_crl(document)
        if crl.next_update_utc is not None:
            life = [int(time.timestamp() * 1000) for time in (crl.last_update_utc, crl.next_update_utc)]
            identifier = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""
            found.append(Expiry(LIST, crl.issuer.rfc4514_string(), life[0], life[1], identifier.hex()))
    return found


def directory_expiry(directory: Directory) -> Expiry:
    """The directory in force."""
    return Expiry(DIRECTORY, f"version {directory.version}", directory.issued_at_ms, directory.expires_at_ms)


def key_expiries(
    directory: Directory, agencies: Iterable[str], now_ms: int, uses: Collection[str] = (RECORDS, ARCHIVE)
) -> list[Expiry]:
    """From when on nothing may be sealed to the encryption keys that a directory lists for these agencies.

    Of each use: those that have not ended. While none is in force, also the one that ended last, because nobody can
    seal to the agency. One is followed if another is in force when it ends.
    """
    members = [directory.agencies[name] for name in agencies if name in directory.agencies]
    return [one for member in members for use in uses for one in _key_expiries(member, use, now_ms)]


def _key_expiries(member: Agency, use: str, now_ms: int) -> list[Expiry]:
    keys = [key for key in member.encryption_keys if key.use == use]
    told = [key for key in keys if now_ms < key.ends_at_ms]
    ended = [key for key in keys if now_ms >= key.ends_at_ms]
    if ended and not any(key.in_force(now_ms) for key in told):
        told.insert(0, max(ended, key=_lasting))
    return [_key_expiry(key, [other for other in keys if other.in_force(key.ends_at_ms)]) for key in told]


def _lasting(key: EncryptionKey) -> tuple[int, bytes]:
    return key.ends_at_ms, key.key_id


def _key_expiry(key: EncryptionKey, followers: Collection[EncryptionKey]) -> Expiry:
    notes = ["retired"] if key.retired_at_ms is not None else []
    notes += [f"followed by {max(followers, key=_lasting).key_id.hex()[:_DIGITS]}"] if followers else []
    name = f"{key.agency} {key.key_id.hex()[:_DIGITS]}" + (f" ({', '.join(notes)})" if notes else "")
    what = ARCHIVE_KEY if key.use == ARCHIVE else KEY
    return Expiry(what, name, key.not_before_ms, key.ends_at_ms, key.key_id.hex(), followed=bool(followers))
