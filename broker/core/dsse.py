"""A DSSE v1.0.2 envelope as JSON (secure-systems-lab/dsse, envelope.md).

What governance signs is one, and a record can be exported as one. Every other envelope travels as protobuf
(broker/core/envelope.py has the signed bytes, which are the same).
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from broker.core.strict import Fault, NotStrict, decode_base64, encode_base64


class DsseSignature(NamedTuple):
    """A signature, and a hint at its key. Nothing authenticates the hint."""

    key_id: str
    value: bytes


class DsseEnvelope(NamedTuple):
    """The parts of an envelope. The signatures are over ``pae(payload_type, payload)``, and are not checked yet."""

    payload_type: str
    payload: bytes
    signatures: tuple[DsseSignature, ...]

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "payloadType": self.payload_type,
            "payload": encode_base64(self.payload),
            "signatures": [{"keyid": key_id, "sig": encode_base64(value)} for key_id, value in self.signatures],
        }

    def encode(self) -> bytes:
        """The JSON text, as one line."""
        return json.dumps(self.as_json()).encode() + b"\n"

    @classmethod
    def from_json(cls, envelope: Any) -> DsseEnvelope:
        """Read a JSON object of exactly the form that ``as_json`` gives.

        Args:
            envelope: what ``parse_json`` returned. The caller has checked the size of the text.

        Raises:
            NotStrict: it has another form.
        """
        match envelope:
            case {"payloadType": str(kind), "payload": str(body), "signatures": list(items), **extra} if not extra:
                return cls(kind, decode_base64(body), tuple(map(_signature, items)))
        raise NotStrict(Fault.DSSE)


def _signature(item: Any) -> DsseSignature:
    match item:
        case {"keyid": str(key_id), "sig": str(value), **extra} if not extra:
            return DsseSignature(key_id, decode_base64(value))
    raise NotStrict(Fault.DSSE)
