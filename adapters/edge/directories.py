"""The directory versions that an edge has seen, and the choice of versions to check a received record (docs/adr/0017).

1. Use the newest seen version that may have been in force when the broker accepted the record. This is nearly always
   enough.
2. If that version refuses the record, and another version may allow it, ask the broker which version was in force then.
   Use its answer only if the pinned key signed it, governance had issued it by then, and it had not expired.
3. If there is no such answer, the record has to wait. It is not refused: DirectoryVersionMissing.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from broker.client.verifying import InForce
from broker.core.encryptionkeys import LONGEST_WAIT_MS
from broker.core.errors import CaseExchangeError, DirectoryInvalid, DirectoryVersionMissing
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS, DirectoryVersion, may_be_in_force
from broker.trust.directory import SharedKeyHistory, learn_successions, open_directory
from broker.trust.keyring import DirectoryKeyring

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from adapters.edge.spool import Spool
    from broker.core.keyhistory import KeyHistory
    from broker.core.policy import Directory
    from broker.ports import Clock
    from broker.trust.directory_files import DirectoryFile
    from broker.trust.governance import Governance
    from broker.trust.revocation import Revocations

_log = structlog.get_logger("adapters.edge.directories")


class SeenDirectories:
    """The versions seen, stored in the spool, so that a restart forgets none. Safe to call from any thread."""

    def __init__(
        self,
        spool: Spool,
        read: Callable[[bytes], Directory],
        revocations: Revocations,
        clock: Clock,
        ask: Callable[[int | None], Awaitable[list[bytes]]],
        *,
        history: KeyHistory,
    ) -> None:
        """Begin with the versions in the spool.

        Args:
            spool: stores the versions.
            read: reads a document that the pinned key signed. Raises DirectoryInvalid for any other.
            revocations: the revocation lists of the signing authorities.
            clock: gives the time, to find what is in force now.
            ask: asks the broker for the versions in force at a time, or now.
            history: what the versions say of encryption keys.
        """
        self._history = history
        self._spool = spool
        self._read = read
        self._revocations = revocations
        self._clock = clock
        self._ask = ask
        self._seen: dict[int, DirectoryVersion] = {}
        self._unsaved: dict[int, bytes] = {}
        for document in spool.directories():
            self._try(document)
        self._unsaved.clear()

    def note(self, document: bytes) -> DirectoryVersion:
        """Add a version. It is stored later, but before any record is checked with it.

        Raises:
            DirectoryInvalid: the pinned key did not sign it, or signed two different directories with this version.
            KeyHistoryBroken: it takes back what an agency stated of its encryption keys.
        """
        for known in list(self._seen.values()):
            if known.directory.document == document:
                return known
        directory = self._read(document)
        same = self._seen.get(directory.version)
        if same is not None and replace(same.directory, document=document) == directory:
            return same
        if same is not None:
            message = "the directory has the version of another one that was seen, but a different content"
            raise DirectoryInvalid(message, version=str(directory.version))
        for broken in self._history.add(directory):
            # It was in force here before this edge learned what it takes back.
            _log.error("a directory version took back a key statement", reason=broken.reason, **broken.details)
        # It came into force at this time or later. Only the broker knows exactly when.
        version = DirectoryVersion(directory.issued_at_ms, directory, DirectoryKeyring(directory, self._revocations))
        self._seen[directory.version] = version
        self._unsaved[directory.version] = document
        return version

    def from_seen(
        self, accepted_at_ms: int, former_ms: int | None = None, *, sealed_from_ms: int | None = None
    ) -> InForce:
        """The versions from what this edge has seen: step 1.

        Args:
            accepted_at_ms: when the record was accepted: milliseconds since the Unix epoch, UTC.
            former_ms: the time of its former receipt, if it has one.
            sealed_from_ms: since when versions count by which it may be sealed. None: only those of the acceptance.

        Raises:
            SpoolUnavailable: a version could not be stored.
        """
        self._save()
        former = [] if former_ms is None else self._newest(former_ms)
        sealed = [] if sealed_from_ms is None else self._between(sealed_from_ms, accepted_at_ms)
        return InForce(self._newest(accepted_at_ms), self._newest(self._clock.now_ms()), former, sealed)

    def ended(self, agency: str, key_id: str) -> bool:
        """Whether a key of an agency has ended by now. One that no version that was seen lists has ended, too."""
        ends = [
            end_ms
            for known in list(self._seen.values())
            if (member := known.directory.agencies.get(agency)) is not None
            for one_id, end_ms in (
                *((key.key_id, key.ends_at_ms) for key in member.encryption_keys),
                *((one.key_id, one.retired_at_ms) for one in member.key_retirements),
            )
            if one_id.hex() == key_id
        ]
        return min(ends, default=0) <= self._clock.now_ms()

    async def from_broker(
        self, accepted_at_ms: int, former_ms: int | None = None, *, sealed_from_ms: int | None = None
    ) -> InForce:
        """The versions from the broker's answer: step 2. Arguments as for ``from_seen``.

        Raises:
            DirectoryVersionMissing: step 3.
            SpoolUnavailable: a version could not be stored.
        """
        try:
            then, now = await self._ask(accepted_at_ms), await self._ask(None)
            before = [] if former_ms is None else await self._ask(former_ms)
            sealed = [] if sealed_from_ms is None else await self._ask(sealed_from_ms)
        except CaseExchangeError as error:
            message = f"the broker did not answer which directory was in force: {error.message}"
            raise DirectoryVersionMissing(message) from error
        former = [] if former_ms is None else [(before, former_ms)]
        answers = [(then, accepted_at_ms), (now, self._clock.now_ms()), *former]
        in_force = await asyncio.to_thread(self._from_answers, answers)
        if sealed_from_ms is None:
            return in_force
        await asyncio.to_thread(self._usable, sealed, sealed_from_ms)
        return in_force._replace(sealed=self._between(sealed_from_ms, accepted_at_ms))

    def _from_answers(self, answers: Sequence[tuple[list[bytes], int]]) -> InForce:
        in_force = InForce(*(self._usable(documents, at_ms) for documents, at_ms in answers))
        self._save()
        return in_force

    def _newest(self, at_ms: int) -> list[DirectoryVersion]:
        found = [known for known in list(self._seen.values()) if may_be_in_force(known.directory, at_ms)]
        return [max(found, key=lambda known: known.directory.version)] if found else []

    def _between(self, begin_ms: int, until_ms: int) -> list[DirectoryVersion]:
        """The versions that may have been in force at some time of a period, the newest first.

        A broker may take a version up late. So one counts until its successor was issued for ``LONGEST_WAIT_MS``.
        """
        found = []
        successor_ms: int | None = None
        for _, known in sorted(self._seen.items(), reverse=True):
            begun = known.directory.issued_at_ms - CHANGE_OF_DIRECTORY_MS <= until_ms
            late_ms = begin_ms - LONGEST_WAIT_MS
            if begun and known.directory.expires_at_ms >= begin_ms and (successor_ms is None or successor_ms > late_ms):
                found.append(known)
            successor_ms = known.directory.issued_at_ms
        return found

    def _usable(self, documents: list[bytes], at_ms: int) -> list[DirectoryVersion]:
        found = [known for document in documents if (known := self._try(document)) is not None]
        return [known for known in found if may_be_in_force(known.directory, at_ms)]

    def _save(self) -> None:
        for number, document in list(self._unsaved.items()):
            self._spool.add_directory(number, document)
            self._unsaved.pop(number, None)

    def _try(self, document: bytes) -> DirectoryVersion | None:
        try:
            return self.note(document)
        except DirectoryInvalid as error:
            _log.error("a directory version cannot be used", reason=error.reason, cause=error.message)
            return None


def key_history(spool: Spool, governance: Governance) -> KeyHistory:
    """What the versions in a spool say of encryption keys. A version that cannot be read any more says nothing."""
    documents, history = spool.directories(), SharedKeyHistory()
    learn_successions(documents, governance)
    for document in documents:
        with contextlib.suppress(DirectoryInvalid):
            # It was accepted here: what is wrong with it must not keep a better one out.
            for broken in history.add_accepted(open_directory(document, governance)):
                _log.error("a directory version took back a key statement", reason=broken.reason, **broken.details)
    return history


def go_on(directory: DirectoryFile, seen: Sequence[bytes], *, forgot: bool) -> None:
    """Put the newest version of the spool into force, if the copy of it is lost. Then the revocation list's is too."""
    if not forgot or not seen:
        return
    _log.error("the copies of what was in force are lost: get the newest revocation list from governance", file="trust")
    for document in seen:
        # What governance did not sign, or replaced since, is for SeenDirectories to tell.
        with contextlib.suppress(DirectoryInvalid):
            directory.offer(document)
