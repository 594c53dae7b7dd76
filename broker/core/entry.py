"""The entries of a message log, and the routing facts that find and filter them."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from broker.core.streams import Position, StreamPartition

EXCHANGE: Final = ""
"""Stands for the exchange itself as the reader of records without recipients. No agency has this id."""
REPAIRED: Final = "REPAIRED"
"""The reason of a stray where the value of an entry is damaged, and a copy of the record stands in for it."""


class NewEntry(NamedTuple):
    """A record to append. ``value`` is the serialised envelope. The other fields are copied from its signed body.

    ``record_id`` is the UUID's 16 bytes. It decides whether the log already has the record.
    """

    partition: StreamPartition
    record_id: bytes
    kind: str
    ordering_key: str
    recipients: tuple[str, ...]
    record_sha256: bytes
    value: bytes

    def placed(self, position: Position, accepted_at_ms: int, log_id: str, epoch: int) -> LogEntry:
        """The entry at a position of a log. See ``LogEntry`` for the arguments."""
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
    """The position of a record. ``duplicate`` says that the log had the record before this append.

    ``log_id`` and ``epoch`` are those of its entry. ``record_sha256`` belongs to the record in the log. For a duplicate
    it may differ from that of the offered record.
    """

    position: Position
    accepted_at_ms: int
    record_sha256: bytes
    log_id: str
    epoch: int
    duplicate: bool


class LogEntry(NamedTuple):
    """One accepted record. ``value`` is empty if it was not asked for, or if the log cannot give it any more.

    If the log has lost the other facts too, they are empty or 0, and only ``position`` and ``log_id`` are left
    (``lost``).

    ``accepted_at_ms`` never decreases within a partition. ``log_id`` names this incarnation of the log. ``epoch`` is
    the partition's leader at the time of the append (0 if there is only one writer). ``damage``, if the log can tell,
    is what it has in this place instead of what was accepted. Then ``value`` is that of a copy, or empty.
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
    damage: Stray | None = None

    @classmethod
    def lost(cls, position: Position, log_id: str) -> LogEntry:
        """What is left of an entry of which the log knows only that it was there."""
        return cls(position, b"", "", "", (), b"", 0, b"", log_id, 0)

    @property
    def readers(self) -> tuple[str, ...]:
        """Who looks for the entry by its kind: its recipients, or the exchange itself if there are none."""
        return self.recipients or (EXCHANGE,)


class Interest(NamedTuple):
    """What a reader wants: records of these kinds that are addressed to this agency, or to nobody if ``EXCHANGE``."""

    agency: str
    kinds: frozenset[str]

    def concerns(self, entry: LogEntry) -> bool:
        """Whether the reader wants this entry."""
        return entry.kind in self.kinds and self.agency in entry.readers


class Page(NamedTuple):
    """What a cursor read in one step: the wanted entries, and how far it came.

    Every wanted entry below ``next_offset`` is in this page or was in an earlier one. An entry that the log finds
    damaged has no value here.
    """

    entries: list[LogEntry]
    next_offset: int


class Stray(NamedTuple):
    """Something in a partition that no broker of this exchange appended. It is not a record.

    ``reason`` says why, in a word or two: it has no valid seal, is a copy of another entry, or was sealed for another
    partition. Its bytes are not kept, because a stranger chose them: only how many there are, and their SHA-256. With
    these, whoever reads them where they stand can tell whether they are the same.
    """

    position: Position
    reason: str
    size: int
    sha256: bytes

    @classmethod
    def of(cls, position: Position, reason: str, value: bytes) -> Stray:
        """The stray of these bytes."""
        return cls(position, reason, len(value), sha256(value).digest())
