"""Which notices stand now, told from everything that was ever delivered: a pure function of the records and the time.

The board forgets nothing and remembers nothing: every run folds all records again, so what a withdrawal names cannot
come back through something that an earlier run left behind. The newest word about a notice counts. What strikes a
notice does so wherever it stands in the order, because the clocks of two agencies may disagree:

- the notice's own withdrawal, or its expiry;
- a Correction of any kind that names one of the notice's records (what it should say instead comes as an update);
- a Correction that withdraws or erases the record that the notice answers;
- the Closure of the notice's case, unless a Correction has withdrawn the Closure itself.
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
"""Later times count as this one: the calendar ends here, in every zone. An id or a field can hold what it likes."""
_LATEST_MS: Final = int(_LATEST.timestamp() * 1000)


class Filed(NamedTuple):
    """A record that was delivered, with the routing fields that matter here."""

    record: Record
    record_id: str
    case_id: str = ""
    publisher: str = ""
    in_reply_to: str = ""
    accepted_at_ms: int = 0
    """When the exchange accepted it. 0 where that was not kept: by an earlier release, so it came before the others."""


class Version(NamedTuple):
    """One message of a notice that was shown, or is."""

    notice: notice_pb2.PublicNotice
    record_id: str
    sent: datetime


class End(NamedTuple):
    """What ended a notice: a record, or for want of one its expiry."""

    record_id: str
    when: datetime


@dataclass(slots=True)
class Standing:
    """One notice: its messages since it was last published, oldest first, and its end, if it has come."""

    notice_id: str
    publisher: str
    cases: set[str] = field(default_factory=set)
    versions: list[Version] = field(default_factory=list)
    end: End | None = None

    @property
    def current(self) -> Version:
        """The message that counts."""
        return self.versions[-1]


class Board(NamedTuple):
    """What is shown, newest first; what was shown and is gone; and what somebody should look at."""

    shown: tuple[Standing, ...]
    gone: tuple[Standing, ...]
    issues: tuple[Issue, ...]


def fold(filed: Iterable[Filed], now: datetime, doubtful_cases: frozenset[str] = frozenset()) -> Board:
    """The board at a time. Notices of a doubtful case (a record of it cannot be read) are not shown.

    A record on which this program fails makes its case doubtful, and nothing is shown under its notice's number.
    """
    issues, cases, numbers = IssueList(), set(doubtful_cases), set[str]()

    def failed(item: Filed, defect: Exception) -> None:
        message = f"the program failed on this record: {type(defect).__name__}"
        issues.reject_record("ADAPTER_FAILED", item.record_id, message)
        cases.update({item.case_id} - {""})
        numbers.update({item.record.notice_id} if isinstance(item.record, notice_pb2.PublicNotice) else ())

    def make(items: Iterable[Filed]) -> Board:
        for item in items:
            # Of every record, so that one whose time cannot be told fails alone too, and not only beside another.
            sent_at(item.record_id)
        left = [item for item in items if getattr(item.record, "notice_id", None) not in numbers]
        return _fold(left, now, frozenset(cases))

    found = without_failing(tuple(filed), make, failed)
    return found._replace(issues=(*issues.items, *found.issues))


def _fold(filed: Iterable[Filed], now: datetime, doubtful_cases: frozenset[str]) -> Board:
    ordered = sorted(filed, key=lambda item: item.record_id)
    issues = IssueList()
    notices: dict[str, Standing] = {}
    struck, owners = _struck(ordered), _owners(ordered)
    for item in ordered:
        if not isinstance(item.record, notice_pb2.PublicNotice):
            continue
        if owners.get(item.record.notice_id, item.publisher) != item.publisher:
            issues.reject_record(
                "NOTICE_OF_ANOTHER", item.record_id, "another agency published a notice of this number"
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
        elif standing.versions and standing.cases & doubtful_cases:
            issues.warn("NOTICE_IN_DOUBT", standing.current.record_id, "a record of its case cannot be read")
        elif standing.versions:
            shown.append(standing)
    return Board(_newest_first(shown), _newest_first(gone), tuple(issues.items))


def sent_at(record_id: str) -> datetime:
    """When a record was issued, by its id (UUIDv7, RFC 9562 section 5.7)."""
    number = UUID(record_id)
    if number.version != _UUID_VERSION:
        return _EPOCH
    return datetime.fromtimestamp(min(number.int >> 80, _LATEST_MS) // 1000, UTC)


def moment(time: Timestamp) -> datetime | None:
    """A time of a record, or None where it holds none, or an impossible one."""
    if not time.seconds and not time.nanos:
        return None
    try:
        return min(time.ToDatetime(UTC).replace(microsecond=0), _LATEST)
    except (ValueError, OverflowError):
        return None


def _struck(ordered: Iterable[Filed]) -> Mapping[str, tuple[End, bool]]:
    """By record id: what struck it, and whether all that answers it is struck too."""
    found: dict[str, tuple[End, bool]] = {}
    for item in ordered:
        if isinstance(item.record, case_pb2.Correction) and item.record.target_record_id:
            end = End(item.record_id, sent_at(item.record_id))
            _, before = found.get(item.record.target_record_id, (end, False))
            found[item.record.target_record_id] = (end, before or item.record.kind in _WITHDRAWN)
    return found


def _owners(ordered: Iterable[Filed]) -> Mapping[str, str]:
    """By notice number: the agency whose notice of it the exchange accepted first.

    Not by record ids: whoever makes one can put any time into it.
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
        # What is not known to be for the public is not shown to it.
        issues.reject_record("ACTION_UNKNOWN", item.record_id, "a notice is published, updated or withdrawn")
        return
    if known is not None and known.end is not None:
        if notice.action == notice_pb2.NOTICE_ACTION_UPDATE:
            issues.warn(
                "UPDATE_AFTER_END", item.record_id, "the notice was withdrawn; only publishing it shows it again"
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
