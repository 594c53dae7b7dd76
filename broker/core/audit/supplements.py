"""Compare each supplement of a bundle with the record that it names: SUPPLEMENT_INVALID if the two do not fit.

If the bundle does not have the original, nothing is said: the log may have deleted it, or it is outside of the period.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from broker.core.audit.findings import error
from broker.core.errors import SupplementInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.audit.findings import EntryFacts, Finding

_NO_ORIGINAL: Final = b""


class SupplementAudit:
    """Takes the facts of a bundle's entries, in any order."""

    def __init__(self) -> None:
        # A bundle may have millions of records, so only a digest of each is kept.
        self._marks: dict[bytes, bytes] = {}
        self._waiting: dict[bytes, list[EntryFacts]] = {}

    def take(self, facts: EntryFacts, record_id: bytes) -> Iterator[Finding]:
        """What the next record shows. ``record_id``: its id, 16 bytes."""
        terms, reference = facts.repeats
        mark = _mark(facts.record_sha256, terms) if reference is None else _NO_ORIGINAL
        if self._marks.setdefault(record_id, mark) is mark:
            # One that was published again may stand after its supplement.
            for waiting in self._waiting.pop(record_id, ()):
                yield from _judged(waiting, mark)
        if reference is not None:
            named = bytes.fromhex(reference.record_id.replace("-", ""))
            if named in self._marks:
                yield from _judged(facts, self._marks[named])
            else:
                self._waiting.setdefault(named, []).append(facts)


def _judged(supplement: EntryFacts, mark: bytes) -> Iterator[Finding]:
    terms, reference = supplement.repeats
    if reference is None or mark != _mark(reference.record_sha256, terms):
        message = "the record does not repeat the one that it says it supplements"
        yield error(SupplementInvalid.reason, message, supplement.record_id, supplement.position)


def _mark(record_sha256: bytes, terms: bytes) -> bytes:
    return hashlib.sha256(record_sha256 + terms).digest()
