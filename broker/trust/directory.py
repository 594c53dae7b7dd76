"""The directory in force. It is opened with governance's pinned keys, and an older one never replaces it.

The document is a DSSE v1.0.2 envelope in JSON. Governance signs it, not the broker. So the broker's operator cannot
change an agency's key or grant a right.
"""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn

from broker.core.envelope import DIRECTORY_TYPE
from broker.core.errors import DirectoryInvalid, DirectoryUnavailable
from broker.core.inforce import check_issued
from broker.core.keyhistory import KeyHistory
from broker.core.strict import parse_json
from broker.trust.directory_payload import parse_payload
from broker.trust.governance import MAX_SUCCESSIONS, Succession
from broker.trust.signedjson import SignedJson, signed_json, strictly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric import ec

    from broker.core.errors import KeyHistoryBroken
    from broker.core.policy import Directory
    from broker.ports import Clock
    from broker.trust.governance import Governance

MAX_DIRECTORY_BYTES: Final = 16 * 1024 * 1024
_SUCCESSIONS: Final = "successions"


def open_directory(document: bytes, governance: Governance) -> Directory:
    """Verify a signed directory, then read it. This does not check whether it is in force.

    Raises:
        DirectoryInvalid: not a DSSE envelope of a directory, not signed by a key of governance, or malformed.
    """
    # (1) It is not too large, and an envelope of exactly the expected form: strict JSON (DSSE envelope.md).
    with strictly():
        signed, statements = _unpack(_parsed(document))
        successions = [Succession.open(statement) for statement in statements]
    # (2) A key of governance signed it.
    signers = governance.verify(signed, successions)
    # (3) Only now is the payload parsed. What signed it must be the key of this version.
    directory = parse_payload(signed.payload, document)
    governance.learn(signers, directory)
    return directory


def unverified_payload(document: bytes) -> bytes:
    """The payload of a signed directory. Whoever may have signed it: no signature is checked.

    Raises:
        DirectoryInvalid: not a DSSE envelope of a directory.
    """
    with strictly():
        return _unpack(_parsed(document))[0].payload


def learn_successions(documents: Sequence[bytes], governance: Governance) -> None:
    """Learn what directories say of governance's keys, before any is read: a newer key speaks for the one before it.

    A directory that cannot be opened says nothing.

    Args:
        documents: in the order in which they came into force, because the first hand-over of a key counts.
        governance: the pinned keys.
    """
    for document in documents:
        with contextlib.suppress(DirectoryInvalid):
            open_directory(document, governance)


def sign_directory(
    payload: bytes, governance_key: ec.EllipticCurvePrivateKey, successions: Sequence[dict[str, Any]] = ()
) -> bytes:
    """Check a directory's payload and sign exactly these bytes. Return the document.

    Args:
        payload: the JSON text.
        governance_key: the key that signs this version.
        successions: every statement that governance made when it changed its key, in order.

    Raises:
        DirectoryInvalid: its users would refuse the payload.
    """
    parse_payload(payload, document=b"")
    envelope = signed_json(DIRECTORY_TYPE, payload, governance_key)
    if successions:
        envelope[_SUCCESSIONS] = list(successions)
    return json.dumps(envelope).encode() + b"\n"


def successions_of(document: bytes) -> list[dict[str, Any]]:
    """The statements that a directory carries, as they stand there, for the next version. It was opened before."""
    with strictly():
        return _unpack(parse_json(document))[1]


class SharedKeyHistory(KeyHistory):
    """A ``KeyHistory`` that is safe to call from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def add(self, directory: Directory) -> list[KeyHistoryBroken]:
        """See ``KeyHistory``."""
        with self._lock:
            return super().add(directory)

    def add_accepted(self, directory: Directory) -> list[KeyHistoryBroken]:
        """See ``KeyHistory``."""
        with self._lock:
            return super().add_accepted(directory)


class PinnedDirectory:
    """The newest directory that was offered (the port DirectoryInForce). Safe to call from any thread."""

    def __init__(
        self, document: bytes, governance: Governance, clock: Clock, history: KeyHistory | None = None
    ) -> None:
        """Begin with a document.

        Args:
            document: the signed document.
            governance: the pinned keys.
            clock: shows when a directory has expired.
            history: what earlier versions said of encryption keys. None: nothing is known.

        Raises:
            DirectoryInvalid
        """
        self._governance = governance
        self._clock = clock
        self._history = SharedKeyHistory() if history is None else history
        self._lock = threading.Lock()
        self._latest = open_directory(document, governance)
        check_issued(self._latest, clock.now_ms())

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
            DirectoryInvalid: not signed by governance, malformed, issued in the future, older, or of the same version
                with other bytes. The one in force stays.
            KeyHistoryBroken: it takes back what an agency stated of its encryption keys. The one in force stays.
        """
        offered = open_directory(document, self._governance)
        check_issued(offered, self._clock.now_ms())
        with self._lock:
            seen = self._latest
            if offered.version > seen.version:
                # A fault of the version that it replaces must not keep it out.
                self._remember_accepted(seen)
                self._remember(offered)
                self._latest = offered
                return True
        if offered.version < seen.version:
            _refuse_older(offered.version, seen.version)
        if offered.document != seen.document:
            message = "the directory has the same version as the one in force and other bytes"
            raise DirectoryInvalid(message, version=str(offered.version))
        return False

    def _remember(self, version: Directory) -> None:
        """Hold a version to what others said of encryption keys. Raises KeyHistoryBroken."""
        for broken in self._history.add(version):
            self._tell(broken)

    def _remember_accepted(self, version: Directory) -> None:
        for broken in self._history.add_accepted(version):
            self._tell(broken)

    def _tell(self, broken: KeyHistoryBroken) -> None:
        """Take note that a higher version, seen before, took something back. Only what runs for long has a log."""


def _parsed(document: bytes) -> Any:
    if len(document) > MAX_DIRECTORY_BYTES:
        message = "the directory is too large"
        raise DirectoryInvalid(message)
    return parse_json(document)


def _unpack(envelope: Any) -> tuple[SignedJson, list[dict[str, Any]]]:
    # The statements stand beside the payload, because they say whose signature of the payload counts. Each is signed.
    statements: Any = []
    if isinstance(envelope, dict) and _SUCCESSIONS in envelope:
        statements = envelope[_SUCCESSIONS]
        envelope = {key: value for key, value in envelope.items() if key != _SUCCESSIONS}
    if not isinstance(statements, list) or len(statements) > MAX_SUCCESSIONS:
        message = f"the directory has no list of at most {MAX_SUCCESSIONS} successions"
        raise DirectoryInvalid(message)
    return SignedJson.unpack(envelope, DIRECTORY_TYPE, "directory"), statements


def _refuse_older(version: int, seen: int) -> NoReturn:
    message = "the directory is older than one already seen"
    raise DirectoryInvalid(message, version=str(version), seen=str(seen))
