"""Whose signature makes a directory: the pinned governance keys, and the keys before and after them.

When governance changes its key, it states so: from this version on, this key signs in place of that one. The new key
signs the statement, and the former one too, unless it is lost. Every later directory carries the statements beside its
payload (docs/directory.md). So nobody has to pin a new key for a planned change. And who pins only the newest key can
still check what the former ones signed.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from broker.core.envelope import SUCCESSION_TYPE
from broker.core.errors import DirectoryInvalid
from broker.core.strict import decode_base64, encode_base64, parse_json
from broker.trust.keys import is_p256, load_verification_keys
from broker.trust.signedjson import SignedJson, signed_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from broker.core.policy import Directory

EitherKey = ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey
MAX_SUCCESSIONS: Final = 64
_NO_END: Final = 2**63


class Succession(NamedTuple):
    """A statement: from a version on, another key signs the directory. Its next key signed it."""

    trust_domain: str
    former: bytes
    """The keys are SubjectPublicKeyInfo in DER."""
    next: bytes
    from_version: int
    by_former: bool
    """Whether the former key signed it, too."""

    @classmethod
    def open(cls, envelope: Any) -> Succession:
        """Check a statement's own signatures, and read it. This does not say whether either key is governance's.

        Raises:
            DirectoryInvalid: it is malformed, or the next key did not sign it.
            NotStrict: not strict JSON or base64.
        """
        signed = SignedJson.unpack(envelope, SUCCESSION_TYPE, "succession")
        match parse_json(signed.payload):
            case {
                "trust_domain": str(domain),
                "former": str(former),
                "next": str(following),
                "from_version": int(version),
                **extra,
            } if not extra and type(version) is int and 0 < version < _NO_END:
                pass
            case _:
                message = "a succession has not exactly trust_domain, former, next and a positive from_version"
                raise DirectoryInvalid(message)
        keys = [_key(decode_base64(text)) for text in (former, following)]
        if keys[0] == keys[1]:
            message = "a succession is from a key to itself"
            raise DirectoryInvalid(message)
        if not signed.signed_by(keys[1]):
            message = "a succession is not signed by its next key"
            raise DirectoryInvalid(message)
        return cls(domain, _der(keys[0]), _der(keys[1]), version, signed.signed_by(keys[0]))


def state_succession(
    directory: Directory,
    former: EitherKey,
    key: ec.EllipticCurvePrivateKey,
) -> dict[str, Any]:
    """State that a key signs the directory from this version on.

    Args:
        directory: the first version that the key signs.
        former: the private key that hands over. Or the public key, if the private one is lost: then only who pins the
            new key believes the statement.
        key: the new key.
    """
    handing_over = () if isinstance(former, ec.EllipticCurvePublicKey) else (former,)
    payload = {
        "trust_domain": directory.trust_domain,
        "former": encode_base64(_der(public_key_of(former))),
        "next": encode_base64(_der(key.public_key())),
        "from_version": directory.version,
    }
    return signed_json(SUCCESSION_TYPE, json.dumps(payload).encode(), key, *handing_over)


def public_key_of(key: EitherKey) -> ec.EllipticCurvePublicKey:
    """The public key of either."""
    return key if isinstance(key, ec.EllipticCurvePublicKey) else key.public_key()


class Governance:
    """The keys of governance. It learns from every directory that it opens. Safe to call from any thread.

    A key that is pinned counts for every version, or up to the one from which another signs. A key that a known one has
    handed over to counts from that version on. A key that a known one says it follows counts for the versions before.
    A key speaks only of versions that it signs itself: one that has handed over can make no other key known any more.
    The first hand-over of a key counts and no other; but what a pinned key says of its predecessor counts before all.
    """

    def __init__(self, *pinned: ec.EllipticCurvePublicKey) -> None:
        self._pinned = frozenset(map(_der, pinned))
        self._lock = threading.Lock()
        self._learned: tuple[Succession, ...] = ()

    @classmethod
    def load(cls, *paths: Path) -> Governance:
        """Pin the P-256 public keys in PEM files. A file may have several.

        Raises:
            KeyInvalid: a file is unreadable, has no key, or has one of another type.
        """
        return cls(*(key for path in paths for key in load_verification_keys(path)))

    def verify(self, signed: SignedJson, statements: Sequence[Succession]) -> Signers:
        """Whose keys signed this, with what the statements beside it say. Nothing is learned yet.

        Raises:
            DirectoryInvalid: no known key did.
        """
        all_statements = (*self._learned, *(one for one in statements if one not in self._learned))
        spans, counted = _spans(self._pinned, all_statements)
        signers = [span for key, span in spans.items() if signed.signed_by(_key(key))]
        if not signers:
            message = "the directory is not signed by the pinned governance key, nor by one that it handed over to"
            raise DirectoryInvalid(message)
        return Signers(tuple(signers), tuple(statements), counted)

    def learn(self, signers: Signers, directory: Directory) -> None:
        """Check that who signed could sign this version, and remember the statements that count.

        Raises:
            DirectoryInvalid: the key signs other versions only, or a statement is of another exchange.
        """
        if any(one.trust_domain != directory.trust_domain for one in signers.statements):
            message = "the directory carries a succession of another exchange"
            raise DirectoryInvalid(message)
        if not any(first <= directory.version < end for first, end in signers.spans):
            message = "the directory is signed by a governance key that does not sign this version"
            raise DirectoryInvalid(message, version=str(directory.version))
        with self._lock:
            self._learned += tuple(one for one in signers.counted if one not in self._learned)


class Signers(NamedTuple):
    """Who signed a document: the versions for which each key counts, and the statements that say so."""

    spans: tuple[tuple[int, int], ...]
    """The first version, and the one after the last."""
    statements: tuple[Succession, ...]
    counted: tuple[Succession, ...]


def _spans(
    pinned: frozenset[bytes], statements: Iterable[Succession]
) -> tuple[dict[bytes, tuple[int, int]], tuple[Succession, ...]]:
    """The versions that each known key may sign, and the statements that count."""
    # What a pinned key says of its predecessor comes first: a thief of that one may have said something else before.
    left = sorted(statements, key=lambda one: one.next not in pinned)
    while True:
        spans, handed = _followed(pinned, left)
        # A statement says who signs its first version, so it counts only if that key signs this version after all.
        wrong = [one for one in handed if not spans[one.next][0] <= one.from_version < spans[one.next][1]]
        if not wrong:
            return spans, handed
        left.remove(wrong[0])


def _followed(
    pinned: frozenset[bytes], statements: Sequence[Succession]
) -> tuple[dict[bytes, tuple[int, int]], tuple[Succession, ...]]:
    spans = dict.fromkeys(pinned, (0, _NO_END))
    handed: dict[bytes, Succession] = {}
    while True:
        for one in statements:
            if one.former not in handed and _is_known(one, spans):
                break
        else:
            return spans, tuple(handed.values())
        handed[one.former] = one
        first, end = spans.get(one.former, (0, _NO_END))
        spans[one.former] = first, min(end, one.from_version)
        spans.setdefault(one.next, (one.from_version, _NO_END))


def _is_known(one: Succession, spans: Mapping[bytes, tuple[int, int]]) -> bool:
    """Whether a known key states it, of a version that this key may speak of."""
    if one.next in spans:
        first, end = spans[one.next]
        return first <= one.from_version < end
    if one.by_former and one.former in spans:
        first, end = spans[one.former]
        return first < one.from_version <= end
    return False


def _key(der: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not is_p256(key):
        message = "a succession names something that is not a P-256 public key"
        raise DirectoryInvalid(message)
    return key


def _der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
