"""Judge the times in a bundle by what is independent of the exchange: timestamps and cosignatures (docs/adr/0052).

Each proves that a tree of a partition existed before a time. The checks:

1. the partition's checkpoint extends the stamped one: PROOF_INVALID. Otherwise there were two histories
2. one of the pinned authorities stamped exactly this checkpoint: TIMESTAMP_UNPROVED, a warning. What is not proved
   counts for nothing
3. a record was accepted before a proven time of a tree that holds it: TIME_CONTRADICTED
4. a record that a stamped tree does not hold was not accepted long before the timestamp: BACKDATED. A broker has only
   its newest tree stamped, so this is an error. What witnesses were asked to cosign may have been older, so of their
   times witnesses.py makes a warning
5. the certificate of a record's signer was not revoked between its acceptance and the first proof that it existed:
   REVOKED_BEFORE_PROOF, a warning. Only the exchange says that the record was accepted before the revocation
6. nor had it ended or been retired then, if the proof came later than an exchange that has its trees stamped allows:
   ENDED_BEFORE_PROOF, a warning. Keys end all the time. So what was proved as soon as is usual is no finding

The first record of each kind in a partition has a finding. Clocks may differ by ``CLOCKS_MS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.audit.findings import error, warning
from broker.core.errors import CheckpointInvalid, ProofInvalid, TimestampInvalid
from broker.core.incarnations import NONE_DECLARED
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.merkle import verify_consistency

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from broker.core.audit.findings import BatchReport, EntryFacts, Finding
    from broker.core.audit.witnesses import CosignedPartition
    from broker.core.bundle import PartitionLeaves, PartitionStart, TimestampedCheckpoint
    from broker.core.incarnations import Incarnations
    from broker.core.streams import StreamPartition

    StampCheck: TypeAlias = Callable[[bytes, bytes], "Stamp"]
    """Checks a response over bytes by the pinned authorities. It raises TimestampInvalid."""

CLOCKS_MS: Final = 300_000
"""How far the clocks of the exchange, its witnesses and timestamp authorities may be apart."""
SECOND_MS: Final = 1000
"""Both state whole seconds (an authority may state less). So what they prove is proved at the end of that second."""
STAMPED_WITHIN_MS: Final = 86_400_000
"""The longest time between two rounds of a broker (``timestamps.interval_seconds``)."""
BACKDATED_MS: Final = 600_000
"""How long no record may wait for a tree that holds it, if the auditor says nothing else. Clocks have room besides."""


class Stamp(NamedTuple):
    """A timestamp that holds: its time (milliseconds since the Unix epoch, UTC), and the name of its authority."""

    at_ms: int
    by: str


class ProvenTime(NamedTuple):
    """The tree of the first ``size`` records of a partition existed before ``at_ms``. ``witnesses``: they say so."""

    partition: StreamPartition
    size: int
    at_ms: int
    by: str
    witnesses: bool


@dataclass(frozen=True, slots=True)
class TimesReport:
    """What is proved of times.

    Attributes:
        timestamps: how many timestamps hold.
        unproved: how many do not, by the pinned authorities.
        unchecked: how many could not be checked, for ``why_unchecked``.
        proven: of each partition the first and the newest proven time, in the order of the bundle.
        records: how many records are in a tree of a proven time.
        why_unchecked: empty if all were checked.
    """

    timestamps: int = 0
    unproved: int = 0
    unchecked: int = 0
    proven: tuple[ProvenTime, ...] = ()
    records: int = 0
    why_unchecked: str = ""


class TimesAudit:
    """Takes a partition's start, its timestamps, leaves and the reports on its batches, in the order of the bundle.

    Args:
        check: checks timestamps. None: they cannot be checked.
        why_unchecked: why not.
        backdated_after_ms: see ``BACKDATED_MS``. Not less than 0.
        declared: the incarnations in the newest directory. What is stamped of a former one counts if it survives.
    """

    def __init__(
        self,
        check: StampCheck | None = None,
        *,
        why_unchecked: str = "",
        backdated_after_ms: int = BACKDATED_MS,
        declared: Incarnations = NONE_DECLARED,
    ) -> None:
        self._check = check
        self._declared = declared
        self._why_unchecked = why_unchecked
        self._backdated_after_ms = backdated_after_ms
        self._head: Checkpoint | None = None
        self._partition: StreamPartition | None = None
        self._proven: list[ProvenTime] = []
        self._all: list[ProvenTime] = []
        self._index: dict[int, int] = {}
        self._told: set[str] = set()
        self._timestamps = self._unproved = self._unchecked = self._records = 0

    def start(self, start: PartitionStart, cosigned: CosignedPartition | None) -> None:
        """Begin a partition, with what a quorum of witnesses has cosigned of it."""
        self._end_partition()
        self._partition = start.partition
        try:
            self._head = Checkpoint.parse(parse_note(start.note).text)
        except CheckpointInvalid:
            # The judgement of the partition says so.
            self._head = None
        if cosigned is not None and cosigned.since_s:
            by = ", ".join(cosigned.witnesses)
            at_ms = cosigned.since_s * 1000 + SECOND_MS
            self._proven.append(ProvenTime(start.partition, cosigned.size, at_ms, by, witnesses=True))

    def take(self, stamped: TimestampedCheckpoint) -> list[Finding]:
        """Judge one timestamp: checks (1) and (2). Return what is wrong."""
        head, partition = self._head, self._partition
        if head is None or partition is None:
            return []
        if self._check is None:
            self._unchecked += 1
            return []
        try:
            stamp = self._check(stamped.timestamp, stamped.text)
            checkpoint = Checkpoint.parse(stamped.text)
            self._declared.check_of_log(checkpoint, head)
        except (TimestampInvalid, CheckpointInvalid) as refused:
            self._unproved += 1
            return [warning("TIMESTAMP_UNPROVED", f"{partition}: a timestamp does not count: {refused.message}")]
        try:
            verify_consistency(checkpoint.size, head.size, checkpoint.root, head.root, stamped.path)
        except ProofInvalid as refused:
            message = f"{partition}: what {stamp.by} has stamped is not the beginning of this log: {refused.message}"
            return [error("PROOF_INVALID", message)]
        self._timestamps += 1
        at_ms = stamp.at_ms + SECOND_MS
        self._proven.append(ProvenTime(partition, checkpoint.size, at_ms, stamp.by, witnesses=False))
        return []

    def take_leaves(self, listed: PartitionLeaves) -> None:
        """Learn which leaf stands at which offset, until the next list."""
        self._index = {leaf.offset: listed.first_index + place for place, leaf in enumerate(listed.leaves)}

    def take_batch(self, report: BatchReport, made_at_ms: int) -> list[Finding]:
        """Judge the times of a batch's records: checks (3) to (6). ``made_at_ms``: when the bundle was made."""
        if not self._proven:
            return []
        found: list[Finding] = []
        for facts in report.facts:
            index = self._index.get(facts.position.offset)
            if index is not None and facts.position.stream_partition == self._partition:
                found += [finding for finding in self._judge(index, facts, made_at_ms) if self._first(finding.code)]
        return found

    def report(self) -> TimesReport:
        """The result for the whole bundle. Nothing may follow."""
        self._end_partition()
        return TimesReport(
            self._timestamps, self._unproved, self._unchecked, tuple(self._all), self._records, self._why_unchecked
        )

    def _judge(self, index: int, facts: EntryFacts, made_at_ms: int) -> list[Finding]:
        found: list[Finding] = []
        where = (facts.record_id, facts.position)
        holding = [proof for proof in self._proven if proof.size > index]
        earliest = min(holding, key=lambda proof: proof.at_ms, default=None)
        self._records += earliest is not None
        # (3) Not accepted after it existed.
        if earliest is not None and facts.accepted_at_ms > earliest.at_ms + CLOCKS_MS:
            message = f"it is said to be accepted after {_by(earliest)} proved a tree with it"
            found.append(error("TIME_CONTRADICTED", message, *where))
        # (4) Not accepted long before a stamped tree without it.
        without = [proof for proof in self._proven if proof.size <= index and not proof.witnesses]
        latest = max(without, key=lambda proof: proof.at_ms, default=None)
        if latest is not None and facts.accepted_at_ms < latest.at_ms - self._backdated_after_ms - CLOCKS_MS:
            message = f"it is said to be accepted long before {_by(latest)} proved a tree without it"
            found.append(error("BACKDATED", message, *where))
        # (5) Proved to exist before its signer's key was not good any more.
        revoked_at_ms, ended_at_ms = facts.signer_end
        if revoked_at_ms is not None and (earliest is None or earliest.at_ms >= revoked_at_ms):
            message = (
                "its signer's certificate was revoked later, and only the exchange says that the record was accepted "
                "before: no independent time does"
            )
            found.append(warning("REVOKED_BEFORE_PROOF", message, *where))
        # (6) The same of its end. Before the first stamp none was asked for. A record that came again was accepted
        # before, and the time of its former receipt has no other proof.
        proved_at_ms = made_at_ms if earliest is None else earliest.at_ms
        late = proved_at_ms - facts.accepted_at_ms > STAMPED_WITHIN_MS + self._backdated_after_ms + CLOCKS_MS
        stamped = latest is not None and not facts.again
        if stamped and late and ended_at_ms is not None and proved_at_ms >= ended_at_ms:
            message = (
                "its signer's certificate ended or was retired later, and only the exchange says that the record came "
                "before: this bundle has no proof of it from as soon as is usual"
            )
            found.append(warning("ENDED_BEFORE_PROOF", message, *where))
        return found

    def _first(self, code: str) -> bool:
        """Whether it is the first of its kind in the partition."""
        new = code not in self._told
        self._told.add(code)
        return new

    def _end_partition(self) -> None:
        if self._proven:
            first, newest = (choose(self._proven, key=lambda proof: proof.at_ms) for choose in (min, max))
            self._all += [first] if first == newest else [first, newest]
        self._proven, self._index = [], {}
        self._told.clear()


def _by(proof: ProvenTime) -> str:
    return f"{'witnesses' if proof.witnesses else 'a timestamp authority'} ({proof.by})"
