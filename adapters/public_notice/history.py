"""The notices in force, from all records that were ever delivered: a pure function of the records and the time.

Nothing is stored between runs: every run computes the result from all records. So nothing that was withdrawn can come
back from an earlier run. The newest message about a notice counts. The following ends a notice, in any order of the
records, because the clocks of two agencies may differ:

- the notice's own withdrawal, or its expiry;
- a Correction of any kind that names one of the notice's records (the corrected text comes as an update);
- a Correction that withdraws or erases the record that the notice answers;
- the Closure of the notice's case, unless a Correction has withdrawn the Closure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from adapters.base import Issue, IssueList
from adapters.public_notice.defects import without_failing
from caseexchange.records.v1 import case_pb2, notice_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.timestamp_pb2 import Timestamp

    from adapters.base import Record

_WITHDRAWN: Final = frozenset({case_pb2.CORRECTION_KIND_WITHDRAW, case_pb2.CORRECTION_KIND_ERASE})
_SHOWING: Final = frozenset({notice_pb2.NOTICE_ACTION_PUBLISH, notice_pb2.NOTICE_ACTION_UPDATE})
_UUID_VERSION: Final = 7
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""Later times count as this one, because the calendar ends here, in every zone. An id or a field can state any time."""
_LATEST_MS: Final = int(_LATEST.timestamp() * 1000)


class Filed(NamedTuple):
    """A delivered record, with the routing fields that are needed here."""

    record: Record
    record_id: str
    case_id: str = ""
    publisher: str = ""
    in_reply_to: str = ""
    accepted_at_ms: int = 0
    """When the exchange accepted it. 0 if an earlier release did not store it; then it came before the others."""


class Version(NamedTuple):
    """One message of a notice that was or is shown."""

    notice: notice_pb2.PublicNotice
    record_id: str
    sent: datetime


class End(NamedTuple):
    """The end of a notice: the record that ended it, or else its expiry."""

    record_id: str
    when: datetime


@dataclass(slots=True)
class Standing:
    """One notice: its messages since it was last published, oldest first, and its end, if it has ended."""

    notice_id: str
    publisher: str
    cases: set[str] = field(default_factory=set)
    versions: list[Version] = field(default_factory=list)
    end: End | None = None

    @property
    def current(self) -> Version:
        """The message that counts."""
        return self.versions[-1]


class NoticeBoard(NamedTuple):
    """The notices that are shown, newest first; those that are gone; and issues that somebody should look at."""

    shown: tuple[Standing, ...]
    gone: tuple[Standing, ...]
    issues: tuple[Issue, ...]


def fold(filed: Iterable[Filed], now: datetime, unreadable_cases: frozenset[str] = frozenset()) -> NoticeBoard:
    """The notice board at a time. If a record of a case cannot be read, its notices are not shown.

    If this program fails on a record, the same is true for its case. Nothing is then shown under its notice's number.
    """
    issues, cases, numbers = IssueList(), set(unreadable_cases), set[str]()

    def failed(item: Filed, defect: Exception) -> None:
        message = f"the program failed on this record: {type(defect).__name__}"
        issues.reject_record("ADAPTER_FAILED", item.record_id, message)
        cases.update({item.case_id} - {""})
        numbers.update({item.record.notice_id} if isinstance(item.record, notice_pb2.PublicNotice) else ())

    def make(items: Iterable[Filed]) -> NoticeBoard:
        for item in items:
            # For every record, so that a record with an invalid id also fails alone.
            sent_at(item.record_id)
        left = [item for item in items if getattr(item.record, "notice_id", None) not in numbers]
        return _fold(left, now, frozenset(cases))

    found = without_failing(tuple(filed), make, failed)
    return found._replace(issues=(*issues.items, *found.issues))


def _fold(filed: Iterable[Filed], now: datetime, unreadable_cases: frozenset[str]) -> NoticeBoard:
    ordered = sorted(filed, key=lambda item: item.record_id)
    issues = IssueList()
    notices: dict[str, Standing] = {}
    struck, owners = _struck(ordered), _owners(ordered)
    for item in ordered:
        if not isinstance(item.record, notice_pb2.PublicNotice):
            continue
        if owners.get(item.record.notice_id, item.publisher) != item.publisher:
            issues.reject_record(
                "NOTICE_OF_ANOTHER", item.record_id, "another agency published a notice with this number"
            )
        else:
            _take(item, item.record, notices, struck, issues)
    shown: list[Standing] = []
    gone: list[Standing] = []
    for standing in notices.values():
        standing.end = standing.end or _closed(standing, ordered, struck)
        _settle(standing, now)
        if standing.end is not None:
            gone.append(standing)
        elif standing.versions and standing.cases & unreadable_cases:
            issues.warn("NOTICE_IN_DOUBT", standing.current.record_id, "a record of its case cannot be read")
        elif standing.versions:
            shown.append(standing)
    return NoticeBoard(_newest_first(shown), _newest_first(gone), tuple(issues.items))


def sent_at(record_id: str) -> datetime:
    """When a record was issued, from its id (UUIDv7, RFC 9562 section 5.7)."""
    number = UUID(record_id)
    if number.version != _UUID_VERSION:
        return _EPOCH
    return datetime.fromtimestamp(min(number.int >> 80, _LATEST_MS) // 1000, UTC)


def moment(time: Timestamp) -> datetime | None:
    """A time of a record, or None if it is missing or impossible."""
    if not time.seconds and not time.nanos:
        return None
    try:
        return min(time.ToDatetime(UTC).replace(microsecond=0), _LATEST)
    except (ValueError, OverflowError):
        return None


def _struck(ordered: Iterable[Filed]) -> Mapping[str, tuple[End, bool]]:
    """By record id: what ended a record, and whether all answers to it end too."""
    found: dict[str, tuple[End, bool]] = {}
    for item in ordered:
        if isinstance(item.record, case_pb2.Correction) and item.record.target_record_id:
            end = End(item.record_id, sent_at(item.record_id))
            _, before = found.get(item.record.target_record_id, (end, False))
            found[item.record.target_record_id] = (end, before or item.record.kind in _WITHDRAWN)
    return found


def _owners(ordered: Iterable[Filed]) -> Mapping[str, str]:
    """By notice number: the agency whose notice with this number the exchange accepted first.

    The order of record ids is not used, because an agency can put any time into its ids.
    """
    found: dict[str, str] = {}
    for item in sorted(ordered, key=lambda item: item.accepted_at_ms):
        notice = item.record
        if isinstance(notice, notice_pb2.PublicNotice) and notice.action in _SHOWING and item.publisher:
            found.setdefault(notice.notice_id, item.publisher)
    return found


def _take(
    item: Filed,
    notice: notice_pb2.PublicNotice,
    notices: dict[str, Standing],
    struck: Mapping[str, tuple[End, bool]],
    issues: IssueList,
) -> None:
    known = notices.get(notice.notice_id)
    if notice.action == notice_pb2.NOTICE_ACTION_WITHDRAW:
        if known is not None and known.end is None:
            known.end = End(item.record_id, sent_at(item.record_id))
        return
    if notice.action not in _SHOWING:
        # The public sees only what is known to be for the public.
        issues.reject_record("ACTION_UNKNOWN", item.record_id, "a notice must be published, updated or withdrawn")
        return
    if known is not None and known.end is not None:
        if notice.action == notice_pb2.NOTICE_ACTION_UPDATE:
            issues.warn(
                "UPDATE_AFTER_END", item.record_id, "the notice was withdrawn; only a new publication shows it again"
            )
            return
        known.end = None
        known.versions.clear()
    if known is None:
        known = notices[notice.notice_id] = Standing(notice.notice_id, item.publisher)
    known.versions.append(Version(notice, item.record_id, sent_at(item.record_id)))
    known.cases |= {item.case_id} - {""}
    own, answered = struck.get(item.record_id), struck.get(item.in_reply_to)
    if own is not None:
        known.end = own[0]
    elif answered is not None and answered[1]:
        known.end = answered[0]


def _closed(standing: Standing, ordered: Iterable[Filed], struck: Mapping[str, tuple[End, bool]]) -> End | None:
    ids = {version.record_id for version in standing.versions}
    for item in ordered:
        if not isinstance(item.record, case_pb2.Closure) or struck.get(item.record_id, (None, False))[1]:
            continue
        if item.case_id in standing.cases or item.in_reply_to in ids:
            return End(item.record_id, sent_at(item.record_id))
    return None


def _settle(standing: Standing, now: datetime) -> None:
    """Leave out messages that are not in force yet, and end a notice that has expired."""
    if standing.end is not None:
        return
    standing.versions = [
        version for version in standing.versions if (moment(version.notice.effective_at) or _EPOCH) <= now
    ]
    expiry = moment(standing.current.notice.expires_at) if standing.versions else None
    if expiry is not None and expiry <= now:
        standing.end = End("", expiry)


def _newest_first(standings: Iterable[Standing]) -> tuple[Standing, ...]:
    return tuple(sorted(standings, key=lambda item: item.current.record_id, reverse=True))
