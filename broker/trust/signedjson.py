"""What governance signs: DSSE envelopes in JSON (broker/core/dsse.py)."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core.dsse import DsseEnvelope, DsseSignature
from broker.core.envelope import pae
from broker.core.errors import DirectoryInvalid
from broker.core.strict import NotStrict
from broker.trust.signing import ecdsa_verifies

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIGNATURES: Final = 16


@contextlib.contextmanager
def strictly() -> Iterator[None]:
    """Refuse a directory for what is not strict JSON or base64 in it."""
    try:
        yield
    except NotStrict as error:
        message = f"the directory holds something that is {error}"
        raise DirectoryInvalid(message) from error


class SignedJson(NamedTuple):
    """An envelope of a known type whose signatures nobody has checked yet."""

    kind: str
    payload: bytes
    signatures: tuple[bytes, ...]

    @classmethod
    def unpack(cls, envelope: Any, kind: str, what: str) -> SignedJson:
        """Read an envelope of exactly the expected form. The key ids are ignored: nothing authenticates these hints.

        Args:
            envelope: the parsed JSON.
            kind: the payload type that it must have.
            what: the name of it, for errors.

        Raises:
            DirectoryInvalid: another type, or no or too many signatures.
            NotStrict: another form.
        """
        found = DsseEnvelope.from_json(envelope)
        if found.payload_type != kind:
            message = f"the envelope's payload is not a {what}"
            raise DirectoryInvalid(message)
        if not 0 < len(found.signatures) <= MAX_SIGNATURES:
            message = f"the {what} has not between 1 and {MAX_SIGNATURES} signatures"
            raise DirectoryInvalid(message)
        return cls(kind, found.payload, tuple(signature.value for signature in found.signatures))

    def signed_by(self, key: ec.EllipticCurvePublicKey) -> bool:
        """Whether one of the signatures is by this key."""
        signed = pae(self.kind, self.payload)
        return any(ecdsa_verifies(key, signed, signature) for signature in self.signatures)


def signed_json(kind: str, payload: bytes, *keys: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """The DSSE envelope of exactly these bytes, as JSON, signed by each key."""
    message = pae(kind, payload)
    signatures = tuple(
        DsseSignature(key_id(key.public_key()), key.sign(message, ec.ECDSA(hashes.SHA256()))) for key in keys
    )
    return DsseEnvelope(kind, payload, signatures).as_json()


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """The hint at a key that an envelope carries: the SHA-256 of its SubjectPublicKeyInfo in DER, as hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
