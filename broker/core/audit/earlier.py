"""Compare the tree that a bundle shows with earlier ones: seen elsewhere, or declared to survive.

1. the tree begins with what the directory declares to survive of former incarnations of the log. The leaves show it,
   or where they do not, a proof of the bundle's maker: LOG_FORKED, PROOF_INVALID. A bundle of an earlier release has
   no such proof: CHECKPOINT_NOT_COMPARED, a warning
2. the tree begins with each one that the auditor brings (brought.py): LOG_FORKED, LOG_ROLLED_BACK, LOG_CHANGED
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from broker.core.audit.findings import Compared, Stated, error, warning
from broker.core.errors import ProofInvalid
from broker.core.incarnations import Standing
from broker.core.tree.merkle import verify_consistency

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from broker.core.audit.brought import BroughtCheckpoint
    from broker.core.audit.findings import Finding
    from broker.core.bundle import BundleHeader, PartitionStart
    from broker.core.incarnations import Incarnations
    from broker.core.tree.checkpoint import Checkpoint


class EarlierTrees:
    """The earlier trees of one partition. ``brought`` are its checkpoints that were seen elsewhere.

    Of these, ``continued`` are prefixes of the tree shown, one with records if ``continues_records``. ``closed`` are of
    former incarnations, and cover what is declared as lost.
    """

    def __init__(
        self,
        start: PartitionStart,
        header: BundleHeader,
        brought: Sequence[BroughtCheckpoint],
        declared: Incarnations,
    ) -> None:
        self._partition = start.partition
        self._header = header
        self._brought = brought
        self._declared = declared
        self._paths = {proved.size: proved.path for proved in start.beginnings}
        self.continued = 0
        self.closed = 0
        self.continues_records = False

    def sizes(self, log_id: str) -> list[int]:
        """The sizes whose roots are needed, for a tree of this log."""
        survive = self._declared.beginnings(self._partition, log_id)
        return [tree.size for tree in (*survive, *(seen.checkpoint for seen in self._brought))]

    def judge(self, shown: Checkpoint, log_id: str, listed: Mapping[int, bytes]) -> Iterator[Finding]:
        """Compare them, when the listed leaves are proved to be those of ``shown``. ``listed``: their roots by size."""
        roots = {**listed, shown.size: shown.root}
        for survives in self._declared.beginnings(self._partition, log_id):
            yield from self._check_survives(survives, shown, roots)
        for seen in self._brought:
            yield from self._compare(seen, shown, log_id, roots.get(seen.checkpoint.size))

    def _check_survives(self, survives: Checkpoint, shown: Checkpoint, roots: dict[int, bytes]) -> Iterator[Finding]:
        """Check that the tree begins with one that is declared to survive. If a proof shows it, learn the root."""
        size, root = survives.size, roots.get(survives.size)
        beginning = f"begin with the tree of {size} that is declared to survive"
        path = self._paths.get(size) if root is None and size <= shown.size else None
        if path is not None:
            try:
                verify_consistency(size, shown.size, survives.root, shown.root, path)
            except ProofInvalid as refused:
                message = f"{self._partition}: the log is not proved to {beginning}: {refused.message}"
                yield error("PROOF_INVALID", message)
            else:
                roots[size] = survives.root
        elif root is None and size <= shown.size:
            yield warning("CHECKPOINT_NOT_COMPARED", f"{self._partition}: the log is not shown to {beginning}")
        elif root != survives.root:
            yield error("LOG_FORKED", f"{self._partition}: the log does not {beginning}")

    def _compare(
        self, seen: BroughtCheckpoint, shown: Checkpoint, log_id: str, root: bytes | None
    ) -> Iterator[Finding]:
        """Check that a checkpoint that was seen elsewhere is a prefix of the tree that the bundle shows."""
        checkpoint, size = seen.checkpoint, seen.checkpoint.size
        # An empty tree is the beginning of every log.
        if seen.log_id != log_id and size > 0:
            passage = self._declared.between(self._partition, seen.log_id, log_id)
            if passage is None:
                message = (
                    f"{self._partition}: the log is another one than that of the checkpoint of size {size} seen "
                    "before, and no directory declares it"
                )
                both = (Compared(Stated.LOG_HERE, log_id), Compared(Stated.LOG_SEEN, seen.log_id))
                yield error("LOG_CHANGED", message, compared=both)
                return
            same = None if root is None and size <= shown.size else root == seen.checkpoint.root
            standing = passage.judge(seen.checkpoint, continued=same)
            if standing is Standing.LOST_AS_DECLARED:
                self.closed += 1
                return
            if standing is Standing.MORE_LOST:
                message = (
                    f"{self._partition}: the exchange signed a tree of {size} of a former incarnation, and the "
                    f"directory declares that it ended with {passage.last.size}: more is lost than was said"
                )
                yield error("LOG_ROLLED_BACK", message)
                return
        if size > shown.size and self._header.proved_record:
            message = f"{self._partition}: the proof is of the tree of {shown.size}, and a later one of {size} was seen"
            yield warning("CHECKPOINT_NOT_COMPARED", message)
        elif size > shown.size:
            message = (
                f"{self._partition}: the exchange signed a tree of {size}, as was seen, and the bundle shows only "
                f"{shown.size}. If the bundle is the older one, replay again"
            )
            sizes = (Compared(Stated.SIZE_SIGNED, str(shown.size)), Compared(Stated.SIZE_SEEN, str(size)))
            yield error("LOG_ROLLED_BACK", message, compared=sizes)
        elif root is None:
            message = f"{self._partition}: the period does not show the tree of {size} that was seen before"
            yield warning("CHECKPOINT_NOT_COMPARED", message)
        elif root != checkpoint.root:
            yield self._fork(checkpoint, shown, root)
        else:
            self.continued += 1
            self.continues_records = self.continues_records or size > 0

    def _fork(self, seen: Checkpoint, shown: Checkpoint, root: bytes) -> Finding:
        """Two signed trees, and ``root`` is that of the first leaves of the one shown, as many as the other has."""
        if seen.size == shown.size:
            message = f"the exchange signed two trees of size {seen.size}: the one shown here and the one seen"
            here = stated_root(Stated.ROOT_SIGNED, root)
        else:
            message = (
                f"the exchange signed the tree of {shown.size} here and a tree of {seen.size} that was seen, and the "
                "larger one does not begin with the smaller one"
            )
            here = stated_root(Stated.ROOT_LISTED, root)
        size = Compared(Stated.SIZE_SEEN, str(seen.size))
        compared = (size, here, stated_root(Stated.ROOT_SEEN, seen.root))
        return error("LOG_FORKED", f"{self._partition}: {message}", compared=compared)


def stated_root(stated: Stated, root: bytes) -> Compared:
    """A root in base64, as it stands in the checkpoint."""
    return Compared(stated, b64encode(root).decode())
