"""Streams, partitions, positions, and which kind of record belongs on which stream."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import KindUnknown

if TYPE_CHECKING:
    from collections.abc import Callable


class StreamPartition(NamedTuple):
    """One ordered partition of a stream."""

    stream: str
    partition: int

    def __str__(self) -> str:
        return f"{self.stream}/{self.partition}"


class Position(NamedTuple):
    """A place in the message log. Offsets increase but may have gaps, so an offset is never a tree index."""

    stream: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.stream}/{self.partition}/{self.offset}"

    @property
    def stream_partition(self) -> StreamPartition:
        """The partition of this position."""
        return StreamPartition(self.stream, self.partition)


CASES: Final = "cases"
DNA: Final = "dna"
NOTICES: Final = "notices"
AUDIT: Final = "audit"
STREAMS: Final = (CASES, DNA, NOTICES, AUDIT)
MAX_PARTITIONS: Final = 256
"""The most partitions that a stream can have."""

AUDIT_EVENTS: Final = "AuditEvents"
"""The kind of the broker's records on the audit stream: what it did and what it refused."""

DEAD_LETTER_EVENTS: Final = "DeadLetterEvents"
"""The kind of the broker's records on the audit stream that say what became of dead letters, and which records were
refused. They are apart from the other events, so that a process that follows them reads only them."""

SUBSCRIPTION_EVENTS: Final = "SubscriptionEvents"
"""The kind of the broker's records on the audit stream that say where subscriptions begin, and which were deleted."""

ERASURE_EVENTS: Final = "ErasureEvents"
"""The kind of the broker's records on the audit stream that say which sections are erased. A broker that starts reads
all of them, and no others."""

DIRECTORY_VERSION: Final = "DirectoryVersion"
"""The kind of the broker's records on the audit stream with the directory versions that came into force."""

REVOCATION_LISTS: Final = "RevocationLists"
"""The kind of the broker's records on the audit stream with the revocation lists that came into force."""

STREAMS_OF_KIND: Final[dict[str, frozenset[str]]] = {
    "CaseRecord": frozenset({CASES}),
    "Tip": frozenset({CASES}),
    "Closure": frozenset({CASES}),
    "SampleRequest": frozenset({DNA}),
    "StrProfile": frozenset({DNA}),
    "MatchNotification": frozenset({DNA}),
    "NoMatchResult": frozenset({DNA}),
    "PublicNotice": frozenset({NOTICES}),
    # A correction goes on the stream of its original.
    "Correction": frozenset({CASES, DNA, NOTICES}),
    # It may name records of every stream.
    "ReaddressRequest": frozenset({CASES}),
}
KINDS: Final = frozenset(STREAMS_OF_KIND)
EVENT_KINDS: Final = frozenset({AUDIT_EVENTS, DEAD_LETTER_EVENTS, SUBSCRIPTION_EVENTS, ERASURE_EVENTS})
"""The kinds of the broker's records that hold audit events."""
OWN_KINDS: Final = frozenset({(AUDIT, kind) for kind in (*EVENT_KINDS, DIRECTORY_VERSION, REVOCATION_LISTS)})
"""The stream and kind of the broker's own records."""


def check_kind(kind: str, stream: str) -> None:
    """Refuse a kind that an agency cannot publish, or that does not belong on ``stream``.

    Raises:
        KindUnknown: the kind is not one of these. The message does not repeat what was sent.
    """
    streams = STREAMS_OF_KIND.get(kind)
    if streams is None:
        message = "the record's kind is not in the exchange's vocabulary"
        raise KindUnknown(message)
    if stream not in streams:
        message = f"a {kind} does not belong on the stream that it names"
        raise KindUnknown(message)


def streams_of(kinds: frozenset[str]) -> tuple[str, ...]:
    """The streams that can have records of these kinds, in the order of ``STREAMS``."""
    wanted = frozenset[str]().union(*(STREAMS_OF_KIND[kind] for kind in kinds))
    return tuple(stream for stream in STREAMS if stream in wanted)


def partition_of(case_id: str, partitions: int) -> int:
    """The partition, in ``range(partitions)``, that keeps all records of a case in one order.

    The rule is the exchange's own: the first 8 bytes of SHA-256, big endian, modulo. So another partitioner in a client
    library does not change it.
    """
    return int.from_bytes(hashlib.sha256(case_id.encode()).digest()[:8]) % partitions


def every_partition(partitions: Callable[[str], int]) -> list[StreamPartition]:
    """All partitions of all streams, given the number of partitions of a stream."""
    return [StreamPartition(stream, number) for stream in STREAMS for number in range(partitions(stream))]
