"""The history of a case or an agency in a bundle, in words and as JSON lines."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import click

from broker.cli.recordtext import record_facts, record_lines, time_text
from broker.core.audit.history import Subject
from broker.core.body import is_uuid
from broker.core.identity import is_agency_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.bootstrap.history import History
    from broker.core.audit.history import Completeness, HistoryRecord, RefusedAtTheDoor, Relation

MOST_RECORDS: Final = 200
"""So many records are printed as text, and so many refusals. JSON has all."""

case_option: Final = click.option(
    "--case",
    "case_id",
    default="",
    metavar="ID",
    help="Also tell everything that happened to this case (its id on the exchange), and what may be missing.",
)
agency_option: Final = click.option(
    "--agency", default="", metavar="AGENCY", help="The same for what this agency published and received."
)


def subject_of(case_id: str, agency: str) -> Subject | None:
    """What to tell the history of. None: of nothing.

    Raises:
        click.UsageError: the ids are wrong.
    """
    if case_id and agency:
        message = "give --case or --agency, not both"
        raise click.UsageError(message)
    if case_id and not is_uuid(case_id):
        message = "--case takes a case's id on the exchange: a UUID in lower case"
        raise click.UsageError(message)
    if agency and not is_agency_id(agency):
        message = "--agency takes an agency id, as in the directory"
        raise click.UsageError(message)
    return Subject(case_id, agency) if case_id or agency else None


def history_lines(history: History, complete: Completeness) -> Iterator[str]:
    """The history as text."""
    records = history.records
    yield f"history of {history.subject}: {records} records are in this bundle"
    for item in itertools.islice(history.each(), MOST_RECORDS):
        yield from record_lines(item.record, item.events, complete=complete.events_known, notes=list(_notes(item)))
    if records > MOST_RECORDS:
        yield f"and {records - MOST_RECORDS} more records; --json lists all"
    refused = sum(1 for _ in history.refused())
    for door in itertools.islice(history.refused(), MOST_RECORDS):
        yield f"  {time_text(door.at_ms)}  the exchange refused {_what(door)} of {door.system} ({door.reason})"
    if refused > MOST_RECORDS:
        yield f"and {refused - MOST_RECORDS} more refusals; --json lists all"
    if complete.lacks:
        yield f"more of {history.subject} may have been left out:"
        yield from (f"  - {lack}" for lack in complete.lacks)
    else:
        yield f"no record of {history.subject} is missing up to these checkpoints: every body of every stream is here"
    yield from (f"  {proof}" for proof in complete.proved)


def history_facts(history: History, complete: Completeness) -> dict[str, Any]:
    """What the first of the JSON lines says of the history. The records follow, one on each line."""
    return {
        "case": history.subject.case_id,
        "agency": history.subject.agency,
        "records": history.records,
        "complete": not complete.lacks,
        "not_excluded": list(complete.lacks),
        "proved": list(complete.proved),
    }


def history_records(history: History, complete: Completeness) -> Iterator[dict[str, Any]]:
    """The records, then what was refused, as one object for each line."""
    for item in history.each():
        facts = record_facts(item.record, item.events, complete=complete.events_known)
        changed = [relation._asdict() for relation in item.changed_by]
        yield {**facts, "supersedes": item.supersedes, "closes_case": item.closes, "changed_by": changed}
    for door in history.refused():
        yield {"refused": {**door._asdict(), "at": time_text(door.at_ms)}}


def _notes(item: HistoryRecord) -> Iterator[str]:
    if item.supersedes:
        yield f"corrects or replaces {item.supersedes}"
    if item.closes:
        yield "closes the case"
    yield from map(_changed, item.changed_by)


def _changed(relation: Relation) -> str:
    counts = "" if relation.counts else ". It does not count: the directory does not let it change another's record"
    return f"corrected or replaced by {relation.record_id} ({relation.kind} of {relation.publisher}){counts}"


def _what(door: RefusedAtTheDoor) -> str:
    if door.things > 1:
        return f"{door.things} things"
    return f"record {door.record_id}" if door.record_id else "a record or call"
