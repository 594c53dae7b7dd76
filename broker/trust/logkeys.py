"""The checkpoint keys that a directory lists, ready to verify with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.tree.checkpoint import SignatureCheck, VerifierKey
from broker.trust.signing import note_verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from broker.core.logkeyends import EndedLogKey
    from broker.core.policy import Directory


def log_verifiers(
    directories: Iterable[Directory], *, beyond_ends: bool = False
) -> dict[tuple[str, bytes], SignatureCheck]:
    """A verifier for every checkpoint key that one of the directories lists, by the key's name and id.

    If a directory names the end of a key, the verifier refuses checkpoints beyond it. The last directory counts.
    ``beyond_ends``: it takes them. Only for those who tell what does not count: such a signature proves nothing.
    """
    known = list(directories)
    ends = {ended.key: (ended, directory) for directory in known for ended in directory.ended_log_keys}
    found: dict[tuple[str, bytes], SignatureCheck] = {}
    for text in dict.fromkeys(text for directory in known for text in directory.log_keys):
        key = VerifierKey.parse(text)
        check = note_verifier(key.public_key)
        found[key.name, key.key_id] = check if beyond_ends or text not in ends else _until(check, *ends[text])
    return found


def _until(check: SignatureCheck, ended: EndedLogKey, directory: Directory) -> SignatureCheck:
    return lambda text, signature: ended.covers_text(text, directory.trust_domain) and check(text, signature)


class FixedLogKeys:
    """The port LogKeys, with these keys."""

    def __init__(self, keys: Iterable[VerifierKey]) -> None:
        self._verifiers = _verifiers(keys)

    def check(self, key_id: bytes) -> SignatureCheck | None:
        """See ``LogKeys``."""
        return next((check for (_, listed), check in self.verifiers().items() if listed == key_id), None)

    def ended(self, key_id: bytes) -> EndedLogKey | None:  # noqa: ARG002 - none of them has ended
        """See ``LogKeys``."""
        return None

    def verifiers(self) -> Mapping[tuple[str, bytes], SignatureCheck]:
        """See ``LogKeys``."""
        return self._verifiers


class DirectoryLogKeys(FixedLogKeys):
    """The port LogKeys, for a directory that a newer version may replace.

    A key must stay listed as long as anyone relies on its signatures, and must be listed before a broker uses it. If
    the directory of a process does not list a key, the process treats its signatures as a stranger's.

    Args:
        latest: gives the newest directory.
    """

    def __init__(self, latest: Callable[[], Directory]) -> None:
        super().__init__(())
        self._latest = latest
        self._of: Directory | None = None
        self._ended: dict[bytes, EndedLogKey] = {}

    def ended(self, key_id: bytes) -> EndedLogKey | None:
        """See ``LogKeys``."""
        self.verifiers()
        return self._ended.get(key_id)

    def verifiers(self) -> Mapping[tuple[str, bytes], SignatureCheck]:
        """See ``LogKeys``."""
        directory = self._latest()
        if directory is not self._of:
            # Two threads may both do this. The results are equal.
            self._verifiers = log_verifiers([directory])
            self._ended = {VerifierKey.parse(each.key).key_id: each for each in directory.ended_log_keys}
            self._of = directory
        return self._verifiers


def _verifiers(keys: Iterable[VerifierKey]) -> dict[tuple[str, bytes], SignatureCheck]:
    return {(key.name, key.key_id): note_verifier(key.public_key) for key in keys}
