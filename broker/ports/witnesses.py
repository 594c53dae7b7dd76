"""The ports of witnesses: what they keep, how they are asked, and what they have cosigned."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.bundle import CosignedCheckpoint
    from broker.core.streams import StreamPartition
    from broker.core.tree.addcheckpoint import AddCheckpoint, Cosigned
    from broker.core.tree.checkpoint import NoteSignature


class WitnessedNote(NamedTuple):
    """What a witness cosigned last for an origin: size, root, and the note with the log's line and its own."""

    size: int
    root: bytes
    note: bytes


class WitnessStore(Protocol):
    """What a witness has cosigned. Never put it back from a copy: a witness that forgets signs two histories."""

    async def advance(self, origin: str, judge: Callable[[Cosigned], WitnessedNote]) -> WitnessedNote:
        """Judge a checkpoint of an origin by what was cosigned last, and store the result in its place.

        Nobody else can change it between the judgement and the storing. The result is durable when this returns.

        Args:
            origin: the log's.
            judge: gets what was cosigned last. It raises to refuse; then nothing is stored. Called from another thread,
                perhaps more than once.

        Raises:
            CaseExchangeError: as ``judge`` raised it.
            LogUnavailable, LogFull: it is unknown whether it was stored. So the cosignature must not be given out.
        """

    async def note(self, origin_sha256: bytes) -> bytes | None:
        """What was cosigned last for the origin with this SHA-256, or None.

        Raises:
            LogUnavailable
        """

    async def close(self) -> None:
        """Release everything. Idempotent."""


class WitnessCaller(Protocol):
    """Asks one witness. For one task at a time."""

    async def add_checkpoint(self, request: AddCheckpoint) -> Sequence[NoteSignature]:
        """Ask for cosignatures of a checkpoint. Return the signature lines of the answer. Nothing in them is verified.

        It may take as long as the witness likes: the caller bounds it. May be cancelled.

        Raises:
            CosignedSizeDiffers: the witness has cosigned another size last. The error has it.
            WitnessRefused: it does not cosign this checkpoint.
            WitnessUnavailable: it did not answer, or its answer cannot be used.
        """

    async def latest(self, origin: str) -> bytes:
        """The note that it has cosigned last for an origin. Nothing in it is verified. As for time: ``add_checkpoint``.

        Raises:
            WitnessUnavailable: it did not answer, or does not show it.
        """

    async def close(self) -> None:
        """Close its connection. Idempotent."""


class CosignedCheckpoints(Protocol):
    """What witnesses have cosigned."""

    async def cosigned(
        self, partition: StreamPartition, size: int, *, formers: bool = False
    ) -> CosignedCheckpoint | None:
        """The newest checkpoint that a quorum has cosigned, with the proof that the tree of this size extends it.

        None: there is none, or it is of a larger tree. ``formers``: if there is none of this incarnation of the log,
        one of a former incarnation, as far as that is declared to survive.

        Raises:
            LogUnavailable
        """


class CosignedStore(Protocol):
    """The newest checkpoint of each origin that had a quorum of witnesses."""

    async def cosigned(self, origin: str) -> bytes | None:
        """Its note, or None.

        Raises:
            LogUnavailable
        """

    async def put(self, origin: str, note: bytes) -> None:
        """Replace it, durably.

        Raises:
            LogUnavailable, LogFull
        """

    async def close(self) -> None:
        """Release everything. Idempotent."""
