"""Incarnations: a partition's log that took the place of an earlier one, as governance declares it in the directory.

A log that was restored from an old copy, or made anew, is not the log that the exchange signed before. So it gets
another log id, and with it another origin, and no two trees of one origin ever exist. The declaration names the former
log's last checkpoint, and the checkpoint of what survives: the new tree begins with these leaves. They keep the
former log id, so a receipt for one of them is compared with the very leaf that it names.

Only the embedded log can keep a beginning. There an offset is the number of a leaf, so ``survives`` counts both.

Broker, edge and auditor judge with the same rules (docs/adr/0049-incarnations.md).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import CheckpointInvalid
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.merkle import MAX_SIZE
from broker.core.tree.origin import origin_of, trust_domain_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    from broker.core.streams import StreamPartition


class SignedCheckpoint(NamedTuple):
    """A checkpoint, and the note that says it. Whoever reads a note must verify its signature, or trust who did."""

    note: bytes
    checkpoint: Checkpoint

    @classmethod
    def read(cls, note: bytes) -> Self:
        """Read a note.

        Raises:
            CheckpointInvalid: it is not the note of a checkpoint.
        """
        return cls(note, Checkpoint.parse(parse_note(note).text))


class Incarnation(NamedTuple):
    """A declaration: in this partition, the log ``log_id`` took the place of ``former_log_id``.

    ``last`` is the former log's largest known checkpoint, and ``carried`` the checkpoint with which the new tree begins
    (None: nothing is known to survive): one of the former log, or if an older copy was restored, of one before it, as
    far as the former one began with it. ``declared_at_ms``: milliseconds since the Unix epoch, UTC. ``restored``: the
    new log goes on from a copy of the former one. If not, it was made anew, and the former one must not be used again.
    """

    partition: StreamPartition
    former_log_id: str
    log_id: str
    last: SignedCheckpoint
    carried: SignedCheckpoint | None
    reason: str
    declared_at_ms: int
    restored: bool = False

    @property
    def survives(self) -> int:
        """How many leaves of the former tree the new one begins with."""
        return 0 if self.carried is None else self.carried.checkpoint.size


class Standing(Enum):
    """What a checkpoint of a former incarnation says of the log that took its place."""

    CONTINUED = auto()
    """The new tree begins with the checkpoint's tree."""
    LOST_AS_DECLARED = auto()
    """It covers records that are lost, and the declaration covers it."""
    NOT_COMPARED = auto()
    """The caller does not know the root of the new tree at the checkpoint's size."""
    FORKED = auto()
    """It is of another tree than the one that is said to survive, or to be the last."""
    MORE_LOST = auto()
    """It is larger than the last checkpoint that is declared, so more is lost than was said."""


class Passage(NamedTuple):
    """The way from a former incarnation to a later one.

    So many leaves survived every step of it. ``last`` is of the former one's own declaration. ``losses`` has, for each
    step, how many leaves survived it and when it was declared (milliseconds since the Unix epoch, UTC).
    """

    survives: int
    last: Checkpoint
    losses: tuple[tuple[int, int], ...]

    def judge(self, seen: Checkpoint, *, continued: bool | None) -> Standing:
        """Judge a checkpoint of the former incarnation.

        Args:
            seen: the checkpoint, with a signature that counts.
            continued: whether the new log's tree begins with its tree. None: the caller does not know.
        """
        if continued:
            return Standing.CONTINUED
        if seen.size <= self.survives:
            return Standing.NOT_COMPARED if continued is None else Standing.FORKED
        if seen.size > self.last.size:
            return Standing.MORE_LOST
        if seen.size == self.last.size and seen.root != self.last.root:
            return Standing.FORKED
        return Standing.LOST_AS_DECLARED

    def lost(self, offset: int, accepted_at_ms: int) -> bool:
        """Whether a record with a receipt of the former incarnation is lost as declared, if it is in no later one.

        A step loses what does not survive it, if it was accepted before its declaration. On Kafka a topic that was
        restored keeps its id, so a receipt may name a later incarnation than its log id says: its time tells the steps.
        """
        return any(offset >= survives and accepted_at_ms <= at_ms for survives, at_ms in self.losses)


class Incarnations:
    """The declarations of a directory. Each log of a partition has at most one that took its place."""

    def __init__(self, declared: Iterable[Incarnation]) -> None:
        self._next = {(each.partition, each.former_log_id): each for each in declared}
        self._by_new = {(each.partition, each.log_id): each for each in self._next.values()}

    def next(self, partition: StreamPartition, log_id: str) -> Incarnation | None:
        """The declaration of what took this log's place."""
        return self._next.get((partition, log_id))

    def begun(self, partition: StreamPartition, log_id: str) -> Incarnation | None:
        """The declaration by which this log began. None: it is the first of its partition, or not declared."""
        return self._by_new.get((partition, log_id))

    def beginnings(self, partition: StreamPartition, log_id: str) -> list[Checkpoint]:
        """The trees of former logs that the tree of this one begins with, as declared, the largest first.

        That is what survived each step, unless a later step kept less.
        """
        found: list[Checkpoint] = []
        for step, survives in self.back(partition, log_id):
            if step.carried is not None and step.survives == survives:
                found.append(step.carried.checkpoint)
        return found

    def check_of_log(self, checkpoint: Checkpoint, head: Checkpoint) -> None:
        """Check that a checkpoint is of the log of ``head``, or of what survives in it of a former one.

        Whether the tree of ``head`` extends it is not checked.

        Raises:
            CheckpointInvalid: it is of another log, or of a part of a former one that did not survive.
        """
        if checkpoint.origin == head.origin:
            return
        trust_domain = trust_domain_of(head.origin)
        former, log = origin_of(checkpoint, trust_domain), origin_of(head, trust_domain)
        survives = dict(self.formers(*log))
        if former.partition != log.partition or checkpoint.size > survives.get(former.log_id, 0):
            message = "it is a checkpoint of another log"
            raise CheckpointInvalid(message)

    def formers(self, partition: StreamPartition, log_id: str) -> Iterator[tuple[str, int]]:
        """The logs before this one of which something survives in it, the latest first, and how many leaves."""
        return ((step.former_log_id, survives) for step, survives in self.back(partition, log_id))

    def back(self, partition: StreamPartition, log_id: str) -> Iterator[tuple[Incarnation, int]]:
        """The steps to this log, the latest first, and how many leaves survived each and those after it."""
        survives, seen = MAX_SIZE, {log_id}
        while (step := self.begun(partition, log_id)) is not None and step.former_log_id not in seen:
            survives = min(survives, step.survives)
            if not survives:
                return
            yield step, survives
            log_id = step.former_log_id
            seen.add(log_id)

    def restored_as(self, partition: StreamPartition, log_id: str) -> str:
        """What a restored log goes on as, or the log itself. For Kafka, where entries have the id of their topic."""
        seen = {log_id}
        while (step := self.next(partition, log_id)) is not None and step.restored and step.log_id not in seen:
            log_id = step.log_id
            seen.add(log_id)
        return log_id

    def between(self, partition: StreamPartition, former: str, current: str) -> Passage | None:
        """The way from one log of a partition to a later one. None: it is not declared, or they are the same."""
        return _passage(self._steps(partition, former, current))

    def onward(self, partition: StreamPartition, former: str) -> Passage | None:
        """The way from a log to the newest that is declared to have taken its place. None: there is none."""
        return _passage(self.way(partition, former))

    def way(self, partition: StreamPartition, former: str) -> list[Incarnation]:
        """The declarations from a log to the newest that is declared to have taken its place, in this order."""
        return self._steps(partition, former, None)

    def covers(self, note: bytes, trust_domain: str) -> bool:
        """Whether a checkpoint that a log did not continue is of one whose place another took, and not beyond its end.

        Args:
            note: the signed note. Its signature is not checked.
            trust_domain: the beginning of the origins.
        """
        try:
            checkpoint = SignedCheckpoint.read(note).checkpoint
            passage = self.onward(*origin_of(checkpoint, trust_domain))
        except CheckpointInvalid:
            return False
        return passage is not None and passage.judge(checkpoint, continued=False) is Standing.LOST_AS_DECLARED

    def _steps(self, partition: StreamPartition, former: str, current: str | None) -> list[Incarnation]:
        steps: list[Incarnation] = []
        at = former
        # Governance lints the declarations. A circle must not hold up whoever reads them all the same.
        while at != current and len(steps) <= len(self._next) and (step := self.next(partition, at)) is not None:
            steps.append(step)
            at = step.log_id
        return steps if current is None or at == current else []


NONE_DECLARED: Final = Incarnations(())


def _passage(steps: Sequence[Incarnation]) -> Passage | None:
    if not steps:
        return None
    losses = tuple((step.survives, step.declared_at_ms) for step in steps)
    return Passage(min(survives for survives, _ in losses), steps[0].last.checkpoint, losses)
