"""Encryption keys of agencies, and a directory that lists them and lets nobody publish anything plain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from broker.client.opening import Opening
from broker.client.sealing import Sealing
from broker.core.encryptionkeys import MLKEM768_X25519, EncryptionKey
from broker.core.errors import SealKeyMissing
from broker.trust.hpke import HpkeWrapper, PrivateEncryptionKey
from broker.trust.sealing import AesGcmCipher

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from broker.core.policy import Directory

CIPHER = AesGcmCipher()
WRAPPER = HpkeWrapper()
YEAR_MS = 365 * 86_400_000


@dataclass(frozen=True)
class OwnKey:
    """A key of an agency with its private part."""

    listed: EncryptionKey
    private: PrivateEncryptionKey

    @classmethod
    def make(cls, agency: str, now_ms: int, *, use: str = "records", suite: str = MLKEM768_X25519) -> OwnKey:
        """A key that is in force from an hour before this time on, for a year."""
        private = PrivateEncryptionKey.generate(suite)
        times = (now_ms - 3_600_000, now_ms + YEAR_MS, None)
        listed = EncryptionKey(agency, private.key_id, suite, use, private.public_key, *times, statement=b"")
        return cls(listed, private)


class HeldKeys:
    """The port KeyUnwrapper over keys in memory."""

    def __init__(self, keys: Iterable[OwnKey]) -> None:
        self._private = {key.private.key_id: key.private for key in keys}

    def key_ids(self) -> Collection[bytes]:
        return self._private.keys()

    def unwrap(self, key_id: bytes, wrapped: bytes, info: bytes) -> bytes:
        if key_id not in self._private:
            message = "no such key"
            raise SealKeyMissing(message, key_id=key_id.hex())
        return self._private[key_id].unwrap(wrapped, info)


def keys_for(directory: Directory, now_ms: int, *, suite: str = MLKEM768_X25519) -> dict[str, tuple[OwnKey, ...]]:
    """A key for records and one for the archive, for each agency of a directory."""
    uses = ("records", "archive")
    return {
        agency: tuple(OwnKey.make(agency, now_ms, use=use, suite=suite) for use in uses)
        for agency in directory.agencies
    }


def with_keys(directory: Directory, keys: Mapping[str, Iterable[OwnKey]]) -> Directory:
    """The directory with these keys, and without any right to publish plain."""
    agencies = {
        name: replace(
            agency,
            publish={kind: replace(right, plain=frozenset()) for kind, right in agency.publish.items()},
            encryption_keys=tuple(key.listed for key in keys.get(name, ())),
        )
        for name, agency in directory.agencies.items()
    }
    return replace(directory, agencies=agencies)


def sealing(directory: Directory) -> Sealing:
    """What a publisher seals with that knows this directory."""
    return Sealing(lambda: directory, CIPHER, WRAPPER)


def opening(keys: Iterable[OwnKey]) -> Opening:
    """What an agency with these keys opens with."""
    return Opening(CIPHER, HeldKeys(keys))
