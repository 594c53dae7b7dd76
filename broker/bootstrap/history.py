"""Read from a bundle everything that happened to one case or agency. The bundle was verified just before.

The file is read twice: first its bodies, then its audit stream. What concerns the subject is kept in a temporary file,
so memory does not grow with it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from broker.bootstrap.judges import FRAMES, Trust
from broker.core.audit.beginning import read_beginning
from broker.core.audit.history import HistoryRecord, ReadBodies, RefusedAtTheDoor, Relation
from broker.core.audit.judge import events_in
from broker.core.bundle import BundleFrames, PartitionRecords
from broker.core.errors import BundleInvalid, CaseExchangeError, PeerIdentityMissing
from broker.core.events import Pointer, RefusalMade, SubscriptionBegun, SubscriptionDeleted, TakenOver
from broker.core.identity import Principal
from broker.core.inforce import versions_at
from broker.core.policy import corrects_of_others, visible_sections
from broker.core.reigns import Reigns, of_reign
from broker.core.streams import AUDIT, EVENT_KINDS, Position
from broker.core.subscriptions import has_effect
from broker.core.trace import Step, TracedEvent, TracedRecipient, TracedRecord, begun_behind, traced, without_finished
from broker.wire.bundle import read_frames
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from broker.core.audit.history import Subject
    from broker.core.body import Body
    from broker.core.bundle import BundleEntry
    from broker.core.events import AuditEvent
    from broker.core.inforce import DirectoryVersion
    from broker.core.policy import Directory
    from broker.core.streams import StreamPartition

_TABLES: Final = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE records (stream TEXT, part INT, place INT, publisher TEXT, kind TEXT, told TEXT, supersedes TEXT)",
    "CREATE UNIQUE INDEX record_at ON records (stream, part, place)",
    "CREATE TABLE events (number INTEGER, stream TEXT, part INTEGER, place INTEGER, told TEXT NOT NULL)",
    "CREATE INDEX events_of_record ON events (stream, part, place, number)",
    "CREATE TABLE changes (target TEXT, record_id TEXT, kind TEXT, publisher TEXT, accepted_ms INTEGER)",
    "CREATE INDEX changes_of_record ON changes (target)",
    "CREATE TABLE refusals (told TEXT NOT NULL)",
    "BEGIN",
)


class History:
    """What a bundle has of a subject. ``bodies`` says what was read."""

    def __init__(self, subject: Subject, versions: Sequence[DirectoryVersion]) -> None:
        # SQLite keeps a database without a name in a file of its own that it has already unlinked.
        self._connection = sqlite3.connect("", isolation_level=None)
        for statement in _TABLES:
            self._connection.execute(statement)
        self.subject = subject
        self._versions = versions
        self._codec = ProtobufCodec()
        self._reigns = Reigns()
        self._orders: dict[tuple[str, str], int] = {}
        self._begun: dict[tuple[str, str], tuple[int, AuditEvent]] = {}
        self._read: dict[StreamPartition, int] = defaultdict(int)
        self._silent = self._number = 0

    def close(self) -> None:
        """Delete everything."""
        self._connection.close()

    @property
    def bodies(self) -> ReadBodies:
        """How much was read."""
        newest = self._versions[-1].directory
        return ReadBodies(self._read, self._silent, newest.incarnations, newest.partitions)

    @property
    def records(self) -> int:
        """How many records of the bundle are the subject's."""
        return int(self._connection.execute("SELECT count(*) FROM records").fetchone()[0])

    def each(self) -> Iterator[HistoryRecord]:
        """The subject's records, by stream, partition and offset, with what happened to each."""
        query = "SELECT told, supersedes, kind FROM records ORDER BY stream, part, place"
        for told, supersedes, kind in self._connection.execute(query):
            record = self.subject.part_of(_record_from(told))
            yield HistoryRecord(
                record, self._events_of(record), supersedes, kind == "Closure", tuple(self._changes_of(record))
            )

    def refused(self) -> Iterator[RefusedAtTheDoor]:
        """What the exchange refused to accept from the agency, in order."""
        for (told,) in self._connection.execute("SELECT told FROM refusals ORDER BY rowid"):
            yield RefusedAtTheDoor(*json.loads(told))

    # --- reading ---

    def take_bodies(self, batch: PartitionRecords, newest: Directory) -> None:
        """Take the bodies of a batch: the first reading."""
        for entry in batch.entries:
            with contextlib.suppress(CaseExchangeError):
                body = self._codec.parse_body(entry.envelope.body)
                self._read[entry.position.stream_partition] += 1
                if entry.position.stream == AUDIT:
                    continue
                if body.supersedes:
                    change = (body.supersedes, body.record_id, body.kind, body.publisher, entry.accepted_at_ms)
                    self._connection.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?)", change)
                if self.subject.concerns(body):
                    told = _record_to(entry, body, newest)
                    row = (*entry.position, body.publisher, body.kind, told, body.supersedes)
                    self._connection.execute("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def take_events(self, batch: PartitionRecords) -> None:
        """Take what a batch of the audit stream tells: the second reading."""
        for entry in batch.entries:
            if entry.position.stream != AUDIT:
                continue
            with contextlib.suppress(CaseExchangeError):
                if self._codec.parse_body(entry.envelope.body).kind not in EVENT_KINDS:
                    continue
                self._silent += not entry.envelope.sections
                for told in events_in(entry.envelope, self._codec):
                    self._number += 1
                    self._take(told)

    def __contains__(self, position: object) -> bool:
        """Whether a record at a position is the subject's."""
        return isinstance(position, tuple) and self._publisher(Position(*position)) is not None

    def _publisher(self, position: Position) -> str | None:
        query = "SELECT publisher FROM records WHERE stream = ? AND part = ? AND place = ?"
        row = self._connection.execute(query, position).fetchone()
        return None if row is None else str(row[0])

    def _take(self, told: AuditEvent) -> None:
        event = told.event
        if isinstance(event, Pointer | TakenOver) and self._reigns.make_void(of_reign(event)):
            return
        if isinstance(event, SubscriptionBegun | SubscriptionDeleted):
            name = (event.agency, event.subscription)
            if has_effect(event.generation, self._orders.get(name)):
                self._orders[name] = event.generation
                self._begun[name] = (self._number, told)
        elif isinstance(event, RefusalMade):
            self._take_refusal(told, event)
        else:
            for each in traced(told, self):
                if self.subject.sees(each, self._publisher(each.position) or ""):
                    row = (self._number, *each.position, _event_to(each))
                    self._connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)

    def _take_refusal(self, told: AuditEvent, refusal: RefusalMade) -> None:
        with contextlib.suppress(PeerIdentityMissing):
            principal = Principal.parse(told.principal)
            if principal.agency == self.subject.agency:
                row = (told.at_ms, principal.system, refusal.reason, refusal.record_id, refusal.count)
                self._connection.execute("INSERT INTO refusals VALUES (?)", (json.dumps(row),))

    # --- telling ---

    def _events_of(self, record: TracedRecord) -> tuple[TracedEvent, ...]:
        query = "SELECT number, told FROM events WHERE stream = ? AND part = ? AND place = ? ORDER BY number"
        found = [
            (number, _event_from(told, record.position))
            for number, told in self._connection.execute(query, record.position)
        ]
        for number, told in self._begun.values():
            for event, behind in begun_behind(told, [record]):
                if behind and self.subject.sees(event, record.publisher):
                    found.append((number, event))
        found.sort(key=lambda each: each[0])
        return tuple(without_finished((event for _, event in found), set()))

    def _changes_of(self, record: TracedRecord) -> Iterator[Relation]:
        query = "SELECT record_id, kind, publisher, accepted_ms FROM changes WHERE target = ? ORDER BY rowid"
        for record_id, kind, publisher, accepted_ms in self._connection.execute(query, (record.record_id,)):
            counts = publisher == record.publisher or any(
                record.kind in corrects_of_others(version.directory, publisher)
                for version in versions_at(self._versions, accepted_ms)
            )
            yield Relation(record_id, kind, publisher, counts)


@contextlib.contextmanager
def read_history(path: Path, roots: tuple[Path, ...], subject: Subject) -> Iterator[History]:
    """Read a bundle for one subject. It must have been verified: nothing is checked here.

    Raises:
        BundleInvalid: the file cannot be read.
        DirectoryInvalid, KeyInvalid, RevocationListInvalid, CertificateInvalid
    """
    try:
        with path.open("rb") as file:
            trust, _ = Trust.of(read_beginning(BundleFrames(read_frames(file)), FRAMES), roots)
        versions = trust.versions()
        with contextlib.closing(History(subject, versions)) as history:
            for batch in _batches(path):
                history.take_bodies(batch, versions[-1].directory)
            for batch in _batches(path):
                history.take_events(batch)
            yield history
    except OSError as failure:
        message = f"the bundle cannot be read: {failure.strerror}"
        raise BundleInvalid(message) from failure


def _batches(path: Path) -> Iterator[PartitionRecords]:
    """The batches of a bundle, up to where it cannot be read."""
    with path.open("rb") as file, contextlib.suppress(BundleInvalid):
        for data in read_frames(file):
            if FRAMES.holds_records(data):
                with contextlib.suppress(CaseExchangeError):
                    frame = FRAMES.read(data)
                    if isinstance(frame, PartitionRecords):
                        yield frame


def _record_to(entry: BundleEntry, body: Body, newest: Directory) -> str:
    recipients = [
        (recipient.agency, visible_sections(newest, recipient.agency, body) is not None)
        if recipient.agency in newest.agencies
        else (recipient.agency, False)
        for recipient in body.recipients
    ]
    told = (body.record_id, body.kind, body.case_id, body.publisher, entry.position, entry.accepted_at_ms, recipients)
    return json.dumps(told)


def _record_from(text: str) -> TracedRecord:
    record_id, kind, case_id, publisher, position, accepted_at_ms, recipients = json.loads(text)
    named = tuple(TracedRecipient(agency, allowed) for agency, allowed in recipients)
    return TracedRecord(record_id, kind, case_id, publisher, Position(*position), accepted_at_ms, named)


def _event_to(event: TracedEvent) -> str:
    return json.dumps((*event[1:4], event.step.value, *event[5:]))


def _event_from(text: str, position: Position) -> TracedEvent:
    agency, subscription, at_ms, step, attempt, withheld, code, reason = json.loads(text)
    return TracedEvent(position, agency, subscription, at_ms, Step(step), attempt, tuple(withheld), code, reason)
