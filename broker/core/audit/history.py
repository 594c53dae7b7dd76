"""What a bundle tells of one case or one agency, and whether it tells everything.

A leaf of the tree is a hash, and names no case. So that nothing is missing is proved only where the bundle has the body
of every leaf: the exchange then cannot have left out a record of the case. Each partition, end of a period, or stream
that the bundle lacks is named, because a further record may stand there.

The exchange puts the records of a case into one partition of each stream (``partition_of``). A record in another
partition would be against its own rule. So the two are said apart.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.audit.findings import Severity
from broker.core.streams import AUDIT, STREAMS, StreamPartition, partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from broker.core.audit.report import AuditReport, PartitionReport
    from broker.core.body import Body
    from broker.core.incarnations import Incarnation
    from broker.core.trace import TracedEvent, TracedRecord

_OF_THE_TREE: Final = frozenset(
    {"RECORD_MISSING", "RECORD_CHANGED", "RECORD_INSERTED", "LOG_CHANGED", "BUNDLE_INVALID", "MISPLACED"}
)
"""What is wrong with a partition if these are: another body may have stood there."""


class Subject(NamedTuple):
    """A case (its id on the exchange) or an agency. The other one is empty."""

    case_id: str = ""
    agency: str = ""

    def concerns(self, body: Body) -> bool:
        """Whether a record is one of the case, or published by the agency, or addressed to it."""
        if self.case_id:
            return body.case_id == self.case_id
        return self.agency in (body.publisher, *(recipient.agency for recipient in body.recipients))

    def sees(self, event: TracedEvent, publisher: str) -> bool:
        """Whether an event at a subscription is the subject's, for a record that concerns it."""
        return not self.agency or self.agency in (publisher, event.agency)

    def part_of(self, record: TracedRecord) -> TracedRecord:
        """A record as the subject's history tells it: of what an agency only received, nothing of other recipients."""
        if not self.agency or self.agency == record.publisher:
            return record
        own = tuple(recipient for recipient in record.recipients if recipient.agency == self.agency)
        return record._replace(recipients=own)

    def __str__(self) -> str:
        return f"the case {self.case_id}" if self.case_id else f"the agency {self.agency}"


class Relation(NamedTuple):
    """A record that corrects or replaces another, or a Closure of a case.

    ``counts``: it is of the same publisher as what it names, or the directory of its acceptance lets it count. What it
    names may be outside of the bundle: then this is None.
    """

    record_id: str
    kind: str
    publisher: str
    counts: bool | None


class HistoryRecord(NamedTuple):
    """A record of the subject, and what happened to it, in the order of the audit stream.

    ``supersedes`` is the id of the record that it corrects or replaces, or empty. ``closes``: it is a Closure.
    """

    record: TracedRecord
    events: tuple[TracedEvent, ...]
    supersedes: str
    closes: bool
    changed_by: tuple[Relation, ...]


class RefusedAtTheDoor(NamedTuple):
    """What the exchange refused to accept from an agency, as the audit stream records it (epoch milliseconds)."""

    at_ms: int
    system: str
    reason: str
    record_id: str
    things: int


class ReadBodies(NamedTuple):
    """How many bodies were read of each partition, and how many records of the audit stream show no events.

    ``declared``: the incarnations of logs in the newest directory. ``partitions``: how many streams have, as it says.
    """

    of: Mapping[StreamPartition, int]
    silent: int
    declared: tuple[Incarnation, ...] = ()
    partitions: Mapping[str, int] = MappingProxyType({})


class Completeness(NamedTuple):
    """What is proved not to be missing, and what cannot be excluded, in sentences.

    ``events_known``: the audit stream is here whole.
    """

    proved: tuple[str, ...]
    lacks: tuple[str, ...]
    events_known: bool


def completeness(report: AuditReport, subject: Subject, bodies: ReadBodies) -> Completeness:
    """Whether a bundle tells everything of a subject, by the report of its audit."""
    proved, lacks = list[str](), list[str]()
    events_known = not bodies.silent
    if report.broken_off or report.findings_left_out:
        lacks.append("the bundle breaks off, or has more findings than are kept: nothing is proved to be complete")
    for stream in STREAMS:
        shown = {item.partition: item for item in report.partitions if item.partition.stream == stream}
        events_known = events_known and (stream != AUDIT or bool(shown))
        if not shown:
            lacks.append(f"the stream {stream} is not in this bundle{_HAS[stream == AUDIT]}")
            continue
        home = _home(subject, stream, len(shown))
        for partition, item in sorted(shown.items()):
            missing = list(_missing(report, item, bodies))
            where = _where(partition, home, "" if stream in bodies.partitions else f", if {stream} has {len(shown)}")
            events_known = events_known and (stream != AUDIT or not missing)
            lost = [_lost(each, subject) for each in bodies.declared if each.partition == partition and _loses(each)]
            lacks += [f"{partition}{where}: {each}" for each in (*missing, *lost)]
            events_known = events_known and (stream != AUDIT or not lost)
            if not missing:
                proved.append(f"{partition}{where}: each of its {item.tree_size} records is here")
    if bodies.silent:
        lacks.append(f"{bodies.silent} records of the audit stream show no events to you: their sections are not here")
    return Completeness(tuple(proved), tuple(lacks), events_known)


_HAS: Final = {False: "", True: ", so nothing is known of deliveries and what became of them"}


def _home(subject: Subject, stream: str, partitions: int) -> StreamPartition | None:
    if not subject.case_id or stream == AUDIT:
        return None
    return StreamPartition(stream, partition_of(subject.case_id, partitions))


def _where(partition: StreamPartition, home: StreamPartition | None, condition: str) -> str:
    if home is None:
        return ""
    return f" ({'' if partition == home else 'not '}the case's own partition{condition})"


def _loses(step: Incarnation) -> bool:
    return step.last.checkpoint.size > step.survives


def _lost(step: Incarnation, subject: Subject) -> str:
    """What the directory declares to be lost. The log here may have got some of it again."""
    lost = step.last.checkpoint.size - step.survives
    return f"{lost} records of the former log are declared lost, or more; one may have been of {subject}"


def _missing(report: AuditReport, item: PartitionReport, bodies: ReadBodies) -> Iterator[str]:
    """Why a partition may have had a further record of the subject."""
    if not item.proved:
        yield "the leaves here are not those of the signed tree"
    if (item.first_index, item.end_index) != (0, item.tree_size):
        shown = item.end_index - item.first_index
        outside = item.tree_size - shown
        yield f"the period leaves out {outside} of {item.tree_size} records, before, after or both"
    unread = item.end_index - item.first_index - bodies.of.get(item.partition, 0)
    if unread > 0:
        yield f"{unread} records have no body here that can be read: what they were of cannot be told"
    wrong = {
        finding.code
        for finding in report.findings
        if finding.severity is Severity.ERROR
        and finding.position is not None
        and finding.position.stream_partition == item.partition
        and finding.code in _OF_THE_TREE
    }
    if wrong:
        yield f"there are findings: {', '.join(sorted(wrong))}"
