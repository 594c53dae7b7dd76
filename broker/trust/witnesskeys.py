"""The keys of witnesses, ready to sign and verify with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import CheckpointInvalid, KeyInvalid
from broker.core.tree.cosignature import WitnessKey, cosignature_check
from broker.trust.keys import load_checkpoint_key
from broker.trust.signing import note_verifier

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ed25519

    from broker.core.tree.checkpoint import SignatureCheck
    from broker.core.tree.witnesspolicy import WitnessPolicy


class Ed25519Cosigner:
    """The port CosignatureSigner, for a key from a PEM file."""

    def __init__(self, name: str, key: ed25519.Ed25519PrivateKey) -> None:
        """Name a key.

        Raises:
            KeyInvalid: the name is empty, or contains a space or a plus sign (signed-note, "Verifier keys").
        """
        try:
            self.key: Final = WitnessKey(name, key.public_key().public_bytes_raw())
        except CheckpointInvalid:
            message = "a witness's name is empty, or holds a space or a plus sign"
            raise KeyInvalid(message) from None
        self._private_key = key

    @classmethod
    def load(cls, name: str, key_path: Path) -> Ed25519Cosigner:
        """Read the key from a PEM file.

        Raises:
            KeyInvalid
        """
        return cls(name, load_checkpoint_key(key_path))

    def sign(self, message: bytes) -> bytes:
        """See ``CosignatureSigner``."""
        return self._private_key.sign(message)


def witness_checks(policy: WitnessPolicy) -> dict[WitnessKey, SignatureCheck]:
    """The check of a cosignature for each witness of a policy."""
    return {one.key: cosignature_check(note_verifier(one.key.public_key)) for one in policy.witnesses}
