"""Judge what witnesses have cosigned of the log in a bundle.

A checkpoint with cosignatures stands at the beginning of a partition. The checks, for each:

1. the log has signed it, and it is of the partition's own log, or of what survives of a former incarnation of it:
   CHECKPOINT_INVALID
2. the partition's checkpoint, against which everything is checked, extends it: PROOF_INVALID
3. every line of a known witness is valid: CHECKPOINT_INVALID
4. the witnesses that have cosigned it are a quorum of the policy. If the auditor has brought the policy, it is an error
   if they are not: WITNESSES_MISSING. By the policy of the bundle's own directory it is only told, because witnesses
   cannot stop the exchange. A checkpoint of no records says nothing of a log that has some, so it is none
5. every record that was accepted more than STALE_MS before the bundle was made is in what the quorum has cosigned:
   WITNESSES_STALE, a warning. Otherwise an old checkpoint would satisfy a policy for ever
6. no record is said to have been accepted more than STALE_MS before witnesses cosigned a smaller tree, without it:
   BACKDATED, a warning. The checkpoint is that of the bundle, which its maker chose, or one that the auditor brings. It
   is no error: a witness that was paused may have cosigned an old tree late

Records after a cosigned checkpoint are covered by the log's own signature alone.
"""

from __future__ import annotations

import contextlib
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.audit.findings import Compared, Stated, error, warning
from broker.core.errors import CheckpointInvalid, ProofInvalid
from broker.core.incarnations import NONE_DECLARED
from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.core.tree.cosignature import cosigners
from broker.core.tree.merkle import verify_consistency
from broker.core.tree.origin import incarnation_of, trust_domain_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from broker.core.audit.brought import BroughtCheckpoint
    from broker.core.audit.findings import BatchReport, Finding
    from broker.core.bundle import PartitionLeaves, PartitionStart
    from broker.core.incarnations import Incarnations
    from broker.core.streams import StreamPartition
    from broker.core.tree.checkpoint import SignatureCheck
    from broker.core.tree.cosignature import WitnessKey
    from broker.core.tree.witnesspolicy import WitnessPolicy


STALE_MS: Final = 10 * 60 * 1000
"""How long a record may stand in the log before witnesses have cosigned it. The directory has no such bound."""


class CosignedPartition(NamedTuple):
    """What a quorum has cosigned of a partition.

    The first ``size`` of the ``shown`` leaves of its tree, all at or after ``since_s`` (seconds since the Unix epoch),
    by these witnesses.
    """

    partition: StreamPartition
    size: int
    shown: int
    since_s: int
    witnesses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessReport:
    """What witnesses say of a bundle's log.

    Attributes:
        needed: the smallest number of witnesses that can be the quorum. 0: the policy demands none, or there is none.
        listed: how many witnesses the policy names. 0: there are no witnesses.
        brought: whether the auditor has brought the policy, not the bundle.
        cosigned: the partitions of which a quorum has cosigned something, in the order of the bundle.
        missing: the partitions of which no quorum has.
        timed: how many cosigned checkpoints the auditor has brought, whose times bound those of records.
    """

    needed: int
    listed: int
    brought: bool
    cosigned: tuple[CosignedPartition, ...]
    missing: tuple[StreamPartition, ...]
    timed: int = 0


class _Bound:
    """The tree had only so many leaves when witnesses cosigned it. ``offset`` is that of the next leaf."""

    __slots__ = ("offset", "since_ms", "size")

    def __init__(self, size: int, since_s: int) -> None:
        self.size, self.since_ms = size, since_s * 1000
        self.offset: int | None = None


class WitnessPolicyInUse(NamedTuple):
    """A policy, the checks of its witnesses' cosignatures, and whether the auditor has brought it."""

    policy: WitnessPolicy
    checks: Mapping[WitnessKey, SignatureCheck]
    brought: bool


class WitnessAudit:
    """Takes the beginning of each partition, its leaves and the reports on its batches, in the order of the bundle.

    Args:
        using: the policy. None: there are no witnesses.
        logs: the checks of the log's keys, by name and id.
        seen: checkpoints that the auditor brings. Their witnesses' lines are checked here.
        declared: the incarnations in the newest directory.
    """

    def __init__(
        self,
        using: WitnessPolicyInUse | None,
        logs: Mapping[tuple[str, bytes], SignatureCheck],
        seen: Sequence[BroughtCheckpoint] = (),
        *,
        declared: Incarnations = NONE_DECLARED,
    ) -> None:
        self._using = using
        self._declared = declared
        self._seen = seen
        self._bounds: list[_Bound] = []
        self._timed = 0
        self._logs = logs
        self._cosigned: list[CosignedPartition] = []
        self._missing: list[StreamPartition] = []
        # Of the current partition: what a quorum has cosigned, and the offset of the first leaf after it.
        self._current: CosignedPartition | None = None
        self._uncovered: int | None = None

    def take(self, start: PartitionStart) -> list[Finding]:
        """Judge one partition. Return what is wrong."""
        using = self._using
        self._current = self._uncovered = None
        self._bounds = [] if using is None else list(self._seen_of(start.partition, using))
        self._timed += len(self._bounds)
        if using is None:
            return []
        try:
            found = self._judge(start, using)
        except (CheckpointInvalid, ProofInvalid) as refused:
            self._missing.append(start.partition)
            message = f"{start.partition}: what witnesses have cosigned: {refused.message}"
            both = _two_checkpoints(start) if isinstance(refused, ProofInvalid) else ()
            return [error(refused.reason, message, compared=both)]
        if found is not None:
            self._cosigned.append(found)
            if found.witnesses:
                self._bounds.append(_Bound(found.size, found.since_s))
            self._current = found if using.policy.fewest else None
            return []
        self._missing.append(start.partition)
        if not using.brought:
            return []
        message = f"{start.partition}: too few witnesses of the policy have cosigned a checkpoint of it"
        return [error("WITNESSES_MISSING", message)]

    @property
    def current(self) -> CosignedPartition | None:
        """What a quorum has cosigned of the partition begun last, if the policy demands witnesses."""
        return self._current

    def take_leaves(self, listed: PartitionLeaves) -> None:
        """Learn where the partition's records after the cosigned ones begin."""
        for bound in self._bounds:
            after = max(bound.size - listed.first_index, 0)
            if bound.offset is None and after < len(listed.leaves):
                bound.offset = listed.leaves[after].offset
        if self._current is None or self._uncovered is not None:
            return
        after = max(self._current.size - listed.first_index, 0)
        if after < len(listed.leaves):
            self._uncovered = listed.leaves[after].offset

    def take_batch(self, report: BatchReport, made_at_ms: int) -> list[Finding]:
        """Judge the age of what nobody has cosigned, checks (5) and (6).

        A partition has at most one finding by (5), and one for each cosigned checkpoint by (6).

        Args:
            report: the report on the partition's next batch.
            made_at_ms: when the bundle was made, by its header.
        """
        return [*self._backdated(report), *self._stale(report, made_at_ms)]

    def _backdated(self, report: BatchReport) -> Iterator[Finding]:
        for bound in [bound for bound in self._bounds if bound.offset is not None]:
            limit_ms, first = bound.since_ms - STALE_MS, bound.offset or 0
            for facts in report.facts:
                if facts.position.offset >= first and facts.accepted_at_ms < limit_ms:
                    self._bounds.remove(bound)
                    early_s = (bound.since_ms - facts.accepted_at_ms) // 1000
                    message = (
                        f"it is said to have been accepted {early_s} s before witnesses cosigned a tree of "
                        f"{bound.size} records without it. So its time is false, or they cosigned late: ask them"
                    )
                    yield warning("BACKDATED", message, facts.record_id, facts.position)
                    break

    def _seen_of(self, partition: StreamPartition, using: WitnessPolicyInUse) -> Iterator[_Bound]:
        """What witnesses of the policy have cosigned elsewhere, by the earliest of their times."""
        for seen in self._seen:
            if seen.partition == partition and seen.note is not None:
                with contextlib.suppress(CheckpointInvalid):
                    times = cosigners(seen.note, using.checks)
                    if times:
                        yield _Bound(seen.checkpoint.size, min(times.values()))

    def _stale(self, report: BatchReport, made_at_ms: int) -> list[Finding]:
        current, uncovered = self._current, self._uncovered
        if current is None or uncovered is None:
            return []
        for facts in report.facts:
            if facts.position.offset >= uncovered and facts.accepted_at_ms < made_at_ms - STALE_MS:
                self._current = None
                message = (
                    f"{current.partition}: witnesses have cosigned only the first {current.size} of {current.shown} "
                    f"records, though more were accepted over {STALE_MS // 60_000} minutes before the bundle was made"
                )
                return [warning("WITNESSES_STALE", message)]
        return []

    def report(self) -> WitnessReport:
        """The result for the whole bundle."""
        policy = None if self._using is None else self._using.policy
        return WitnessReport(
            needed=0 if policy is None else policy.fewest,
            listed=0 if policy is None else len(policy.witnesses),
            brought=self._using is not None and self._using.brought,
            cosigned=tuple(self._cosigned),
            missing=tuple(self._missing),
            timed=self._timed,
        )

    def _judge(self, start: PartitionStart, using: WitnessPolicyInUse) -> CosignedPartition | None:
        """What a quorum has cosigned: the partition's checkpoint itself may bear the lines, or one before it."""
        newest = parse_note(start.note)
        head = Checkpoint.parse(newest.text)
        note = newest if start.cosigned is None else parse_note(start.cosigned.note)
        checkpoint = Checkpoint.parse(note.text)
        # (1) It is the log's. That of another partition says nothing of this one.
        verify_note(note, self._logs)
        incarnation_of(head.origin, trust_domain_of(head.origin), start.partition)
        self._declared.check_of_log(checkpoint, head)
        # (2) The partition's checkpoint extends it.
        path = () if start.cosigned is None else start.cosigned.path
        verify_consistency(checkpoint.size, head.size, checkpoint.root, head.root, path)
        # (3) The lines of known witnesses, (4) their quorum.
        times = cosigners(note, using.checks)
        since_s = using.policy.satisfied_since(times)
        if since_s is None or (checkpoint.size == 0 < head.size and using.policy.fewest):
            return None
        names = tuple(sorted(key.name for key in times))
        return CosignedPartition(start.partition, checkpoint.size, head.size, since_s, names)


def _two_checkpoints(start: PartitionStart) -> tuple[Compared, ...]:
    """The partition's checkpoint and the cosigned one. Check (2) has failed, so the log has signed both."""
    if start.cosigned is None:
        return ()
    shown, seen = (Checkpoint.parse(parse_note(note).text) for note in (start.note, start.cosigned.note))
    return (
        Compared(Stated.SIZE_SIGNED, str(shown.size)),
        Compared(Stated.ROOT_SIGNED, b64encode(shown.root).decode()),
        Compared(Stated.SIZE_SEEN, str(seen.size)),
        Compared(Stated.ROOT_SEEN, b64encode(seen.root).decode()),
    )
