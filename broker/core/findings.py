"""The words of an audit: findings, what is known of an entry, and what judging needs from outside the core."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from enum import Enum
from sys import maxsize
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from broker.core.authorship import BodyReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.events import AuditEvent
    from broker.core.receipt import ReceiptStatement
    from broker.core.streams import Position


MAX_FINDINGS: Final = 1000
"""Findings kept; the rest are only counted."""


class Severity(Enum):
    """What a finding means."""

    ERROR = "error"
    """Something is not what it should be."""
    WARNING = "warning"
    """Something cannot be told from this bundle alone."""


class Finding(NamedTuple):
    """One thing that is wrong: what, and with which record."""

    severity: Severity
    code: str
    message: str
    record_id: str = ""
    position: Position | None = None


class FindingsByPosition:
    """The findings of one partition in order of position, then those that have none.

    Where there are too many, those of the lowest positions are kept, so that the first bad position is never lost.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[int, int, Finding]] = []
        self._added = 0

    def add(self, finding: Finding) -> None:
        """Take in one."""
        offset = maxsize if finding.position is None else finding.position.offset
        # Numbered, so that findings of one position keep the order in which they were made.
        insort(self._kept, (offset, self._added, finding))
        self._added += 1
        del self._kept[MAX_FINDINGS:]

    def leave_out(self, number: int) -> None:
        """Count findings that were made and not kept elsewhere."""
        self._added += number

    def __iter__(self) -> Iterator[Finding]:
        return (finding for _, _, finding in self._kept)

    @property
    def left_out(self) -> int:
        """How many were not kept."""
        return self._added - len(self._kept)


class Reader(BodyReader, Protocol):
    """Bytes to core types."""

    def parse_statement(self, statement: bytes) -> ReceiptStatement:
        """Read a receipt's statement, or raise ReceiptInvalid."""

    def decode_audit_events(self, data: bytes) -> list[AuditEvent]:
        """Read an audit record's section, or raise EnvelopeMalformed."""


class Delivery(NamedTuple):
    """A copy that left the broker, as the audit stream records it."""

    agency: str
    position: Position
    told_at: Position


class EntryFacts(NamedTuple):
    """What the judgement of the whole needs to know of one entry."""

    position: Position
    accepted_at_ms: int
    log_id: str
    epoch: int
    record_id: str
    publisher: str
    system: str
    kind: str
    recipients: tuple[tuple[str, int], ...]
    withheld_sections: int


class EntryLeaf(NamedTuple):
    """The leaf hash that an entry of the bundle has; ``record_id`` is empty where its body cannot be read."""

    position: Position
    record_id: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What was found out about one batch. Picklable, and small beside the batch."""

    leaves: list[EntryLeaf]
    facts: list[EntryFacts]
    deliveries: list[Delivery]
    findings: list[Finding]


def error(code: str, message: str, record_id: str = "", position: Position | None = None) -> Finding:
    """Something is not what it should be."""
    return Finding(Severity.ERROR, code, message, record_id, position)


def warning(code: str, message: str, record_id: str = "", position: Position | None = None) -> Finding:
    """Something cannot be told from this bundle alone."""
    return Finding(Severity.WARNING, code, message, record_id, position)
