"""The numbers of a publisher's system to each recipient: repeated, missing, not yet covered, or falling.

Partitions are covered by checkpoints one by one. So just after records were accepted, a later number may be covered and
an earlier one not yet. Such numbers are no gap: NOT_YET_COVERED. Nor are those of records that the exchange refused, as
it says itself: they are only counted.

Numbers may fall from one case to another, because an edge holds a record and its case, and no other. Within one case an
edge sends a record only when the one before has its receipt. So there a smaller number after a larger one was sent out
of order by its publisher, or moved by the exchange: SEQUENCE_FALLS, a warning. The publisher's signatures show it, by
the two numbers and times of issue. A record that was issued again has a later time, and one that was published again a
former receipt: they may stand anywhere. Nothing follows across partitions.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.audit.findings import error, warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from broker.core.audit.findings import EntryFacts, Finding, RefusedNumbers
    from broker.core.streams import StreamPartition

COVERED_WITHIN_MS: Final = 60_000
"""A record that was accepted so long before the bundle was made must be covered by a checkpoint in it, if the auditor
says nothing else. A broker stops publishing earlier (``checkpoints.evidence_bound_seconds``, 30 by default)."""


class Sequences:
    """Takes the facts of a bundle's entries in any order, and what the exchange says that it refused.

    Args:
        made_at_ms: when the bundle was made: milliseconds since the Unix epoch, UTC.
        whole: whether the bundle has every stream from its first record on.
        covered_within_ms: how long before that a record may be accepted and not be covered by a checkpoint.
    """

    def __init__(self, made_at_ms: int, *, whole: bool, covered_within_ms: int = COVERED_WITHIN_MS) -> None:
        self._numbers: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        self._recent: dict[tuple[str, str, str], int] = {}
        self._recent_from_ms = made_at_ms - covered_within_ms
        self._whole = whole
        self._refused: dict[tuple[str, str, str], set[int]] = defaultdict(set)
        self._counted: dict[tuple[str, str], int] = defaultdict(int)
        self.explained = 0
        """How many missing numbers are those of records that the exchange says it refused, after ``findings``."""

    def take(self, facts: EntryFacts) -> None:
        """Take the numbers of one record."""
        for agency, number in facts.recipients:
            key = (facts.publisher, facts.system, agency)
            self._numbers[key].append(number)
            if facts.accepted_at_ms >= self._recent_from_ms:
                self._recent[key] = min(number, self._recent.get(key, number))

    def take_refusals(self, refusals: Iterable[RefusedNumbers]) -> None:
        """Take what the exchange refused."""
        for refused in refusals:
            for agency, number in refused.numbers:
                self._refused[refused.publisher, refused.system, agency].add(number)
            if not refused.numbers:
                self._counted[refused.publisher, refused.system] += refused.things

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the numbers, or cannot be told."""
        for key, numbers in sorted(self._numbers.items()):
            publisher, system, recipient = key
            sender = f"{publisher}/{system}"
            numbers.sort()
            refused = sorted(self._refused.get(key, ()))
            for earlier, later in itertools.pairwise(numbers):
                if earlier == later:
                    message = f"{sender} gave the number {later} to two records for {recipient}"
                    yield error("SEQUENCE_REPEATED", message)
                elif later != earlier + 1:
                    yield from self._missing(key, refused, earlier + 1, later - 1)
            if self._whole and numbers[0] != 1:
                yield from self._missing(key, refused, 1, numbers[0] - 1)

    def _missing(self, key: tuple[str, str, str], refused: list[int], first: int, last: int) -> Iterator[Finding]:
        """The findings for the numbers from ``first`` to ``last``, but for those in ``refused``, which is sorted."""
        for at in range(bisect_left(refused, first), bisect_right(refused, last)):
            self.explained += 1
            if first < refused[at]:
                yield self._gap(key, first, refused[at] - 1)
            first = refused[at] + 1
        if first <= last:
            yield self._gap(key, first, last)

    def _gap(self, key: tuple[str, str, str], first: int, last: int) -> Finding:
        publisher, system, recipient = key
        numbers = f"number {first}" if first == last else f"numbers {first} to {last}"
        what = f"{numbers} of {publisher}/{system} to {recipient} are not here"
        recent = self._recent.get(key)
        if recent is not None and recent <= last + 1:
            message = f"{what}: just before the bundle was made, no checkpoint covered them yet. Replay once more"
            return warning("NOT_YET_COVERED", message)
        # A record that was refused also uses up a publisher's number. So a gap alone is no accusation.
        message = f"{what}: never sent, refused, or outside of this bundle"
        counted = self._counted.get((publisher, system), 0) + self._counted.get(("", ""), 0)
        if counted:
            message += (
                f". The exchange says that it refused {counted} things that it only counted: these may be among them"
            )
        return warning("SEQUENCE_GAP", message)


class _Sent(NamedTuple):
    number: int
    issued_at_ms: int
    offset: int


class CaseOrder:
    """Takes the facts of a bundle's entries in the order of each partition. Remembers the cases of one partition."""

    def __init__(self) -> None:
        self._partition: StreamPartition | None = None
        # A partition may have a million cases, so each key is one short string of bytes.
        self._senders: dict[tuple[str, str, str], int] = {}
        self._last: dict[bytes, _Sent] = {}

    def take(self, facts: EntryFacts) -> Iterator[Finding]:
        """What the next record shows of the order in its case."""
        if facts.position.stream_partition != self._partition:
            self._partition = facts.position.stream_partition
            self._last.clear()
        if facts.again:
            return
        for agency, number in facts.recipients:
            sender = self._senders.setdefault((facts.publisher, facts.system, agency), len(self._senders))
            key = b"%d %b" % (sender, facts.case_id.encode())
            last = self._last.get(key)
            if last is None or number > last.number:
                self._last[key] = _Sent(number, facts.issued_at_ms, facts.position.offset)
            elif number < last.number and facts.issued_at_ms <= last.issued_at_ms:
                before = facts.position._replace(offset=last.offset)
                later_ms = last.issued_at_ms - facts.issued_at_ms
                message = (
                    f"{facts.publisher}/{facts.system} signed it as number {number} to {agency}, and the record at "
                    f"{before} of the same case as number {last.number}, issued {later_ms} ms later. So the publisher "
                    "sent them out of order, or the exchange moved one. Ask the publisher for their receipts"
                )
                yield warning("SEQUENCE_FALLS", message, facts.record_id, facts.position)
