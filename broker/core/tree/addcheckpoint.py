"""What a log asks of a witness, and what the witness checks (C2SP tlog-witness, "add-checkpoint").

A witness remembers, for each origin, the size and root that it cosigned last. It cosigns only a checkpoint whose tree
begins with that one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import CheckpointInvalid, CosignedSizeDiffers, InputRefused, OriginUnknown
from broker.core.strict import NotStrict, decode_base64, encode_base64
from broker.core.tree.checkpoint import Checkpoint, Note, SignatureCheck, parse_note, verify_note
from broker.core.tree.merkle import EMPTY_ROOT, HASH_BYTES, verify_consistency

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PROOF_LINES: Final = 63
MAX_REQUEST_BYTES: Final = 1 << 16
"""Room for the longest proof, and for some fifty signatures of a checkpoint."""

_OLD: Final = re.compile(rb"old (0|[1-9][0-9]{0,18})")


class AddCheckpoint(NamedTuple):
    """A request: a checkpoint's note, and the proof that its tree begins with that of ``old_size`` leaves."""

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def marshal(self) -> bytes:
        """The body of the HTTP request."""
        lines = [f"old {self.old_size}\n", *(f"{encode_base64(item)}\n" for item in self.proof), "\n"]
        return "".join(lines).encode() + self.note

    @classmethod
    def parse(cls, body: bytes) -> AddCheckpoint:
        """Read the body of a request. The note is not read yet.

        Raises:
            InputRefused: it does not have this form.
        """
        head, blank, note = body.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        old = _OLD.fullmatch(first)
        if len(body) > MAX_REQUEST_BYTES or not blank or old is None or len(lines) > MAX_PROOF_LINES:
            message = "the request is not: old, a size, at most 63 lines of proof, an empty line, a checkpoint"
            raise InputRefused(message)
        return cls(int(old[1]), tuple(map(_hash, lines)), note)


class Cosigned(NamedTuple):
    """What a witness cosigned last for an origin. For an origin of which it has seen nothing: the empty tree."""

    size: int = 0
    root: bytes = EMPTY_ROOT


def open_checkpoint(
    note: bytes, logs: Mapping[str, Mapping[tuple[str, bytes], SignatureCheck]]
) -> tuple[Note, Checkpoint]:
    """Read a checkpoint, and check that its log has signed it.

    Args:
        note: its note.
        logs: for each known origin, the checks of its log's keys.

    Raises:
        InputRefused: it is no checkpoint.
        OriginUnknown: no log of this origin is known.
        CheckpointInvalid: none of the log's keys has signed it, or a line of one fails.
    """
    try:
        parsed = parse_note(note)
        checkpoint = Checkpoint.parse(parsed.text)
    except CheckpointInvalid as error:
        raise InputRefused(error.message) from error
    keys = logs.get(checkpoint.origin)
    if keys is None:
        message = "this witness knows no log of this origin"
        raise OriginUnknown(message)
    verify_note(parsed, keys)
    return parsed, checkpoint


def check_growth(request: AddCheckpoint, checkpoint: Checkpoint, latest: Cosigned) -> None:
    """Check that a signed checkpoint continues what the witness cosigned last.

    Nobody may change ``latest`` between this check and the moment when the new one is stored.

    Raises:
        InputRefused: the old size is larger than the checkpoint's.
        CosignedSizeDiffers: the old size is not that of ``latest``. The error has the right one.
        ProofInvalid: the proof fails, or the tree of the same size has another root.
    """
    if request.old_size > checkpoint.size:
        message = "the old size is larger than that of the checkpoint"
        raise InputRefused(message)
    if request.old_size != latest.size:
        message = "the witness has cosigned another size last"
        raise CosignedSizeDiffers(message, size=str(latest.size))
    # Of equal sizes it checks the roots, and of an empty tree its root. For the old size 0 the proof must be empty.
    verify_consistency(latest.size, checkpoint.size, latest.root, checkpoint.root, request.proof)


def _hash(line: bytes) -> bytes:
    try:
        value = decode_base64(line.decode("ascii"))
    except (UnicodeDecodeError, NotStrict):
        value = b""
    if len(value) != HASH_BYTES:
        message = "a line of the proof is not one hash in base64"
        raise InputRefused(message)
    return value
