"""Which directory version a record is judged by: the one in force at the broker when it accepted the record.

Near a change, several versions may be right. A version is in force at the broker a moment before the audit stream says
so. A record is checked a moment before it is appended. Each broker process looks for a new version by itself.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from broker.core.errors import CaseExchangeError, DirectoryInvalid, DirectoryVersionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from broker.core.authorship import Certificate, Certificates
    from broker.core.envelope import Envelope
    from broker.core.policy import Directory

_Verdict = TypeVar("_Verdict")

CHANGE_OF_DIRECTORY_MS: Final = 10_000
"""Within this time of a change of the directory, either version is accepted."""


MOST_AHEAD_MS: Final = 3_600_000
"""So far the clock of governance may be ahead of that of a reader."""


class DirectoryVersion(NamedTuple):
    """A directory that the pinned governance key signed, and since when it was in force (epoch milliseconds)."""

    in_force_from_ms: int
    directory: Directory
    certificates: Certificates[Certificate]


def versions_at(versions: Sequence[DirectoryVersion], at_ms: int) -> list[DirectoryVersion]:
    """The versions to judge a record by that was accepted at a time, the most likely first.

    If no known version was in force then, it is the first known version.

    Args:
        versions: in the order in which they came into force.
        at_ms: milliseconds since the Unix epoch, UTC.
    """
    if len(versions) == 1 and versions[0].in_force_from_ms <= at_ms:
        return [versions[0]]
    begun = [version for version in versions if version.in_force_from_ms <= at_ms]
    near = [version for version in versions if abs(version.in_force_from_ms - at_ms) <= CHANGE_OF_DIRECTORY_MS]
    before = begun[-2:-1] if begun and begun[-1] in near else []
    found = [*begun[-1:], *before, *(version for version in near if version.in_force_from_ms > at_ms)]
    return found or [*versions[:1]]


def versions_between(versions: Sequence[DirectoryVersion], begin_ms: int, until_ms: int) -> Iterator[DirectoryVersion]:
    """The versions that were in force at some time of a period, the last first. Arguments as for ``versions_at``."""
    for number in reversed(range(len(versions))):
        next_ms = versions[number + 1].in_force_from_ms if number + 1 < len(versions) else None
        begun = versions[number].in_force_from_ms - CHANGE_OF_DIRECTORY_MS <= until_ms
        if begun and (next_ms is None or next_ms + CHANGE_OF_DIRECTORY_MS >= begin_ms):
            yield versions[number]


def may_be_in_force(directory: Directory, at_ms: int) -> bool:
    """Whether the signed times allow that a version was in force at a time: already issued, and not expired."""
    issued_ms = directory.issued_at_ms - CHANGE_OF_DIRECTORY_MS
    return issued_ms <= at_ms < directory.expires_at_ms + CHANGE_OF_DIRECTORY_MS


def check_issued(directory: Directory, now_ms: int) -> None:
    """Check that a version was issued by now. One of the future could declare losses that are still to come.

    Args:
        directory: the version.
        now_ms: when it is read (epoch milliseconds).

    Raises:
        DirectoryInvalid: it is of the future, by more than clocks may differ.
    """
    if directory.issued_at_ms > now_ms + MOST_AHEAD_MS:
        message = f"version {directory.version} of the directory is issued more than an hour after now"
        raise DirectoryInvalid(message, version=str(directory.version))


def by_any(versions: Iterable[DirectoryVersion], check: Callable[[DirectoryVersion], _Verdict]) -> _Verdict:
    """Return the result of the check under the first version under which it does not fail.

    Raises:
        CaseExchangeError: the check failed under each version. This is its error under the first.
        DirectoryVersionMissing: there is no version.
    """
    refusal: CaseExchangeError | None = None
    for version in versions:
        try:
            return check(version)
        except CaseExchangeError as refused:
            refusal = refusal or refused
    raise refusal or DirectoryVersionMissing("there is no directory version to judge the record by")


class SignerEnd(NamedTuple):
    """When the certificate that signed a record was revoked, and when it ended or was retired (epoch milliseconds).

    None: not after the time of the record, or nobody says so.
    """

    revoked_at_ms: int | None = None
    ended_at_ms: int | None = None


def signer_end(versions: Sequence[DirectoryVersion], envelope: Envelope, accepted_at_ms: int, of_ms: int) -> SignerEnd:
    """What became of the certificates that signed a record, after the time at which it was judged: the first end.

    Args:
        versions: in the order in which they came into force. The newest one says of a certificate whether it is
            retired by now. If it does not list it, those that were in force at the acceptance do.
        envelope: the record.
        accepted_at_ms: when it was accepted.
        of_ms: the time at which it was judged. Like the other, milliseconds since the Unix epoch, UTC.
    """
    known = (*versions[-1:], *versions_at(versions, accepted_at_ms))
    signers = [_signer(known, signature.certificate_sha256) for signature in envelope.signatures]
    revoked = [signer.revoked_at_ms for signer in signers if signer is not None]
    ended = [signer.ended_at_ms for signer in signers if signer is not None]
    return SignerEnd(*(min((end for end in ends if end and end > of_ms), default=None) for ends in (revoked, ended)))


def _signer(versions: Sequence[DirectoryVersion], certificate_sha256: bytes) -> Certificate | None:
    for version in versions:
        with contextlib.suppress(CaseExchangeError):
            return version.certificates.signer(certificate_sha256)
    return None
