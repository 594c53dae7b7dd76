"""The notices in force, from all records that were ever delivered: a pure function of the records and the time.

Nothing is stored between runs: every run computes the result from all records. So nothing that was withdrawn can come
back from an earlier run. The newest message about a notice counts. The following ends a notice, in any order of the
records, because the clocks of two agencies may differ:

- the notice's own withdrawal, or its expiry;
- a Correction of any kind that names one of the notice's records (the corrected text comes as an update);
- a Correction that withdraws or erases the record that the notice answers;
- the Closure of the notice's case, unless a Correction has withdrawn the Closure.

A Correction or Closure counts for a record if its publisher published that record, or if the directory names its
publisher for records of that kind (docs/adr/0025). To end a notice it must count for the notice, or for the record that
the notice answers. Otherwise it is reported (NOT_OBEYED) and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from adapters.base import Issue, IssueList
from adapters.public_notice.defects import without_failing
from caseexchange.records.v1 import case_pb2, notice_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from google.protobuf.timestamp_pb2 import Timestamp

    from adapters.base import Record
    from adapters.folders import About

_WITHDRAWN: Final = frozenset({case_pb2.CORRECTION_KIND_WITHDRAW, case_pb2.CORRECTION_KIND_ERASE})
_SHOWING: Final = frozenset({notice_pb2.NOTICE_ACTION_PUBLISH, notice_pb2.NOTICE_ACTION_UPDATE})
_UUID_VERSION: Final = 7
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""Later times count as this one, because the calendar ends here, in every zone. An id or a field can state any time."""
_LATEST_MS: Final = int(_LATEST.timestamp() * 1000)


class Filed(NamedTuple):
    """A delivered record, its id, and the rest of what the exchange knows about it."""

    record: Record
    record_id: str
    about: About


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
    """One notice: its messages since it was last published, oldest first, and its end, if it has ended.

    ``originals``: the notice, and the records that it answers. What counts for one of them can end the notice.
    """

    notice_id: str
    publisher: str
    cases: set[str] = field(default_factory=set)
    versions: list[Version] = field(default_factory=list)
    end: End | None = None
    originals: list[About] = field(default_factory=list)

    @property
    def current(self) -> Version:
        """The message that counts."""
        return self.versions[-1]

    def obeys(self, word: About) -> bool:
        """Whether a Correction or Closure counts for this notice, or for a record that it answers."""
        return any(original.obeys(word) for original in self.originals)


class NoticeBoard(NamedTuple):
    """The notices that are shown, newest first; those that are gone; and issues that somebody should look at."""

    shown: tuple[Standing, ...]
    gone: tuple[Standing, ...]
    issues: tuple[Issue, ...]


def fold(
    filed: Iterable[Filed],
    now: datetime,
    unreadable: Iterable[About] = (),
    others: Mapping[str, About] = MappingProxyType({}),
) -> NoticeBoard:
    """The notice board at a time.

    If this program fails on a record, it is as if the record could not be read. Nothing of its publisher is then shown
    under its notice's number.

    Args:
        filed: all notices, Corrections and Closures.
        now: the time.
        unreadable: what is known of records that cannot be read. Each hides the notices of its case that it could end.
        others: by record id, what is known of records of other kinds that notices answer.
    """
    issues, doubts, numbers = IssueList(), list(unreadable), set[tuple[str, str]]()

    def failed(item: Filed, defect: Exception) -> None:
        message = f"the program failed on this record: {type(defect).__name__}"
        issues.reject_record("ADAPTER_FAILED", item.record_id, message)
        doubts.append(item.about)
        if isinstance(item.record, notice_pb2.PublicNotice):
            numbers.add((item.record.notice_id, item.about.publisher))

    def make(items: Iterable[Filed]) -> NoticeBoard:
        for item in items:
            # For every record, so that a record with an invalid id also fails alone.
            sent_at(item.record_id)
        left = [
            item for item in items if (getattr(item.record, "notice_id", None), item.about.publisher) not in numbers
        ]
        return _fold(left, now, doubts, others)

    found = without_failing(tuple(filed), make, failed)
    return found._replace(issues=(*issues.items, *found.issues))


def _fold(
    filed: Iterable[Filed], now: datetime, unreadable: Iterable[About], others: Mapping[str, About]
) -> NoticeBoard:
    ordered = sorted(filed, key=lambda item: item.record_id)
    issues = IssueList()
    notices: dict[str, Standing] = {}
    words, owners = _Words(ordered, others, issues), _owners(ordered)
    for item in ordered:
        if not isinstance(item.record, notice_pb2.PublicNotice):
            continue
        if owners.get(item.record.notice_id, item.about.publisher) != item.about.publisher:
            issues.reject_record(
                "NOTICE_OF_ANOTHER", item.record_id, "another agency published a notice with this number"
            )
        else:
            _take(item, item.record, notices, words, issues)
    shown: list[Standing] = []
    gone: list[Standing] = []
    for standing in notices.values():
        standing.end = standing.end or words.closed(standing)
        _settle(standing, now)
        if standing.end is not None:
            gone.append(standing)
        elif standing.versions and any(word.case_id in standing.cases and standing.obeys(word) for word in unreadable):
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


class _Words:
    """The Corrections and Closures. One that would end a notice for which it does not count is an issue."""

    def __init__(self, ordered: Iterable[Filed], others: Mapping[str, About], issues: IssueList) -> None:
        self._others = others
        self._issues = issues
        self._reported: set[str] = set()
        self._corrections: dict[str, list[tuple[Filed, bool]]] = {}
        self._closures = [item for item in ordered if isinstance(item.record, case_pb2.Closure)]
        for item in ordered:
            if isinstance(item.record, case_pb2.Correction) and item.record.target_record_id:
                withdraws = item.record.kind in _WITHDRAWN
                self._corrections.setdefault(item.record.target_record_id, []).append((item, withdraws))

    def originals(self, answered: str) -> Iterable[About]:
        """What is known of the record that a notice answers."""
        return [self._others[answered]] if answered in self._others else []

    def corrected(self, target: str, obeyed: Callable[[About], bool], *, withdrawn: bool = False) -> End | None:
        """The newest Correction of a record that counts. ``withdrawn``: only one that withdraws or erases it."""
        found = [
            End(item.record_id, sent_at(item.record_id))
            for item, withdraws in self._corrections.get(target, ())
            if (withdraws or not withdrawn) and self._counts(item, obeyed)
        ]
        return found[-1] if found else None

    def closed(self, standing: Standing) -> End | None:
        """The first Closure of a notice's case that counts and was not withdrawn."""
        ids = {version.record_id for version in standing.versions}
        for item in self._closures:
            if item.about.case_id not in standing.cases and item.about.in_reply_to not in ids:
                continue
            withdrawn = self.corrected(item.record_id, item.about.obeys, withdrawn=True)
            if self._counts(item, standing.obeys) and not withdrawn:
                return End(item.record_id, sent_at(item.record_id))
        return None

    def _counts(self, item: Filed, obeyed: Callable[[About], bool]) -> bool:
        if obeyed(item.about):
            return True
        if item.record_id not in self._reported:
            self._reported.add(item.record_id)
            message = "its publisher did not publish what it would end, and the directory does not name it for that"
            self._issues.reject_record("NOT_OBEYED", item.record_id, message)
        return False


def _owners(ordered: Iterable[Filed]) -> Mapping[str, str]:
    """By notice number: the agency whose notice with this number the exchange accepted first.

    The order of record ids is not used, because an agency can put any time into its ids.
    """
    found: dict[str, str] = {}
    for item in sorted(ordered, key=lambda item: item.about.accepted_at_ms):
        notice = item.record
        if isinstance(notice, notice_pb2.PublicNotice) and notice.action in _SHOWING and item.about.publisher:
            found.setdefault(notice.notice_id, item.about.publisher)
    return found


def _take(
    item: Filed,
    notice: notice_pb2.PublicNotice,
    notices: dict[str, Standing],
    words: _Words,
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
        known.originals.clear()
    if known is None:
        known = notices[notice.notice_id] = Standing(notice.notice_id, item.about.publisher)
    known.versions.append(Version(notice, item.record_id, sent_at(item.record_id)))
    known.cases |= {item.about.case_id} - {""}
    answered = item.about.in_reply_to
    known.originals += [item.about, *words.originals(answered)]
    known.end = words.corrected(item.record_id, item.about.obeys) or words.corrected(
        answered, known.obeys, withdrawn=True
    )


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
