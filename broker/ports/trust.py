"""The ports of keys, certificates and who may act: what decides whom the exchange believes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.identity import Principal
    from broker.core.logkeyends import EndedLogKey
    from broker.core.policy import Directory
    from broker.core.sealing import SealedContent
    from broker.core.tree.checkpoint import SignatureCheck
    from broker.core.tree.cosignature import WitnessKey


class Signer(Protocol):
    """A signing key with its certificate. Safe to call from any thread."""

    @property
    def certificate_sha256(self) -> bytes:
        """SHA-256 of the certificate's DER."""

    @property
    def algorithm(self) -> str:
        """The algorithm's name, as it is written in bodies."""

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes.

        Raises:
            HardwareKeyUnavailable: the key is in a token that cannot be used now.
        """


class NoteSigner(Protocol):
    """A checkpoint key, as C2SP signed-note defines it. Safe to call from any thread."""

    @property
    def name(self) -> str:
        """The key's name."""

    @property
    def key_id(self) -> bytes:
        """Its 4-byte id."""

    def sign(self, text: bytes) -> bytes:
        """Sign the text of a note, with its last newline.

        Raises:
            HardwareKeyUnavailable: the key is in a token that cannot be used now.
        """


class CosignatureSigner(Protocol):
    """The key of a witness. Safe to call from any thread."""

    @property
    def key(self) -> WitnessKey:
        """Its name and public key."""

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes. 64 bytes of Ed25519."""


class SectionCipher(Protocol):
    """Encrypts the content of a section with a key of its own: AES-256-GCM, with a commitment to the key.

    Keeps no state. Safe to call from any thread.
    """

    def seal(self, content_key: bytes, nonce: bytes, context: bytes, padded: bytes) -> SealedContent:
        """Encrypt a padded content.

        Args:
            content_key: 32 random bytes that are used for nothing else.
            nonce: 12 random bytes. They come first in the result.
            context: what the section is bound to. It opens only with the same bytes.
            padded: the padded content.
        """

    def open(self, content_key: bytes, context: bytes, sealed: SealedContent) -> bytes:
        """The padded content, if all of its bytes are right; never a part of it.

        Raises:
            KeyCommitmentBroken: the content key, or the context, is not the one that the commitment is for.
            SealInvalid: the bytes were changed or cut.
        """


class KeyWrapper(Protocol):
    """Wraps content keys to an agency's public key: HPKE (RFC 9180), base mode, HKDF-SHA256, AES-256-GCM.

    Keeps no state. Safe to call from any thread.
    """

    def wrap(self, key: EncryptionKey, content_keys: bytes, info: bytes) -> bytes:
        """The encapsulated key followed by the ciphertext: ``wrapped_size`` bytes. Each call gives other bytes.

        Args:
            key: to which key. It is used whether or not it is in force.
            content_keys: what to wrap.
            info: what the wrap is bound to. It opens only with the same bytes.

        Raises:
            SealInvalid: the public key cannot be used.
        """


class KeyUnwrapper(Protocol):
    """The private encryption keys of one agency, in files or in hardware. Safe to call from any thread."""

    def key_ids(self) -> Collection[bytes]:
        """The ids of the keys that it has now."""

    def unwrap(self, key_id: bytes, wrapped: bytes, info: bytes) -> bytes:
        """The content keys in a wrap.

        Raises:
            SealKeyMissing: it has no private key of this id.
            SealInvalid: the wrap is not to this key, not bound to ``info``, or damaged.
            HardwareKeyUnavailable: the key is in a token that cannot be used now.
        """


class LogKeys(Protocol):
    """The checkpoint keys of the exchange's brokers. Safe to call from any thread."""

    def check(self, key_id: bytes) -> SignatureCheck | None:
        """A function that checks signatures of the key with this id, or None if no such key is listed."""

    def ended(self, key_id: bytes) -> EndedLogKey | None:
        """How far the key with this id counts. None: it has no end. The checks refuse only what a text alone tells."""

    def verifiers(self) -> Mapping[tuple[str, bytes], SignatureCheck]:
        """The same function for each listed key, by the key's name and id."""


class DirectoryClaim(NamedTuple):
    """What a directory says of its exchange, whoever signed the directory. Only a seal by one of its keys proves more.

    Attributes:
        trust_domain: the exchange's trust domain.
        exchange: its agency id.
        log_keys: its checkpoint keys, by name and id (hexadecimal), as text.
        keys: these keys.
        ours: whether this exchange's own governance signed it, for this exchange.
    """

    trust_domain: str
    exchange: str
    log_keys: tuple[str, ...]
    keys: LogKeys
    ours: bool


class SignerCertificate(Protocol):
    """A signing certificate that the directory lists, ready for use. Safe to call from any thread."""

    @property
    def agency(self) -> str:
        """The agency that the directory lists it for. The certificate always names the same agency."""

    @property
    def system(self) -> str:
        """The system of the agency that the certificate names."""

    @property
    def algorithm(self) -> str:
        """The algorithm of its key, as it is written in bodies."""

    @property
    def public_key_der(self) -> bytes:
        """Its public key, as SubjectPublicKeyInfo (DER)."""

    @property
    def revoked_at_ms(self) -> int | None:
        """When it was revoked: milliseconds since the Unix epoch, UTC. None: no list says so."""

    @property
    def retired_at_ms(self) -> int | None:
        """When its agency retired it: milliseconds since the Unix epoch, UTC. None: it is in use."""

    @property
    def ended_at_ms(self) -> int | None:
        """The first time at which it is past its end, or retired (epoch milliseconds, UTC). None: it never was good."""

    def check_valid(self, at_ms: int) -> None:
        """Check that the signing authority issued it, and that it is valid and not revoked at this time.

        Raises:
            SignerCertificateInvalid, SignerRevoked, RevocationUnavailable
        """

    def check_trusted(self, of_ms: int, now_ms: int) -> None:
        """Check that its word of now about a time in the past counts: not ended before that time, not revoked now.

        Raises:
            SignerCertificateInvalid, SignerRevoked, RevocationUnavailable
        """

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature over exactly these bytes. Releases the interpreter lock while it computes.

        Raises:
            SignatureInvalid
        """


class Signed(NamedTuple):
    """Bytes, a signature over them, and the certificate that is said to have made it. Not yet checked."""

    certificate: SignerCertificate
    message: bytes
    signature: bytes


class SignatureVerifier(Protocol):
    """Checks many signatures at once. Safe to call from any thread; blocks until all are checked."""

    def verify(self, signed: Sequence[Signed]) -> list[bool]:
        """Whether each signature is valid, in order."""


class MessageExaminer(Protocol):
    """Looks into large messages before they are parsed. Safe to call from any thread; blocks until it has an answer."""

    def fields_fit(self, data: bytes, nested: Mapping[int, Any], most: int) -> bool:
        """Whether a serialised message is within bounds, as ``fields_fit`` of broker/wire/bounds.py says."""


class Keyring(Protocol):
    """The signing certificates of the directory in force. Safe to call from any thread."""

    def signer(self, certificate_sha256: bytes) -> SignerCertificate:
        """The certificate of this fingerprint.

        Raises:
            SignerUnknown: the directory lists no such certificate.
        """


class DirectoryInForce(Protocol):
    """The newest directory that this process has seen. Governance signed it. Versions never go back."""

    def current(self) -> Directory:
        """The version in force.

        Raises:
            DirectoryUnavailable: it has expired.
        """


class TrustMaterial(Protocol):
    """The public documents in a replay. With them an auditor can check signatures years later."""

    def authorities(self) -> Sequence[bytes]:
        """Certificates (DER) of the signing authorities."""

    def revocation_lists(self) -> Sequence[bytes]:
        """The revocation lists of these authorities that are in force, byte for byte."""


class RevocationCheck(Protocol):
    """Whether the certificate of a TLS peer is revoked."""

    def check(self, certificate_der: bytes) -> None:
        """Refuse a certificate that is on its authority's revocation list. Fast enough for every call.

        Raises:
            PeerRevoked: it is on the list.
            RevocationUnavailable: the list is too old, so this is not known.
        """


class PeerAuthentication(Protocol):
    """Who a TLS peer is.

    The handshake has already proved two things: the peer has the key, and an authority issued the certificate.
    """

    def authenticate(self, certificate_pem: bytes) -> Principal:
        """Return the principal that a peer's certificate names. Fast enough for every call.

        Raises:
            PeerIdentityMissing: the certificate does not name exactly one principal.
            PeerUnknown: the principal belongs to another exchange, or to an agency that the directory does not list.
            PeerRevoked, RevocationUnavailable, DirectoryUnavailable
        """

    def named(self, certificate_pem: bytes) -> str:
        """The SPIFFE id of the principal that the certificate names, also if it may not call. Empty: it names none."""
