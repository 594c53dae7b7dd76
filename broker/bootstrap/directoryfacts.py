"""What a report states of the keys: those that are pinned, and the directories and log keys that follow from them."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.envelope import DIRECTORY_TYPE, pae
from broker.core.strict import NotStrict, decode_base64
from broker.core.tree.checkpoint import VerifierKey
from broker.trust.keys import load_verification_keys
from broker.trust.signedjson import key_id
from broker.trust.signing import ecdsa_verifies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from broker.core.inforce import DirectoryVersion
    from broker.core.policy import Directory

_AS_GOVERNANCE_WRITES_IT: Final = re.compile(
    rb'\{"payloadType": "%s", "payload": "([^"]*)", "signatures": \[\{"keyid": "[^"]*", "sig": "([^"]*)"'
    % re.escape(DIRECTORY_TYPE.encode())
)
"""A line that usual programs for text can take apart (``sign_directory``). Other JSON may mean the same."""


class PinnedKey(NamedTuple):
    """A pinned key: its file's name, and the SHA-256 of its SubjectPublicKeyInfo in DER, in hexadecimal.

    ``file`` and ``place`` count from 0: which of the files it is in, and which of that file's keys it is.
    """

    name: str
    fingerprint: str
    file: int = 0
    place: int = 0


class LogKey(NamedTuple):
    """A key with which the exchange signs its log, and the newest directory version that lists it."""

    key: VerifierKey
    version: int


class DirectoryFacts(NamedTuple):
    """A directory version that counts. Times are milliseconds since the Unix epoch, UTC; the SHA-256 is hexadecimal.

    ``signer`` is the pinned key whose signature is the first one of the document. None: that is by another key, or the
    document is not one line as governance writes it. ``brought``: the auditor brought it.
    """

    version: int
    in_force_from_ms: int
    expires_at_ms: int
    sha256: str
    signer: PinnedKey | None = None
    brought: bool = False


def pinned_keys(roots: Sequence[Path]) -> Iterator[PinnedKey]:
    """The keys in these files.

    Raises:
        KeyInvalid
    """
    for number, root in enumerate(roots):
        for place, key in enumerate(load_verification_keys(root)):
            yield PinnedKey(root.name, key_id(key), number, place)


def log_keys_of(directories: Sequence[Directory]) -> tuple[LogKey, ...]:
    """The keys that these directories list, each once, in the order in which they first come."""
    versions = {VerifierKey.parse(text): one.version for one in directories for text in one.log_keys}
    return tuple(LogKey(key, version) for key, version in versions.items())


def directory_facts(version: DirectoryVersion, roots: Sequence[Path], *, brought: bool = False) -> DirectoryFacts:
    """The facts of a version that was verified with these keys."""
    directory = version.directory
    sha256 = hashlib.sha256(directory.document).hexdigest()
    signer = _signer(directory.document, roots)
    return DirectoryFacts(directory.version, version.in_force_from_ms, directory.expires_at_ms, sha256, signer, brought)


def _signer(document: bytes, roots: Sequence[Path]) -> PinnedKey | None:
    found = _AS_GOVERNANCE_WRITES_IT.match(document)
    if found is None:
        return None
    try:
        payload, signature = (decode_base64(text.decode()) for text in found.groups())
    except (NotStrict, ValueError):
        return None
    signed = pae(DIRECTORY_TYPE, payload)
    keys = (key for root in roots for key in load_verification_keys(root))
    pairs = zip(pinned_keys(roots), keys, strict=True)
    return next((pinned for pinned, key in pairs if ecdsa_verifies(key, signed, signature)), None)
