"""Private keys in PKCS #11 tokens, as keys of ``cryptography``: what signs with a key file signs with them unchanged.

Where a setting or an option names a private key file, this file may be a reference: the URI of the key (RFC 7512,
broker/core/keyuri.py) on the first line, then the public key in PEM. So a key is known while its token is away, and
another key that comes into its place in the token is found: each signature is checked with the public key before it
leaves here, and so is the first agreement of each login.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from broker.core.errors import HardwareKeyInvalid, KeyInvalid
from broker.core.keyuri import SCHEME, KeyUri

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_SHA256: Final = ec.ECDSA(hashes.SHA256())
_HALF: Final = 32
_EXAMPLE: Final = b"case-exchange: is this the key?"


class TokenEcKey(ec.EllipticCurvePrivateKey):
    """A P-256 key in a token. Safe to call from any thread. A copy is the same key."""

    def __init__(self, uri: KeyUri, public: ec.EllipticCurvePublicKey) -> None:
        self._uri = uri
        self._public = public

    @property
    def curve(self) -> ec.EllipticCurve:
        """As in ``cryptography``."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """As in ``cryptography``."""
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """As in ``cryptography``. The token is not asked."""
        return self._public

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """ECDSA with SHA-256, ASN.1 DER. The token chooses the nonce, whatever the algorithm asks for.

        Raises:
            HardwareKeyUnavailable
        """
        if not isinstance(signature_algorithm.algorithm, hashes.SHA256):
            raise UnsupportedAlgorithm("a key in a token signs with SHA-256 only")  # noqa: EM101, TRY003
        digest = hashes.Hash(hashes.SHA256())
        digest.update(data)
        raw = _tokens().sign_digest(
            self._uri, digest.finalize(), lambda raw: _holds(self._public.verify, _der(raw), data, _SHA256)
        )
        return _der(raw)

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:  # noqa: ARG002
        """ECDH: the x coordinate, 32 bytes.

        Raises:
            HardwareKeyUnavailable
        """
        # A wrong key would give a wrong secret, and a good wrap would look broken.
        secret: bytes = _tokens().agree(self._uri, _point(peer_public_key), _point(self._public), self._is_shown)
        return secret

    def for_message(self, encapsulated: bytes) -> ec.EllipticCurvePrivateKey:
        """This key, to open one HPKE message. Its token was asked already.

        The library takes whatever fails inside ``exchange`` for a damaged message. A token that is away is none.

        Raises:
            ValueError: the encapsulated key is no point of P-256.
            HardwareKeyUnavailable
        """
        peer = ec.EllipticCurvePublicKey.from_encoded_point(self.curve, encapsulated)
        return _Agreed(self._uri, self._public, self.exchange(ec.ECDH(), peer))

    def _is_shown(self, agree: Callable[[bytes], bytes]) -> bool:
        trial = ec.generate_private_key(self.curve)
        return agree(_point(trial.public_key())) == trial.exchange(ec.ECDH(), self._public)

    def destroy(self) -> None:
        """Destroy it in its token, with the public key there. It is one that opens messages.

        Raises:
            HardwareKeyInvalid: it is not there, or another one is in its place, which stays.
            HardwareKeyUnavailable: it is not certain that it is gone.
        """
        _tokens().destroy(self._uri, self._is_shown)

    def private_numbers(self) -> NoReturn:
        """Never: it does not leave its token."""
        _stays(self._uri)

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        """Never: it does not leave its token."""
        _stays(self._uri)

    def __copy__(self) -> TokenEcKey:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> TokenEcKey:
        return self

    def reference(self) -> bytes:
        """What a key file says of it."""
        return _reference(self._uri, self._public)


class _Agreed(TokenEcKey):
    """A key whose only agreement is done."""

    def __init__(self, uri: KeyUri, public: ec.EllipticCurvePublicKey, secret: bytes) -> None:
        super().__init__(uri, public)
        self._secret = secret

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:  # noqa: ARG002
        """What the token said."""
        return self._secret


class TokenEd25519Key(ed25519.Ed25519PrivateKey):
    """An Ed25519 key in a token. Safe to call from any thread. A copy is the same key."""

    def __init__(self, uri: KeyUri, public: ed25519.Ed25519PublicKey) -> None:
        self._uri = uri
        self._public = public

    def public_key(self) -> ed25519.Ed25519PublicKey:
        """As in ``cryptography``. The token is not asked."""
        return self._public

    def sign(self, data: Any) -> bytes:
        """64 bytes.

        Raises:
            HardwareKeyUnavailable
        """
        signature: bytes = _tokens().sign_message(
            self._uri, bytes(data), lambda signature: _holds(self._public.verify, signature, data)
        )
        return signature

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        """Never: it does not leave its token."""
        _stays(self._uri)

    def private_bytes_raw(self) -> NoReturn:
        """Never: it does not leave its token."""
        _stays(self._uri)

    def __copy__(self) -> TokenEd25519Key:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> TokenEd25519Key:
        return self

    def reference(self) -> bytes:
        """What a key file says of it."""
        return _reference(self._uri, self._public)


TokenKey = TokenEcKey | TokenEd25519Key


def is_reference(data: bytes) -> bool:
    """Whether the content of a key file names a key in a token."""
    return data.startswith(SCHEME.encode())


def read_reference(data: bytes, name: str) -> TokenKey:
    """Read the content of a key file that names a key in a token. The token is not asked.

    Raises:
        KeyUriInvalid: the URI cannot be used.
        KeyInvalid: there is no public key of P-256 or Ed25519 after it.
        ExtraMissing: the library for PKCS #11 is not installed.
    """
    _tokens()
    first, _, rest = data.partition(b"\n")
    uri = KeyUri.parse(first.decode(errors="replace").rstrip("\r"))
    try:
        public = load_pem_public_key(rest)
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if isinstance(public, ed25519.Ed25519PublicKey):
        return TokenEd25519Key(uri, public)
    if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
        return TokenEcKey(uri, public)
    message = f"{name} has no public key of P-256 or Ed25519 after the URI of a key: make it with `token-key`"
    raise KeyInvalid(message)


def make_signing_key(uri: KeyUri) -> TokenEcKey:
    """A P-256 key that signs: the one that is there, or a new one that never leaves its token.

    Raises:
        HardwareKeyUnavailable
    """
    key = _p256(uri, _tokens().Use.SIGN)
    key.sign(_EXAMPLE, _SHA256)
    return key


def make_encryption_key(uri: KeyUri) -> TokenEcKey:
    """A P-256 key that opens what is sealed to it: as ``make_signing_key``.

    Raises:
        HardwareKeyUnavailable
    """
    key = _p256(uri, _tokens().Use.OPEN)
    key.exchange(ec.ECDH(), ec.generate_private_key(ec.SECP256R1()).public_key())
    return key


def make_checkpoint_key(uri: KeyUri) -> TokenEd25519Key:
    """An Ed25519 key that signs: as ``make_signing_key``.

    Raises:
        HardwareKeyUnavailable
    """
    tokens = _tokens()
    public = tokens.make(uri, tokens.Curve.ED25519, tokens.Use.SIGN)
    key = TokenEd25519Key(uri, ed25519.Ed25519PublicKey.from_public_bytes(public))
    key.sign(_EXAMPLE)
    return key


def _p256(uri: KeyUri, use: Any) -> TokenEcKey:
    point = _tokens().make(uri, _tokens().Curve.P256, use)
    try:
        return TokenEcKey(uri, ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))
    except ValueError:
        message = f"the public key of {uri.label} is no point of P-256"
        raise HardwareKeyInvalid(message) from None


def _tokens() -> ModuleType:
    # Only who has a key in a token needs the library for it.
    from broker.trust import tokens  # noqa: PLC0415

    return tokens


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _reference(uri: KeyUri, public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return f"{uri}\n".encode() + public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _der(raw: bytes) -> bytes:
    """An ECDSA signature from (r, s), as PKCS #11 gives it."""
    return encode_dss_signature(int.from_bytes(raw[:_HALF]), int.from_bytes(raw[_HALF:]))


def _holds(verify: Callable[..., None], *signed: Any) -> bool:
    try:
        verify(*signed)
    except InvalidSignature:
        return False
    return True


def _stays(uri: KeyUri) -> NoReturn:
    message = f"the key {uri.label} never leaves its token"
    raise KeyInvalid(message)
