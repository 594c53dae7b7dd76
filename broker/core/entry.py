"""What a message log holds: entries, and the routing facts by which they are found and filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from broker.core.streams import Position, StreamPartition


class NewEntry(NamedTuple):
    """A record to be appended. ``value`` is the serialised envelope; the rest is copied out of its signed body.

    ``record_id`` is the UUID's 16 bytes and decides whether the record is in the log already.
    """

    partition: StreamPartition
    record_id: bytes
    kind: str
    ordering_key: str
    recipients: tuple[str, ...]
    record_sha256: bytes
    value: bytes

    def placed(self, position: Position, accepted_at_ms: int, log_id: str, epoch: int) -> LogEntry:
        """The entry that this becomes at a position of a log. See ``LogEntry`` for the arguments."""
        return LogEntry(
            position,
            self.record_id,
            self.kind,
            self.ordering_key,
            self.recipients,
            self.record_sha256,
            accepted_at_ms,
            self.value,
            log_id,
            epoch,
        )


class Appended(NamedTuple):
    """Where a record stands. ``duplicate`` says that it stood there before this append.

    ``log_id`` and ``epoch`` are those of its entry. ``record_sha256`` is that of the record in the log: a duplicate's
    may differ from that of the record offered.
    """

    position: Position
    accepted_at_ms: int
    record_sha256: bytes
    log_id: str
    epoch: int
    duplicate: bool


class LogEntry(NamedTuple):
    """One accepted record. ``value`` is empty where it was not asked for, or where the log cannot give it any more.

    ``accepted_at_ms`` never falls within a partition. ``log_id`` names this incarnation of the log, and ``epoch`` the
    partition's leader when it was appended (0 where there is one writer).
    """

    position: Position
    record_id: bytes
    kind: str
    ordering_key: str
    recipients: tuple[str, ...]
    record_sha256: bytes
    accepted_at_ms: int
    value: bytes
    log_id: str
    epoch: int


class Interest(NamedTuple):
    """What a subscription wants: records of these kinds that are addressed to this agency."""

    agency: str
    kinds: frozenset[str]

    def concerns(self, entry: LogEntry) -> bool:
        """Whether the subscription wants this entry."""
        return entry.kind in self.kinds and self.agency in entry.recipients


class Page(NamedTuple):
    """What a cursor read in one step: the wanted entries, and how far it came.

    Every wanted entry below ``next_offset`` is in this page or was in an earlier one.
    """

    entries: list[LogEntry]
    next_offset: int


class Stray(NamedTuple):
    """Something that stands in a partition and that no broker of this exchange appended. It is no record.

    ``reason`` says in a word or two how the log can tell: it lacks a valid seal, is a copy of another entry, was sealed
    for another partition. ``value`` is what stands there, as far as the log can give it.
    """

    position: Position
    reason: str
    value: bytes
