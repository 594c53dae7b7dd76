"""The board of a log that one process owns: it follows every partition, and nobody else publishes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.core.streams import StreamPartition
    from broker.ports import TreeExtension


class SoleFollower:
    """A ``CheckpointBoard`` for the embedded log. The store alone keeps what is signed."""

    def follows(self, partition: StreamPartition) -> bool:  # noqa: ARG002 - every one
        """See ``CheckpointBoard``."""
        return True

    async def publish(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
        """See ``CheckpointBoard``: there is nobody to publish it to."""

    async def published(self, partition: StreamPartition, size: int) -> TreeExtension | None:  # noqa: ARG002 - nothing
        """See ``CheckpointBoard``."""
        return None

    async def close(self) -> None:
        """See ``CheckpointBoard``."""
