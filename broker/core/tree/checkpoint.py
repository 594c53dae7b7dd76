"""Checkpoints: a log's signed statement of its size and root, as C2SP defines it (tlog-checkpoint and signed-note).

A *note* is a text that ends in a newline, a blank line, and one or more signature lines. The signature covers the text
with its last newline, without the blank line. A *checkpoint* is such a text of three lines: origin, tree size, root.
Both are written and read byte for byte, so that other programs can verify ours. Each has only one valid form.

The core has no cryptography: the caller gives one callable for every key that it knows.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, TypeAlias

from broker.core.errors import CheckpointInvalid
from broker.core.strict import NotStrict, decode_base64, encode_base64
from broker.core.tree.merkle import HASH_BYTES, MAX_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

KEY_ID_BYTES: Final = 4
ED25519_PUBLIC_KEY_BYTES: Final = 32
MAX_SIGNATURES: Final = 64
"""The limit for the signature lines of a note. signed-note demands at least 16."""
MAX_NOTE_BYTES: Final = 1 << 19
"""Room for ``MAX_SIGNATURES`` post-quantum signatures of nearly 5 kB. base64 makes them longer by a third."""

SignatureCheck: TypeAlias = Callable[[bytes, bytes], bool]
"""Whether a signature (second) over a note's text (first) is valid under one key."""

_ED25519: Final = b"\x01"
_DASH: Final = "\N{EM DASH} "
# signed-note: no Unicode space and no plus in a name. A lone surrogate has no UTF-8.
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
_CONTROL: Final = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log states about itself.

    Attributes:
        origin: names the log. It has no Unicode space and no plus, so that no other signed form of the exchange begins
            in the same way.
        size: leaves in its tree, 0 to 2**63 - 1.
        root: the tree's root hash, 32 bytes.

    Raises:
        CheckpointInvalid: an attribute does not have this form.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.origin):
            message = "a checkpoint's origin is empty, or holds a space, a plus or a control character"
            raise CheckpointInvalid(message)
        if not 0 <= self.size <= MAX_SIZE:
            message = "a checkpoint's tree size is out of range"
            raise CheckpointInvalid(message)
        if len(self.root) != HASH_BYTES:
            message = "a checkpoint's root has not 32 bytes"
            raise CheckpointInvalid(message)

    def marshal(self) -> bytes:
        """The note text that is signed, with its last newline (tlog-checkpoint, "Note text")."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n".encode()

    @classmethod
    def parse(cls, text: bytes) -> Checkpoint:
        """Read a note text. Only the exact texts that ``marshal`` writes are accepted.

        Extension lines are refused. tlog-checkpoint allows them and advises against them, because nobody can audit
        them. A log of this exchange never writes one, so here it would be a signed statement that nothing checks.

        Raises:
            CheckpointInvalid: it is no such text.
        """
        lines = _decode(text).split("\n")
        if len(lines) != 4 or lines[3]:  # noqa: PLR2004 - three lines, and what follows the last newline: nothing
            message = "a checkpoint's text has not exactly three lines"
            raise CheckpointInvalid(message)
        origin, size, root, _ = lines
        if not _SIZE.fullmatch(size):
            message = "a checkpoint's tree size is not a decimal number without leading zeroes"
            raise CheckpointInvalid(message)
        return cls(origin, int(size), _unbase64(root))


class NoteSignature(NamedTuple):
    """One signature line: the key's name, its 4-byte id, and the signature as its algorithm defines it."""

    name: str
    key_id: bytes
    value: bytes


class Note(NamedTuple):
    """The parts of a note. The caller must not use them before ``verify_note``."""

    text: bytes
    signatures: tuple[NoteSignature, ...]


def marshal_note(text: bytes, signatures: Sequence[NoteSignature]) -> bytes:
    """Write a note (signed-note, "Format").

    Args:
        text: the signed text, which ends in a newline.
        signatures: 1 to ``MAX_SIGNATURES``, in the order of their lines.

    Raises:
        CheckpointInvalid: ``parse_note`` would refuse this note.
    """
    note = text + b"\n" + b"".join(map(signature_line, signatures))
    _check_note(note, text, len(signatures))
    return note


def signature_line(signature: NoteSignature) -> bytes:
    """Write a signature line of a note, with its newline.

    Raises:
        CheckpointInvalid: a part of it cannot be used.
    """
    name, key_id, value = signature
    if not _NAME.fullmatch(name) or len(key_id) != KEY_ID_BYTES or not value:
        message = "a note's signature has an unusable name, key id or value"
        raise CheckpointInvalid(message)
    return f"{_DASH}{name} {encode_base64(key_id + value)}\n".encode()


def parse_note(note: bytes) -> Note:
    """Split a note into its parts (signed-note, "Format"). ``marshal_note`` makes the same bytes from the parts again.

    Raises:
        CheckpointInvalid: it is not a note, is larger than ``MAX_NOTE_BYTES``, or has more than ``MAX_SIGNATURES``.
    """
    # The text may itself contain empty lines. The last one in the note ends it.
    head, blank, tail = note.rpartition(b"\n\n")
    text = head + b"\n"
    lines = tail.split(b"\n")
    if not blank or lines.pop():
        message = "a note has no signature lines after a blank line, or does not end in a newline"
        raise CheckpointInvalid(message)
    _check_note(note, text, len(lines))
    return Note(text, tuple(_parse_signature(line.decode()) for line in lines))


def _check_note(note: bytes, text: bytes, signatures: int) -> None:
    if len(note) > MAX_NOTE_BYTES:
        message = "a note is too large"
        raise CheckpointInvalid(message, bytes=str(len(note)))
    if not 1 <= signatures <= MAX_SIGNATURES:
        message = f"a note has not 1 to {MAX_SIGNATURES} signatures"
        raise CheckpointInvalid(message, signatures=str(signatures))
    if not text.endswith(b"\n") or _CONTROL.search(note):
        message = "a note's text does not end in a newline, or the note holds a control character"
        raise CheckpointInvalid(message)
    _decode(note)


def _parse_signature(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not _NAME.fullmatch(name):
        message = "a note's signature line is not: em dash, name, base64"
        raise CheckpointInvalid(message)
    blob = _unbase64(encoded)
    if len(blob) <= KEY_ID_BYTES:
        message = "a note's signature line holds no signature"
        raise CheckpointInvalid(message)
    return NoteSignature(name, blob[:KEY_ID_BYTES], blob[KEY_ID_BYTES:])


def verify_note(note: Note, verifiers: Mapping[tuple[str, bytes], SignatureCheck]) -> tuple[str, ...]:
    """Check a note's signatures (signed-note, "Signatures").

    Args:
        note: the note.
        verifiers: for every known key, by its name and id, the check of a signature.

    Returns:
        The names of the known keys that signed, each once, in the order of their lines. A caller that knows several
        keys must check whether the ones that it needs have signed: the log's own, or enough witnesses.

    Raises:
        CheckpointInvalid: a known key's line fails, or no known key has signed.
    """
    # (3) At least one known key has signed.
    verified = dict.fromkeys(signature.name for signature in known_signatures(note, verifiers))
    if not verified:
        message = "no known key has signed the note"
        raise CheckpointInvalid(message)
    return tuple(verified)


def known_signatures(note: Note, verifiers: Mapping[tuple[str, bytes], SignatureCheck]) -> tuple[NoteSignature, ...]:
    """The signature lines of known keys, in their order, possibly none. See ``verify_note``.

    Raises:
        CheckpointInvalid: a known key's line fails.
    """
    known = []
    for signature in note.signatures:
        name, key_id, value = signature
        # (1) Unknown keys are ignored, even if they share the name or the id of a known key.
        check = verifiers.get((name, key_id))
        if check is None:
            continue
        # (2) Every line of a known key must be valid. A second line counts no more than the first, but it is checked
        # too.
        if not check(note.text, value):
            message = "a known key's signature on the note does not verify"
            raise CheckpointInvalid(message, key=f"{name}+{key_id.hex()}")
        known.append(signature)
    return tuple(known)


def ed25519_key_id(name: str, public_key: bytes, algorithm: bytes = _ED25519) -> bytes:
    """The 4-byte id of an Ed25519 key of this name, for one use of it (signed-note, "Ed25519 signatures")."""
    return sha256(name.encode() + b"\n" + algorithm + public_key).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named Ed25519 public key, in the text form of Go's note package.

    Attributes:
        name: the key's name.
        public_key: its 32 bytes (RFC 8032). This class does not check whether they are a point on the curve.

    Raises:
        CheckpointInvalid: an attribute does not have this form.
    """

    algorithm: ClassVar[bytes] = _ED25519
    """The byte of signed-note for what the key signs: notes."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.public_key) != ED25519_PUBLIC_KEY_BYTES:
            message = "a verifier key has an unusable name, or not 32 bytes of key"
            raise CheckpointInvalid(message)

    @property
    def key_id(self) -> bytes:
        """The 4-byte id in its signature lines."""
        return ed25519_key_id(self.name, self.public_key, self.algorithm)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self.algorithm + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name+hex(key id)+base64(type, key)``. Only the exact texts that ``str`` gives are accepted.

        Raises:
            CheckpointInvalid: it is no such text, its type is not ``algorithm``, or its id belongs to another key.
        """
        # A name has no plus, but base64 may have one.
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        typed_key = _unbase64(encoded)
        if not _KEY_ID.fullmatch(key_id) or typed_key[:1] != cls.algorithm:
            message = "a verifier key is not name+id+base64 of an Ed25519 key for this use"
            raise CheckpointInvalid(message)
        key = cls(name, typed_key[1:])
        if key.key_id.hex() != key_id:
            message = "a verifier key's id does not belong to its name and key"
            raise CheckpointInvalid(message)
        return key


def _decode(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        message = "a note is not UTF-8"
        raise CheckpointInvalid(message) from None


def _unbase64(text: str) -> bytes:
    with contextlib.suppress(NotStrict):
        if decoded := decode_base64(text):
            return decoded
    message = "a note holds something that is not canonical base64"
    raise CheckpointInvalid(message)
