"""A sigstore bundle v0.3 of a record, and the trusted root to check it with (sigstore/protobuf-specs, JSON form).

The bundle is a *messageSignature* over the record's signed bytes, which are the artifact. It is not a DSSE bundle,
because verifiers disagree about the digest of that one. It has no entry of a transparency log: these bundles allow only
Rekor's own entries, and a leaf of this exchange is another text (broker/core/tree/leaf.py).

A verifier judges a certificate at a time that a timestamp proves. So a bundle has either the certificate and an RFC
3161 timestamp over the signature, or neither, and then only the hint at a key that the verifier must know.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.core.errors import ExportInvalid
from broker.core.strict import NotStrict, decode_base64, encode_base64, parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence

BUNDLE_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
TRUSTED_ROOT_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"


class StampedKey(NamedTuple):
    """The signer's certificate (DER), and the timestamp response over the signature (RFC 3161, DER)."""

    certificate: bytes
    timestamp: bytes


class NamedKey(NamedTuple):
    """A hint at the signer's key: SHA-256 of its certificate, in hexadecimal digits."""

    hint: str


class SigstoreBundle(NamedTuple):
    """What a bundle says. Nothing of it is checked yet."""

    signature: bytes
    key: StampedKey | NamedKey


class TrustedChain(NamedTuple):
    """Certificates (DER) up to a root, and the period in which they count: RFC 3339 texts that include both ends."""

    certificates: Sequence[bytes]
    first: str
    last: str


def marshal_sigstore(message: bytes, bundle: SigstoreBundle) -> bytes:
    """Write the bundle of a signature over these bytes: one line of JSON with its newline."""
    material: dict[str, Any] = {"tlogEntries": []}
    match bundle.key:
        case StampedKey(certificate, timestamp):
            material["certificate"] = {"rawBytes": encode_base64(certificate)}
            stamps = [{"signedTimestamp": encode_base64(timestamp)}]
            material["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
        case NamedKey(hint):
            material["publicKey"] = {"hint": hint}
    digest = encode_base64(hashlib.sha256(message).digest())
    document = {
        "mediaType": BUNDLE_MEDIA_TYPE,
        "verificationMaterial": material,
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": digest},
            "signature": encode_base64(bundle.signature),
        },
    }
    return json.dumps(document).encode() + b"\n"


def parse_sigstore(document: bytes, message: bytes) -> SigstoreBundle:
    """Read the bundle of a signature over these bytes. Only what ``marshal_sigstore`` writes is accepted.

    Raises:
        ExportInvalid: it is another text.
    """
    try:
        bundle = _read(parse_json(document))
    except (NotStrict, KeyError, TypeError, IndexError, AttributeError):
        bundle = None
    if bundle is None or marshal_sigstore(message, bundle) != document:
        text = "the file is not the sigstore bundle of these bytes"
        raise ExportInvalid(text)
    return bundle


def trusted_root(authority: TrustedChain, timestamps: TrustedChain | None) -> bytes:
    """Write a trusted root: who issues signing certificates, and who timestamps, if anybody does."""
    document = {
        "mediaType": TRUSTED_ROOT_MEDIA_TYPE,
        "tlogs": [],
        "certificateAuthorities": [_chain(authority)],
        "ctlogs": [],
        "timestampAuthorities": [] if timestamps is None else [_chain(timestamps)],
    }
    return json.dumps(document).encode() + b"\n"


def _read(document: Any) -> SigstoreBundle:
    material = document["verificationMaterial"]
    signature = decode_base64(document["messageSignature"]["signature"])
    if "publicKey" in material:
        return SigstoreBundle(signature, NamedKey(material["publicKey"]["hint"]))
    certificate = decode_base64(material["certificate"]["rawBytes"])
    (stamp,) = material["timestampVerificationData"]["rfc3161Timestamps"]
    return SigstoreBundle(signature, StampedKey(certificate, decode_base64(stamp["signedTimestamp"])))


def _chain(chain: TrustedChain) -> dict[str, Any]:
    certificates = [{"rawBytes": encode_base64(certificate)} for certificate in chain.certificates]
    return {"certChain": {"certificates": certificates}, "validFor": {"start": chain.first, "end": chain.last}}
