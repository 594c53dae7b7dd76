"""The end of a log key: how far what it signed counts, as the directory names it.

A key that ended may be in a thief's hands, and a thief can name any time. So its end is no time: it is the last
position of each partition that the key's checkpoints and seals cover. What it signed beyond counts for nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.errors import CheckpointInvalid
from broker.core.tree.checkpoint import Checkpoint
from broker.core.tree.origin import origin_of

if TYPE_CHECKING:
    from broker.core.streams import StreamPartition


class LastPosition(NamedTuple):
    """The end of a key in one log of a partition: the size of the last tree, and the offset after the last entry."""

    partition: StreamPartition
    log_id: str
    tree_size: int
    next_offset: int


class EndedLogKey(NamedTuple):
    """A log key, as its verifier key, that signs nothing any more. A log that ``last`` does not name ends empty."""

    key: str
    ended_at_ms: int
    last: tuple[LastPosition, ...]

    def covers_entry(self, partition: StreamPartition, log_id: str, offset: int) -> bool:
        """Whether a seal for the entry at an offset counts."""
        return any(offset < last.next_offset for last in self.last if last[:2] == (partition, log_id))

    def covers_text(self, text: bytes, trust_domain: str) -> bool:
        """Whether a signed text counts, as far as it alone tells: a checkpoint must not be of a larger tree."""
        try:
            checkpoint = Checkpoint.parse(text)
            partition, log_id = origin_of(checkpoint, trust_domain)
        except CheckpointInvalid:
            # A seal. Who knows its place asks for that.
            return True
        if checkpoint.size == 0:
            return True
        return any(checkpoint.size <= last.tree_size for last in self.last if last[:2] == (partition, log_id))
