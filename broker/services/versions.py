"""The directory versions that were in force, as governance signed them, from the audit stream (docs/adr/0004)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.bundle import LAST_MS, DirectoryDocument
from broker.core.entry import EXCHANGE, Interest
from broker.core.errors import DirectoryInvalid, EnvelopeMalformed
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS
from broker.core.sections import unsalted
from broker.core.streams import AUDIT, DIRECTORY_VERSION, Position, StreamPartition

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.entry import LogEntry
    from broker.core.inforce import DirectoryVersion
    from broker.ports import MessageLog, RecordCodec

_VERSIONS: Final = Interest(EXCHANGE, frozenset({DIRECTORY_VERSION}))
_PAGE_RECORDS: Final = 100
_PAGE_BYTES: Final = 1 << 20


class _Kept(NamedTuple):
    """Where the audit stream has a version, and since when it was in force."""

    position: Position
    in_force_from_ms: int


class DirectoryVersions:
    """Finds directory versions by their time. Of the audit stream it reads only them, once, and later what is new.

    A version that the log has lost, or that cannot be read any more, is not found. ``verify`` names its position in the
    audit stream. Signatures are not checked here. For one event loop.

    Raises (every method):
        LogUnavailable, LogCorrupt
    """

    def __init__(self, log: MessageLog, codec: RecordCodec) -> None:
        self._log = log
        self._codec = codec
        self._kept: list[_Kept] = []
        self._next = {StreamPartition(AUDIT, number): 0 for number in range(log.partitions(AUDIT))}
        self._looking = asyncio.Lock()

    async def of_period(self, begin_ms: int | None, until_ms: int | None) -> list[DirectoryDocument]:
        """The versions of a period: the last one before it, and those that came within it.

        If no version from before the period's end is left, the one in force then is lost. Then the first that is left.
        """
        found = await self._found()
        within = [item for item in found if until_ms is None or item.in_force_from_ms < until_ms]
        before = [item for item in within if begin_ms is not None and item.in_force_from_ms <= begin_ms]
        return within[max(0, len(before) - 1) :] or found[:1]

    async def in_force_at(self, at_ms: int) -> list[DirectoryDocument]:
        """The version that was in force at a time. Near a change, also the others that may have been in force."""
        first_ms, last_ms = at_ms - CHANGE_OF_DIRECTORY_MS, at_ms + CHANGE_OF_DIRECTORY_MS
        found = await self.of_period(first_ms - 1, last_ms + 1)
        return [item for item in found if item.in_force_from_ms <= last_ms]

    async def _found(self) -> list[DirectoryDocument]:
        async with self._looking:
            for partition in self._next:
                await self._look(partition)
        found = []
        for kept in self._kept:
            document = await self._document(kept.position)
            if document is not None:
                found.append(DirectoryDocument(document, kept.in_force_from_ms))
        return found

    async def _look(self, partition: StreamPartition) -> None:
        while (offset := self._next[partition]) < await self._log.end_offset(partition):
            page = await self._log.read_wanted(partition, offset, _VERSIONS, _PAGE_RECORDS, _PAGE_BYTES)
            self._next[partition] = page.next_offset
            self._kept += [
                _Kept(entry.position, entry.accepted_at_ms)
                for entry in page.entries
                if entry.kind == DIRECTORY_VERSION and 0 <= entry.accepted_at_ms <= LAST_MS
            ]

    async def _document(self, position: Position) -> bytes | None:
        whole = await self._log.read(position.stream_partition, position.offset, 1, 1)
        return _content(self._codec, whole[0]) if whole and whole[0].position == position else None


class KnownVersions:
    """Every directory version that the audit stream has and governance signed, ready to judge records by.

    Raises (every method):
        LogUnavailable, LogCorrupt
    """

    def __init__(self, versions: DirectoryVersions, read: Callable[[DirectoryDocument], DirectoryVersion]) -> None:
        """``read`` is called in a thread. It raises DirectoryInvalid for what governance did not sign."""
        self._versions = versions
        self._read = read

    async def all(self) -> list[DirectoryVersion]:
        """The versions, in the order in which they came into force."""
        return await asyncio.to_thread(self._read_all, await self._versions.of_period(None, None))

    def _read_all(self, documents: list[DirectoryDocument]) -> list[DirectoryVersion]:
        known = []
        for document in documents:
            # What governance did not sign is for an auditor.
            with contextlib.suppress(DirectoryInvalid):
                known.append(self._read(document))
        return known


def _content(codec: RecordCodec, entry: LogEntry) -> bytes | None:
    try:
        (section,) = codec.decode_envelope(entry.value).sections
    except (EnvelopeMalformed, ValueError):
        return None
    return unsalted(section)
