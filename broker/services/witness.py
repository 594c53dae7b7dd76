"""A witness: it cosigns a log's checkpoint if it continues the one that it cosigned last (C2SP tlog-witness).

The checks, in their order:

1. the request has its form
2. the origin is known
3. the log's key has signed the checkpoint
4. the old size is not larger than the checkpoint's
5. the old size is that of the checkpoint cosigned last
6. the tree begins with that one

Checks 4 to 6, signing and storing are one step that no other request can enter. The answer is given when what was
stored is durable. So a witness never cosigns a smaller tree after a larger one, or two roots of one size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import OriginUnknown, ProofInvalid
from broker.core.tree.addcheckpoint import AddCheckpoint, check_growth, open_checkpoint
from broker.core.tree.checkpoint import Checkpoint, Note, known_signatures, marshal_note, parse_note, signature_line
from broker.core.tree.cosignature import cosign
from broker.ports import WitnessedNote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.core.tree.addcheckpoint import Cosigned
    from broker.core.tree.checkpoint import SignatureCheck
    from broker.ports import Clock, CosignatureSigner, WitnessStore

_MOST_TOLD: Final = 1000
"""So many second trees are told of. A log that signs more is known for what it is."""


class WitnessService:
    """Answers for one witness key. Calls may be concurrent."""

    def __init__(
        self,
        store: WitnessStore,
        logs: Mapping[str, Mapping[tuple[str, bytes], SignatureCheck]],
        signer: CosignatureSigner,
        clock: Clock,
        forked: Callable[[Checkpoint, bytes], None],
    ) -> None:
        """Prepare to answer.

        Args:
            store: what was cosigned.
            logs: for each known origin, the checks of its log's keys, by name and id.
            signer: the witness's key.
            clock: gives the time in cosignatures.
            forked: called once for each checkpoint that the log has signed although this witness has cosigned another
                root of the same size last. With that root.
        """
        self._store = store
        self._logs = logs
        self._signer = signer
        self._clock = clock
        self._forked = forked
        self._told: set[Checkpoint] = set()

    async def add_checkpoint(self, body: bytes) -> bytes:
        """Cosign a checkpoint. Return the signature line.

        Raises:
            InputRefused, OriginUnknown, CheckpointInvalid, CosignedSizeDiffers, ProofInvalid: see the checks above.
            LogUnavailable, LogFull: it could not be stored.
        """
        request = AddCheckpoint.parse(body)
        note, checkpoint = open_checkpoint(request.note, self._logs)

        met: list[Cosigned] = []

        def judge(latest: Cosigned) -> WitnessedNote:
            met.append(latest)
            check_growth(request, checkpoint, latest)
            return self._cosigned(note, checkpoint)

        try:
            stored = await self._store.advance(checkpoint.origin, judge)
        except ProofInvalid:
            self._tell_fork(checkpoint, met[-1])
            raise
        return signature_line(parse_note(stored.note).signatures[-1])

    async def latest(self, origin_sha256: bytes) -> bytes:
        """The note that was cosigned last for the origin with this SHA-256.

        Raises:
            OriginUnknown: none was.
            LogUnavailable
        """
        note = await self._store.note(origin_sha256)
        if note is None:
            message = "this witness has cosigned nothing of such an origin"
            raise OriginUnknown(message)
        return note

    def _cosigned(self, note: Note, checkpoint: Checkpoint) -> WitnessedNote:
        line = cosign(note.text, self._clock.now_ms() // 1000, self._signer.key, self._signer.sign)
        # Lines of strangers are not kept, and of each key one: whoever repeats lines must not make the note longer.
        known = known_signatures(note, self._logs[checkpoint.origin])
        lines = {(one.name, one.key_id): one for one in (*known, line)}
        return WitnessedNote(checkpoint.size, checkpoint.root, marshal_note(note.text, list(lines.values())))

    def _tell_fork(self, checkpoint: Checkpoint, latest: Cosigned) -> None:
        """Tell that the log has signed two roots of one size. A proof that fails says nothing of the log."""
        forked = checkpoint.size == latest.size and checkpoint.root != latest.root
        if forked and checkpoint not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(checkpoint)
            self._forked(checkpoint, latest.root)
