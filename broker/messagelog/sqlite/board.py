"""The checkpoint board of a log that one process owns. The process follows every partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.core.streams import StreamPartition
    from broker.ports import TreeExtension


class SoleFollower:
    """A ``CheckpointBoard`` for the embedded log. Signed checkpoints are only in the store."""

    def follows(self, partition: StreamPartition) -> bool:  # noqa: ARG002 - every one
        """See ``CheckpointBoard``."""
        return True

    async def publish(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
        """See ``CheckpointBoard``. There is no other process to publish to."""

    async def published(self, partition: StreamPartition, size: int) -> TreeExtension | None:  # noqa: ARG002 - nothing
        """See ``CheckpointBoard``."""
        return None

    async def close(self) -> None:
        """See ``CheckpointBoard``."""
