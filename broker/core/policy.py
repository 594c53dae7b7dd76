"""The directory in force and its rights. Everything that is not granted is denied.

A directory is a signed, versioned document with an end (broker/trust/directory.py reads it). This module holds its
content, and decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from broker.core.errors import IssuedInFuture, PeerUnknown, RecordExpired, RightDenied

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.algorithms import SignatureRule
    from broker.core.body import Body, Routing
    from broker.core.encryptionkeys import EncryptionKey, KeyRetirement
    from broker.core.incarnations import Incarnation
    from broker.core.logkeyends import EndedLogKey

ANY: Final = "*"  # in a right: every agency, or every section
_SOON_MS: Final = 30 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class PublishRight:
    """May publish a kind to the named agencies, with the named sections. All are sealed but those in ``plain``."""

    recipients: frozenset[str]
    sections: frozenset[str]
    plain: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReceiveRight:
    """May receive a kind from the named publishers, with the named sections."""

    publishers: frozenset[str]
    sections: frozenset[str]


@dataclass(frozen=True, slots=True)
class ReplayRight:
    """May replay a stream, with the named sections of its records."""

    sections: frozenset[str]


class RetiredCertificate(NamedTuple):
    """A former signing certificate (DER). It is good for records accepted before its end (epoch milliseconds, UTC)."""

    certificate: bytes
    retired_at_ms: int


@dataclass(frozen=True, slots=True)
class Agency:
    """A member organisation: its rights by kind or stream, and its signing certificates (DER), in use and retired.

    ``limits`` are the quotas that it has instead of a broker's own (broker/core/quota.py has their names).
    ``encryption_keys`` are the keys that it states to be its own, also ended ones. ``key_retirements`` end keys.
    """

    id: str
    name: str
    signing_certificates: tuple[bytes, ...]
    publish: Mapping[str, PublishRight]
    receive: Mapping[str, ReceiveRight]
    replay: Mapping[str, ReplayRight]
    retired_certificates: tuple[RetiredCertificate, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    encryption_keys: tuple[EncryptionKey, ...] = ()
    key_retirements: tuple[KeyRetirement, ...] = ()
    keys_by_id: Mapping[bytes, EncryptionKey] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys_by_id", {key.key_id: key for key in self.encryption_keys})


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory version. Times are milliseconds since the Unix epoch, UTC.

    ``document`` is the signed document, byte for byte. ``log_keys`` are the C2SP verifier keys of the exchange's
    checkpoints. ``exchange`` is the agency id under which the broker itself signs. ``may_correct`` has, by kind, the
    agencies whose Corrections and Closures count for other agencies' records of this kind. ``witness_policy`` is the
    text of a policy file (core/tree/witnesspolicy.py). Empty: no witness is asked. ``timestamp_authorities`` has for
    each authority its certificates (DER): the signer of its timestamps first, the root last. ``incarnations`` declares
    which logs took the place of others. ``ended_log_keys`` says how far each log key counts that is not used any more.
    ``partitions`` says how many partitions a stream has. Of a stream that it does not name, nobody says it.
    ``signatures`` says, by kind, which signatures a record needs. ``ended_algorithms``: see ``end_of``.
    """

    version: int
    trust_domain: str
    issued_at_ms: int
    expires_at_ms: int
    exchange: str
    signing_authorities: tuple[bytes, ...]
    log_keys: tuple[str, ...]
    purposes: frozenset[str]
    agencies: Mapping[str, Agency]
    document: bytes
    may_correct: Mapping[str, frozenset[str]] = field(default_factory=dict)
    witness_policy: str = ""
    timestamp_authorities: tuple[tuple[bytes, ...], ...] = ()
    incarnations: tuple[Incarnation, ...] = ()
    ended_log_keys: tuple[EndedLogKey, ...] = ()
    partitions: Mapping[str, int] = field(default_factory=dict)
    signatures: Mapping[str, SignatureRule] = field(default_factory=dict)
    ended_algorithms: Mapping[str, int] = field(default_factory=dict)

    def agency(self, agency: str) -> Agency:
        """The agency of this id.

        Raises:
            PeerUnknown: there is none.
        """
        found = self.agencies.get(agency)
        if found is None:
            message = "the directory in force lists no such agency"
            raise PeerUnknown(message, agency=agency)
        return found

    def expires_soon(self, now_ms: int) -> bool:
        """Whether less than 30 days, or less than a third of its life, are left."""
        life_ms = self.expires_at_ms - self.issued_at_ms
        return self.expires_at_ms - now_ms < min(_SOON_MS, life_ms // 3)


def check_publish(directory: Directory, body: Body) -> None:
    """Check that the publisher may say this to these recipients.

    If a recipient may not receive the kind from this publisher, the record is refused here. It is not dropped later.

    Raises:
        RightDenied: it names what is not granted.
        PeerUnknown: the publisher or a recipient is not in the directory.
    """
    right = directory.agency(body.publisher).publish.get(body.kind)
    if right is None:
        _deny(body, f"{body.publisher} may not publish {body.kind}")
    if body.purpose not in directory.purposes:
        _deny(body, "the purpose is not one that the directory allows")
    if not body.recipients:
        _deny(body, "a record is addressed to at least one agency")
    for recipient in body.recipients:
        if not _granted(right.recipients, recipient.agency):
            _deny(body, f"{body.publisher} may not address {body.kind} to {recipient.agency}")
        if _receive_right(directory, recipient.agency, body) is None:
            _deny(body, f"{recipient.agency} may not receive {body.kind} from {body.publisher}")
    addressed = frozenset(recipient.agency for recipient in body.recipients)
    for section in body.sections:
        if not _granted(right.sections, section.name):
            _deny(body, f"{body.publisher} may not publish this section of a {body.kind}", section=section.name)
        if not section.audience <= addressed:
            _deny(body, "a section's audience goes beyond the recipients of the record", section=section.name)


def check_times(body: Body, at_ms: int, skew_ms: int) -> None:
    """Check that a record may be accepted at a time.

    Args:
        body: the record's.
        at_ms: the time, milliseconds since the Unix epoch, UTC.
        skew_ms: how far the publisher's clock may be ahead.

    Raises:
        IssuedInFuture: too early. The detail ``retry_after_ms`` says by how much.
        RecordExpired: too late.
    """
    early = body.issued_at_ms - skew_ms - at_ms
    if early > 0:
        message = "it was issued in the future"
        raise IssuedInFuture(message, record_id=body.record_id, retry_after_ms=str(early))
    if body.expires_at_ms is not None and body.expires_at_ms <= at_ms:
        message = "the record has expired"
        raise RecordExpired(message, record_id=body.record_id)


def visible_sections(directory: Directory, agency: str, body: Body | Routing) -> frozenset[str] | None:
    """The names of the sections that ``agency`` may have of this record, or None if it may not have the record."""
    places = visible_places(directory, agency, body)
    return None if places is None else frozenset([body.sections[place].name for place in places])


def visible_places(directory: Directory, agency: str, body: Body | Routing) -> list[int] | None:
    """The same by their places in the body, from 0, in ascending order."""
    if agency not in [recipient.agency for recipient in body.recipients]:
        return None
    right = _receive_right(directory, agency, body)
    if right is None:
        return None
    names, every = right.sections, ANY in right.sections
    return [
        place
        for place, (name, _, _, audience, _) in enumerate(body.sections)
        if (not audience or agency in audience) and (every or name in names)
    ]


def may_be_plain(directory: Directory, body: Body, section: str) -> bool:
    """Whether the publisher may publish this section of the kind plain. What this does not grant is sealed."""
    right = directory.agency(body.publisher).publish.get(body.kind)
    return right is not None and _granted(right.plain, section)


def keys_in_force(agency: Agency, at_ms: int, use: str = "records") -> tuple[EncryptionKey, ...]:
    """The keys to which something may be sealed for an agency at a time, for a use. The newest comes first."""
    found = [key for key in agency.encryption_keys if key.use == use and key.in_force(at_ms)]
    return tuple(sorted(found, key=lambda key: (-key.not_before_ms, key.key_id)))


def check_receive(directory: Directory, agency: str, kinds: frozenset[str]) -> None:
    """Check that an agency may subscribe to these kinds.

    Raises:
        RightDenied: it names the first kind, in alphabetical order, that is not granted.
    """
    rights = directory.agency(agency).receive
    for kind in sorted(kinds):
        if kind not in rights:
            message = f"{agency} may not receive {kind}"
            raise RightDenied(message, agency=agency, kind=kind)


def corrects_of_others(directory: Directory, agency: str) -> frozenset[str]:
    """The kinds of other agencies' records for which a Correction or Closure of this agency counts."""
    return frozenset(kind for kind, agencies in directory.may_correct.items() if agency in agencies)


def may_replay(directory: Directory, agency: str, stream: str) -> bool:
    """Whether ``agency`` may replay ``stream``: whether it is an auditor of it."""
    listed = directory.agencies.get(agency)
    return listed is not None and stream in listed.replay


def replay_sections(directory: Directory, agency: str, stream: str) -> frozenset[str]:
    """The section names, or ``ANY``, that ``agency`` may have when it replays ``stream``.

    Raises:
        RightDenied: it may not replay the stream.
    """
    right = directory.agency(agency).replay.get(stream)
    if right is None:
        message = f"{agency} may not replay the stream {stream}"
        raise RightDenied(message, agency=agency, stream=stream)
    return right.sections


def _receive_right(directory: Directory, agency: str, body: Body | Routing) -> ReceiveRight | None:
    right = directory.agency(agency).receive.get(body.kind)
    return right if right is not None and _granted(right.publishers, body.publisher) else None


def _granted(names: frozenset[str], name: str) -> bool:
    return name in names or ANY in names


def _deny(body: Body, message: str, **details: str) -> NoReturn:
    raise RightDenied(message, record_id=body.record_id, **details)
