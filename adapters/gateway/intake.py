"""Takes a file's records into the spool: all that are good, or none.

First the records are staged while the file is read: unsigned, a few in each transaction. When the file was read to its
end, they are numbered and signed, again a few in each transaction, and what is signed can be sent. Nothing else waits
for more than one of these transactions. A process that ends before the end of the file leaves drafts, which the next
one sweeps; one that ends later leaves drafts that the next one signs.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from adapters.base import RECORD_TYPES, DecodedRecord, Issue, Severity, kind_of
from adapters.edge.opening import contained
from adapters.edge.signing import sign_and_spool
from adapters.edge.staging import StagedDraft, full
from adapters.reading import IssueLog
from broker.core.errors import CaseExchangeError, HardwareKeyUnavailable, SpoolUnavailable

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Mapping

    from adapters.edge.edge import Edge
    from adapters.edge.profile import Route
    from adapters.edge.staging import StagedFile


_PARTS_AT_THE_END: Final = 50
"""How many transactions sweep a file whose reading was stopped: well below a second."""


class StoppedError(Exception):
    """The process ends. If the file was not read to its end, nothing of it is taken in."""


class Intake:
    """See the module. For one task at a time. ``stopped`` ends the work at the next record or transaction."""

    def __init__(self, edge: Edge, routes: Mapping[str, Route], stopped: threading.Event) -> None:
        self._edge = edge
        self._routes = routes
        self._stopped = stopped

    def take(self, sha256: bytes, items: Iterable[DecodedRecord | Issue], log: IssueLog) -> int:
        """Take in the records of a file. Records that were taken in before, from the same bytes, are left out.

        Args:
            sha256: the digest of the file.
            items: its records and issues, from an adapter.
            log: gets the issues. If one refuses the file, nothing is taken in.

        Returns:
            How many records were signed and spooled.

        Raises:
            SpoolUnavailable, OSError, StoppedError
            HardwareKeyUnavailable: the signing key is away. What was read to its end is signed later (``resume``).
        """
        staging = self._edge.spool.staging
        file = staging.begin(sha256)
        try:
            before = self._stage(file, sha256, items, log)
            if log.rejected:
                staging.discard(file)
                return 0
            if before:
                message = f"{before} records from the same bytes were taken in before; they are not taken in again"
                log.add(Issue(Severity.INFO, "SOURCE_REPEATED", "file", message))
            staging.complete(file, refused=log.refused)
        except StoppedError:
            # To sweep all could take longer than there is time. The next start does the rest.
            with contextlib.suppress(SpoolUnavailable):
                staging.discard(file, _PARTS_AT_THE_END)
            raise
        except BaseException:
            with contextlib.suppress(SpoolUnavailable):
                staging.discard(file)
            raise
        return self._sign(file, sha256, log, refused=log.refused)

    def resume(self) -> Iterator[tuple[StagedFile, int, IssueLog]]:
        """Sign what was read to its end before, and not yet signed. Yields each file, how many records, and the issues.

        Raises:
            SpoolUnavailable, HardwareKeyUnavailable, StoppedError
        """
        self._edge.spool.staging.forget()
        for file in self._edge.spool.staging.whole():
            log = IssueLog()
            yield file, self._sign(file.number, file.sha256, log, refused=file.refused), log

    def _stage(self, file: int, sha256: bytes, items: Iterable[DecodedRecord | Issue], log: IssueLog) -> int:
        spool, before = self._edge.spool, 0
        drafts: list[StagedDraft] = []
        for item in items:
            if self._stopped.is_set():
                raise StoppedError
            if not isinstance(item, DecodedRecord):
                log.add(item)
                continue
            kind = kind_of(item.record)
            place = spool.staging.place(f"{kind} at {item.locator}")
            if spool.seen_record(sha256, place):
                before += 1
                continue
            message = item.record.SerializeToString(deterministic=True)
            drafts.append(StagedDraft(place, item.locator, item.case_reference, kind, message))
            if full(drafts):
                spool.staging.add(file, drafts)
                drafts.clear()
        spool.staging.add(file, drafts)
        return before

    def _sign(self, file: int, sha256: bytes, log: IssueLog, *, refused: bool) -> int:
        spool, count, left = self._edge.spool, 0, True
        try:
            while left:
                if self._stopped.is_set():
                    raise StoppedError
                with spool.transaction():
                    drafts = spool.staging.take(file)
                    count += sum(self._sign_one(draft, sha256, log) for draft in drafts)
                    if log.refused:
                        spool.staging.refuse(file)
                    left = bool(drafts)
                    if not left:
                        spool.staging.finish(file)
                        if sha256 and not (refused or log.refused):
                            spool.add_source(sha256)
        finally:
            # The records are signed, whether this succeeds or not. If not, ``resume`` does it, at every look.
            with contextlib.suppress(SpoolUnavailable):
                spool.staging.forget()
        return count

    def _sign_one(self, draft: StagedDraft, sha256: bytes, log: IssueLog) -> bool:
        spool = self._edge.spool
        if spool.seen_record(sha256, draft.place):
            return False
        try:
            with contained():
                record = RECORD_TYPES[draft.kind].FromString(draft.record)
                item = DecodedRecord(record, draft.case_reference, draft.locator)
                body = sign_and_spool(item, self._routes, self._edge)
        except (SpoolUnavailable, HardwareKeyUnavailable):
            raise
        except CaseExchangeError as error:
            log.add(Issue(Severity.REJECT_RECORD, error.reason, draft.locator, error.message))
            return False
        spool.add_record(sha256, draft.place, body.record_id)
        return True
