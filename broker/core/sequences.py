"""The numbers of a publisher's system to each recipient: repeated, missing, or not yet covered by a checkpoint.

Partitions are covered one by one. So just after records were accepted, a later number may be covered and an earlier one
not yet. Such numbers are no gap: NOT_YET_COVERED.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from broker.core.findings import error, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.findings import EntryFacts, Finding

COVERED_WITHIN_MS: Final = 60_000
"""A record that was accepted so long before the bundle was made must be covered by a checkpoint in it, if the auditor
says nothing else. A broker stops publishing earlier (``checkpoints.evidence_bound_seconds``, 30 by default)."""


class Sequences:
    """Takes the facts of a bundle's entries in any order.

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

    def take(self, facts: EntryFacts) -> None:
        """Take the numbers of one record."""
        for agency, number in facts.recipients:
            key = (facts.publisher, facts.system, agency)
            self._numbers[key].append(number)
            if facts.accepted_at_ms >= self._recent_from_ms:
                self._recent[key] = min(number, self._recent.get(key, number))

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the numbers, or cannot be told."""
        for key, numbers in sorted(self._numbers.items()):
            publisher, system, recipient = key
            sender = f"{publisher}/{system}"
            numbers.sort()
            for earlier, later in itertools.pairwise(numbers):
                if earlier == later:
                    message = f"{sender} gave the number {later} to two records for {recipient}"
                    yield error("SEQUENCE_REPEATED", message)
                elif later != earlier + 1:
                    yield self._missing(key, earlier + 1, later - 1)
            if self._whole and numbers[0] != 1:
                yield self._missing(key, 1, numbers[0] - 1)

    def _missing(self, key: tuple[str, str, str], first: int, last: int) -> Finding:
        publisher, system, recipient = key
        numbers = f"number {first}" if first == last else f"numbers {first} to {last}"
        what = f"{numbers} of {publisher}/{system} to {recipient} are not here"
        recent = self._recent.get(key)
        if recent is not None and recent <= last + 1:
            message = f"{what}: just before the bundle was made, no checkpoint covered them yet. Replay once more"
            return warning("NOT_YET_COVERED", message)
        # A record that was refused also uses up a publisher's number. So a gap alone is no accusation.
        message = f"{what}: never sent, refused, or outside of this bundle"
        return warning("SEQUENCE_GAP", message)
