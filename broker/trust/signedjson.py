"""DSSE v1.0.2 envelopes in JSON (secure-systems-lab/dsse, envelope.md): what governance signs."""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core.envelope import pae
from broker.core.errors import DirectoryInvalid
from broker.core.strict import decode_base64, encode_base64
from broker.trust.signing import ecdsa_verifies

MAX_SIGNATURES: Final = 16


class SignedJson(NamedTuple):
    """A DSSE v1.0.2 envelope in JSON whose signatures nobody has checked yet."""

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
            DirectoryInvalid: another form or type.
            NotStrict: not base64 in its canonical form.
        """
        match envelope:
            case {"payloadType": str(found), "payload": str(payload), "signatures": list(items), **extra} if not extra:
                pass
            case _:
                message = f"the {what} is not a DSSE envelope"
                raise DirectoryInvalid(message)
        if found != kind:
            message = f"the envelope's payload is not a {what}"
            raise DirectoryInvalid(message)
        if not 0 < len(items) <= MAX_SIGNATURES:
            message = f"the {what} has not between 1 and {MAX_SIGNATURES} signatures"
            raise DirectoryInvalid(message)
        return cls(kind, decode_base64(payload), tuple(_signature(item, what) for item in items))

    def signed_by(self, key: ec.EllipticCurvePublicKey) -> bool:
        """Whether one of the signatures is by this key."""
        signed = pae(self.kind, self.payload)
        return any(ecdsa_verifies(key, signed, signature) for signature in self.signatures)


def signed_json(kind: str, payload: bytes, *keys: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """The DSSE envelope of exactly these bytes, as JSON, signed by each key."""
    signatures = [
        {
            "keyid": key_id(key.public_key()),
            "sig": encode_base64(key.sign(pae(kind, payload), ec.ECDSA(hashes.SHA256()))),
        }
        for key in keys
    ]
    return {"payloadType": kind, "payload": encode_base64(payload), "signatures": signatures}


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """The hint at a key that an envelope carries: the SHA-256 of its SubjectPublicKeyInfo in DER, as hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _signature(item: Any, what: str) -> bytes:
    match item:
        case {"keyid": str(), "sig": str(signature), **extra} if not extra:
            return decode_base64(signature)
    message = f"the {what} has a signature without exactly keyid and sig"
    raise DirectoryInvalid(message)
