"""One witness, as a broker asks it: what it has cosigned last, and from where its next proof begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import CosignedSizeDiffers, WitnessUnavailable
from broker.core.tree.addcheckpoint import AddCheckpoint
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.cosignature import cosignature_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.core.streams import StreamPartition
    from broker.core.tree.checkpoint import NoteSignature, SignatureCheck
    from broker.core.tree.witnesspolicy import PolicyWitness
    from broker.ports import Clock, WitnessCaller
    from broker.services.proofs import ProofService

_CLOCK_SECONDS: Final = 300
"""How wrong a witness's clock may be. Auditors rely on the times in cosignatures."""


class AskedWitness:
    """Asks one witness. For one task at a time.

    Args:
        named: the witness, as the policy names it.
        caller: reaches it.
        check: the check of its cosignatures.
        proofs: makes proofs from the trees of this process.
        clock: tells which partitions have waited longest.
    """

    def __init__(
        self, named: PolicyWitness, caller: WitnessCaller, check: SignatureCheck, proofs: ProofService, clock: Clock
    ) -> None:
        self.name = named.key.name
        self._key = named.key
        self._caller = caller
        self._check = check
        self._proofs = proofs
        self._clock = clock
        self._sizes: dict[StreamPartition, int] = {}
        self._answered: dict[StreamPartition, float] = {}
        self._ahead: set[StreamPartition] = set()

    def in_turn(self, partitions: Iterable[StreamPartition]) -> list[StreamPartition]:
        """These partitions, first those that it has not cosigned for longest. So a slow witness leaves out none."""
        return sorted(partitions, key=lambda partition: self._answered.get(partition, float("-inf")))

    async def cosign(self, partition: StreamPartition, note: bytes) -> NoteSignature:
        """Its cosignature of a checkpoint, checked.

        Args:
            partition: the checkpoint's.
            note: the checkpoint, as its log signed it.

        Raises:
            CosignedSizeDiffers: it has cosigned a larger tree than this one.
            WitnessRefused, WitnessUnavailable
            PositionUnknown, LogUnavailable: this process cannot make the proof.
        """
        text = parse_note(note).text
        size = Checkpoint.parse(text).size
        lines = await self._ask(partition, size, note)
        self._sizes[partition] = size
        self._answered[partition] = self._clock.monotonic()
        self._ahead.discard(partition)
        # Only its own line counts, so that it cannot answer for another.
        own = [line for line in lines if (line.name, line.key_id) == (self._key.name, self._key.key_id)]
        if not own or not self._check(text, own[0].value):
            message = "the witness's answer holds no cosignature by the key that the directory names"
            raise WitnessUnavailable(message)
        if abs(cosignature_time(own[0].value) - self._clock.now_ms() // 1000) > _CLOCK_SECONDS:
            message = f"the witness's clock is more than {_CLOCK_SECONDS} s away from that of the broker"
            raise WitnessUnavailable(message)
        return own[0]

    def ahead_again(self, partition: StreamPartition) -> WitnessUnavailable | None:
        """What to tell of it after CosignedSizeDiffers: nothing the first time, because this process may catch up."""
        if partition not in self._ahead:
            self._ahead.add(partition)
            return None
        message = f"the witness stands at a larger size than this broker, again and again, {partition}"
        return WitnessUnavailable(message, partition=str(partition))

    async def latest(self, origin: str) -> bytes:
        """See ``WitnessCaller``."""
        return await self._caller.latest(origin)

    async def close(self) -> None:
        """Close its connection. Idempotent."""
        await self._caller.close()

    async def _ask(self, partition: StreamPartition, size: int, note: bytes) -> Sequence[NoteSignature]:
        old = min(self._sizes.get(partition, 0), size)
        try:
            return await self._ask_from(partition, old, size, note)
        except CosignedSizeDiffers as conflict:
            # Another process has asked it, or this one has begun anew.
            self._sizes[partition] = old = int(conflict.details["size"])
            if old > size:
                raise
        return await self._ask_from(partition, old, size, note)

    async def _ask_from(self, partition: StreamPartition, old: int, size: int, note: bytes) -> Sequence[NoteSignature]:
        path = await self._proofs.path_between(partition, old, size) if old else ()
        return await self._caller.add_checkpoint(AddCheckpoint(old, path, note))
