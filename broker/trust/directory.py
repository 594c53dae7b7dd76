"""The directory in force. It is opened with the pinned governance key, and an older one never replaces it.

The document is a DSSE v1.0.2 envelope in JSON. Governance signs it, not the broker. So the broker's operator cannot
change an agency's key or grant a right.
"""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core.envelope import DIRECTORY_TYPE, pae
from broker.core.errors import DirectoryInvalid, DirectoryUnavailable
from broker.core.strict import decode_base64, encode_base64, parse_json
from broker.trust.directory_payload import parse_payload, strictly
from broker.trust.signing import ecdsa_verifies

if TYPE_CHECKING:
    from broker.core.policy import Directory
    from broker.ports import Clock

MAX_DIRECTORY_BYTES: Final = 16 * 1024 * 1024
MAX_SIGNATURES: Final = 16


def open_directory(document: bytes, governance_key: ec.EllipticCurvePublicKey) -> Directory:
    """Verify a signed directory, then read it. This does not check whether it is in force.

    Raises:
        DirectoryInvalid: not a DSSE envelope of a directory, not signed by this key, or malformed.
    """
    # (1) It is not too large, and an envelope of exactly the expected form: strict JSON (DSSE envelope.md).
    if len(document) > MAX_DIRECTORY_BYTES:
        message = "the directory is too large"
        raise DirectoryInvalid(message)
    with strictly():
        payload, signatures = _unpack(parse_json(document))
    # (2) The pinned key signed it. The key id is ignored: nothing authenticates this hint (DSSE protocol.md).
    signed = pae(DIRECTORY_TYPE, payload)
    if not any(ecdsa_verifies(governance_key, signed, signature) for signature in signatures):
        message = "the directory is not signed by the pinned governance key"
        raise DirectoryInvalid(message)
    # (3) Only now is the payload parsed.
    return parse_payload(payload, document)


def sign_directory(payload: bytes, governance_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Check a directory's payload and sign exactly these bytes. Return the document.

    Raises:
        DirectoryInvalid: its users would refuse the payload.
    """
    parse_payload(payload, document=b"")
    public_key = governance_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = governance_key.sign(pae(DIRECTORY_TYPE, payload), ec.ECDSA(hashes.SHA256()))
    envelope = {
        "payloadType": DIRECTORY_TYPE,
        "payload": encode_base64(payload),
        "signatures": [{"keyid": hashlib.sha256(public_key).hexdigest(), "sig": encode_base64(signature)}],
    }
    return json.dumps(envelope).encode() + b"\n"


class PinnedDirectory:
    """The newest directory that was offered (the port DirectoryInForce). Safe to call from any thread."""

    def __init__(self, document: bytes, governance_key: ec.EllipticCurvePublicKey, clock: Clock) -> None:
        """Begin with a document.

        Args:
            document: the signed document.
            governance_key: the pinned key.
            clock: shows when a directory has expired.

        Raises:
            DirectoryInvalid
        """
        self._governance_key = governance_key
        self._clock = clock
        self._lock = threading.Lock()
        self._latest = open_directory(document, governance_key)

    @property
    def latest(self) -> Directory:
        """The newest version that was accepted, even if it has expired."""
        return self._latest

    def current(self) -> Directory:
        """The version in force.

        Raises:
            DirectoryUnavailable: it has expired.
        """
        directory = self._latest
        if self._clock.now_ms() >= directory.expires_at_ms:
            message = "the directory in force has expired"
            raise DirectoryUnavailable(message, version=str(directory.version))
        return directory

    def offer(self, document: bytes) -> bool:
        """Put a document in the place of the one in force. Return whether it is a newer version.

        Raises:
            DirectoryInvalid: not signed by the pinned key, malformed, older, or of the same version with other bytes.
                The one in force stays.
        """
        offered = open_directory(document, self._governance_key)
        with self._lock:
            seen = self._latest
            if offered.version > seen.version:
                self._latest = offered
                return True
        if offered.version < seen.version:
            _refuse_older(offered.version, seen.version)
        if offered.document != seen.document:
            message = "the directory has the same version as the one in force and other bytes"
            raise DirectoryInvalid(message, version=str(offered.version))
        return False


def _unpack(envelope: Any) -> tuple[bytes, list[bytes]]:
    match envelope:
        case {"payloadType": str(kind), "payload": str(payload), "signatures": list(signatures), **extra} if not extra:
            pass
        case _:
            message = "the directory is not a DSSE envelope"
            raise DirectoryInvalid(message)
    if kind != DIRECTORY_TYPE:
        message = "the envelope's payload is not a directory"
        raise DirectoryInvalid(message)
    if not 0 < len(signatures) <= MAX_SIGNATURES:
        message = f"the directory has not between 1 and {MAX_SIGNATURES} signatures"
        raise DirectoryInvalid(message)
    return decode_base64(payload), [_signature(item) for item in signatures]


def _signature(item: Any) -> bytes:
    match item:
        case {"keyid": str(), "sig": str(signature), **extra} if not extra:
            return decode_base64(signature)
    message = "the directory has a signature without exactly keyid and sig"
    raise DirectoryInvalid(message)


def _refuse_older(version: int, seen: int) -> NoReturn:
    message = "the directory is older than one already seen"
    raise DirectoryInvalid(message, version=str(version), seen=str(seen))
