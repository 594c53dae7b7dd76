"""Compare each supplement of a bundle with the record that it names: SUPPLEMENT_INVALID if the two do not fit.

If the bundle does not have the original, nothing is said: the log may have deleted it, or it is outside of the period.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.audit.findings import error
from broker.core.errors import SupplementInvalid
from broker.core.supplements import Repeated, check_named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.audit.findings import EntryFacts, Finding

_SHA256_BYTES: Final = 32


class SupplementAudit:
    """Takes the facts of a bundle's entries, in any order."""

    def __init__(self) -> None:
        # A bundle may have millions of records: 65 bytes of each, in one string.
        self._known: dict[bytes, bytes] = {}
        self._waiting: dict[bytes, list[EntryFacts]] = {}

    def take(self, facts: EntryFacts, record_id: bytes) -> Iterator[Finding]:
        """What the next record shows. ``record_id``: its id, 16 bytes."""
        terms, reference = facts.repeats
        kept = facts.record_sha256 + terms + bytes([reference is not None])
        if self._known.setdefault(record_id, kept) is kept:
            # One that was published again may stand after its supplement.
            for waiting in self._waiting.pop(record_id, ()):
                yield from _judged(waiting, kept)
        if reference is not None:
            named = bytes.fromhex(reference.record_id.replace("-", ""))
            original = self._known.get(named)
            if original is not None:
                yield from _judged(facts, original)
            else:
                self._waiting.setdefault(named, []).append(facts)


def _judged(supplement: EntryFacts, kept: bytes) -> Iterator[Finding]:
    digest, terms, flag = kept[:_SHA256_BYTES], kept[_SHA256_BYTES : 2 * _SHA256_BYTES], kept[2 * _SHA256_BYTES :]
    try:
        check_named(supplement.record_id, supplement.repeats, Repeated(digest, terms, flag == b"\1"))
    except SupplementInvalid as refused:
        yield error(refused.reason, refused.message, supplement.record_id, supplement.position)
