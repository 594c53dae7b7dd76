"""The encryption keys of agencies: to which public keys a record's content keys are wrapped.

An agency states its own key, and ends it, with its signing certificate (broker/trust/keystatements.py reads these
statements). The directory carries them. So a broker's operator cannot put another key in its place, and edges give
governance's own certificates no belief before days have passed (adapters/edge/known.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

RECORDS: Final = "records"
"""The use of a key to which publishers wrap the content keys of what they send to its agency."""
ARCHIVE: Final = "archive"
"""The use of a key to which its agency itself wraps the content keys of all that it publishes."""
USES: Final = frozenset({RECORDS, ARCHIVE})

MLKEM768_X25519: Final = "MLKEM768_X25519"
"""The default suite: a hybrid of ML-KEM-768 and X25519. Records of today stay secret when one of the two is broken."""
P256: Final = "P256"
"""The suite for keys in hardware modules, which seldom know another."""

PUBLIC_KEY_BYTES: Final = {MLKEM768_X25519: 1216, P256: 65}
"""The suites, with the size of a public key: ML-KEM-768's followed by X25519's; P-256's as an uncompressed point."""
ENCAPSULATED_BYTES: Final = {MLKEM768_X25519: 1120, P256: 65}
"""The size of what comes before the ciphertext in a wrap."""
TAG_BYTES: Final = 16
MAX_IN_FORCE: Final = 2
"""How many keys of one use an agency may have in force at the same time: the new one and the one that it follows."""

LONGEST_WAIT_MS: Final = 7 * 86_400_000
"""How long after the end of a key, or after a change of rights, a record counts that was sealed before: so long may it
wait at its publisher until the broker accepts it."""


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """One public key of an agency, as the agency stated it.

    ``public_key`` is the raw public key of the suite. It is in force from ``not_before_ms`` until ``not_after_ms`` or,
    if that is earlier, ``retired_at_ms``: from then on nothing may be sealed to it any more. Times are milliseconds
    since the Unix epoch, UTC. ``statement`` is the signed DSSE statement in JSON, as it stands in the directory.
    """

    agency: str
    key_id: bytes
    suite: str
    use: str
    public_key: bytes
    not_before_ms: int
    not_after_ms: int
    retired_at_ms: int | None
    statement: bytes

    @property
    def ends_at_ms(self) -> int:
        """From when on nothing may be sealed to it."""
        return self.not_after_ms if self.retired_at_ms is None else min(self.not_after_ms, self.retired_at_ms)

    def in_force(self, at_ms: int) -> bool:
        """Whether something may be sealed to it at a time."""
        return self.not_before_ms <= at_ms < self.ends_at_ms


@dataclass(frozen=True, slots=True)
class KeyRetirement:
    """An agency's word that nothing may be sealed to one of its keys any more, from a time on.

    It counts for a key that the directory does not list, too: only this word lets a directory leave out a key that has
    not expired. ``statement`` is as that of a key.
    """

    agency: str
    key_id: bytes
    retired_at_ms: int
    statement: bytes


def encryption_key_id(suite: str, public_key: bytes) -> bytes:
    """The id of a public key: 32 bytes that depend on nothing else."""
    return hashlib.sha256(b"case-exchange encryption key v1\0" + suite.encode() + b"\0" + public_key).digest()


def wrapped_size(suite: str, content_bytes: int) -> int:
    """How many bytes a wrap of so many bytes has.

    Raises:
        KeyError: there is no such suite.
    """
    return ENCAPSULATED_BYTES[suite] + content_bytes + TAG_BYTES
