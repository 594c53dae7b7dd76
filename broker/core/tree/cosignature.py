"""Cosignatures: what a witness signs about a checkpoint, as C2SP tlog-cosignature defines it (Ed25519, version 1).

A witness has seen one growing tree for the checkpoint's origin. Its cosignature says: at this time, the largest tree
that I have seen has this size and root. It is a signature line of the checkpoint's note, beside the log's own.

The core has no cryptography: the caller gives one callable for every key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from broker.core.errors import CheckpointInvalid
from broker.core.tree.checkpoint import (
    Note,
    NoteSignature,
    SignatureCheck,
    VerifierKey,
    known_signatures,
    marshal_note,
    parse_note,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

TIME_BYTES: Final = 8
SIGNATURE_BYTES: Final = 64
LATEST_TIME: Final = 253_402_300_799
"""The end of the year 9999. tlog-cosignature allows more, which would be no time that anybody means."""


@dataclass(frozen=True, slots=True)
class WitnessKey(VerifierKey):
    """The named Ed25519 public key of a witness. Its text form has the type 4, so it is never taken for a log's key."""

    algorithm: ClassVar[bytes] = b"\x04"


def cosigned_message(text: bytes, time_s: int) -> bytes:
    """The bytes that a witness signs (tlog-cosignature, "Ed25519 signed message").

    Args:
        text: the checkpoint's text, with its last newline.
        time_s: seconds since the Unix epoch.
    """
    return b"cosignature/v1\ntime %d\n%b" % (time_s, text)


def cosign(text: bytes, time_s: int, key: WitnessKey, sign: Callable[[bytes], bytes]) -> NoteSignature:
    """Make a witness's signature line.

    Args:
        text: the checkpoint's text, with its last newline.
        time_s: now, in seconds since the Unix epoch: 1 to ``LATEST_TIME``.
        key: the witness's key.
        sign: gives the 64 bytes of its Ed25519 signature.
    """
    blob = time_s.to_bytes(TIME_BYTES) + sign(cosigned_message(text, time_s))
    return NoteSignature(key.name, key.key_id, blob)


def cosignature_time(value: bytes) -> int:
    """The time in a cosignature, in seconds since the Unix epoch. The caller has checked its signature.

    Raises:
        CheckpointInvalid: it has not the form of a cosignature, or its time is 0 or too large.
    """
    time_s = int.from_bytes(value[:TIME_BYTES])
    if len(value) != TIME_BYTES + SIGNATURE_BYTES or not 0 < time_s <= LATEST_TIME:
        message = "a cosignature is not a time and 64 bytes of Ed25519"
        raise CheckpointInvalid(message)
    return time_s


def cosignature_check(check: SignatureCheck) -> SignatureCheck:
    """Turn the check of an Ed25519 signature into the check of a cosignature over a checkpoint's text."""

    def checked(text: bytes, value: bytes) -> bool:
        try:
            time_s = cosignature_time(value)
        except CheckpointInvalid:
            return False
        return check(cosigned_message(text, time_s), value[TIME_BYTES:])

    return checked


def cosigners(note: Note, witnesses: Mapping[WitnessKey, SignatureCheck]) -> dict[WitnessKey, int]:
    """Which of these witnesses have cosigned a checkpoint, and when: seconds since the Unix epoch.

    Args:
        note: the checkpoint's note. Whether the log has signed it is for the caller.
        witnesses: for each known witness, the check of a cosignature, as ``cosignature_check`` makes it.

    Returns:
        Each witness that has cosigned, with its latest time.

    Raises:
        CheckpointInvalid: a known witness's line fails (signed-note, "Signatures").
    """
    keys = {(key.name, key.key_id): key for key in witnesses}
    checks = {(key.name, key.key_id): check for key, check in witnesses.items()}
    times: dict[WitnessKey, int] = {}
    for name, key_id, value in known_signatures(note, checks):
        key = keys[name, key_id]
        times[key] = max(cosignature_time(value), times.get(key, 0))
    return times


def with_cosignatures(note: bytes, more: Iterable[NoteSignature]) -> bytes:
    """Add signature lines to a note. A new line of a key takes the place of that key's former line.

    Raises:
        CheckpointInvalid: it is no note, or would have too many lines.
    """
    parsed = parse_note(note)
    lines = {(line.name, line.key_id): line for line in (*parsed.signatures, *more)}
    return marshal_note(parsed.text, list(lines.values()))
