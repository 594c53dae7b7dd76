"""Encrypt the content of a section: AES-256-GCM, with an explicit commitment to the key (port SectionCipher).

AES-GCM does not commit to its key: bytes can be made that open under two keys, to two contents. So the key that
encrypts and the commitment are both derived from the content key with HKDF-SHA256, and the commitment
is compared first.
"""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker.core.body import KEY_BYTES
from broker.core.errors import KeyCommitmentBroken, SealInvalid
from broker.core.sealing import COMMIT_INFO, ENCRYPT_INFO, NONCE_BYTES, SealedContent


class AesGcmCipher:
    """The port SectionCipher."""

    def seal(self, content_key: bytes, nonce: bytes, context: bytes, padded: bytes) -> SealedContent:
        """See ``SectionCipher``."""
        encryption = AESGCM(_derived(content_key, ENCRYPT_INFO + context))
        return SealedContent(
            nonce + encryption.encrypt(nonce, padded, context), _derived(content_key, COMMIT_INFO + context)
        )

    def open(self, content_key: bytes, context: bytes, sealed: SealedContent) -> bytes:
        """See ``SectionCipher``."""
        if not hmac.compare_digest(_derived(content_key, COMMIT_INFO + context), sealed.key_commitment):
            message = "the content key is not the one that the publisher signed for this section"
            raise KeyCommitmentBroken(message)
        nonce, ciphertext = sealed.content[:NONCE_BYTES], sealed.content[NONCE_BYTES:]
        try:
            return AESGCM(_derived(content_key, ENCRYPT_INFO + context)).decrypt(nonce, ciphertext, context)
        # A nonce or a ciphertext that was cut below its least size is a ValueError.
        except (InvalidTag, ValueError) as error:
            message = "the bytes of a sealed section do not open with its content key"
            raise SealInvalid(message) from error


def _derived(content_key: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(content_key)
