"""The directory versions that were in force, as governance signed them, from the audit stream (docs/adr/0004)."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from broker.core.bundle import LAST_MS, DirectoryDocument
from broker.core.entry import EXCHANGE, Interest
from broker.core.errors import DirectoryInvalid, EnvelopeMalformed
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS
from broker.core.sections import unsalted
from broker.core.streams import AUDIT, DIRECTORY_VERSION, Position, StreamPartition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from broker.core.entry import LogEntry
    from broker.core.inforce import DirectoryVersion
    from broker.ports import MessageLog, RecordCodec

_VERSIONS: Final = Interest(EXCHANGE, frozenset({DIRECTORY_VERSION}))
_PAGE_RECORDS: Final = 100
_PAGE_BYTES: Final = 1 << 20
_MOST_READ: Final = 64
"""How many versions are kept, ready to judge records by."""
_Read = TypeVar("_Read")
_BEGAN: Final = attrgetter("in_force_from_ms")


class KeptVersion(NamedTuple):
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
        self._kept: list[KeptVersion] = []
        self._next = {StreamPartition(AUDIT, number): 0 for number in range(log.partitions(AUDIT))}
        self._looking = asyncio.Lock()

    async def of_period(self, begin_ms: int | None, until_ms: int | None) -> list[DirectoryDocument]:
        """The versions of a period: the last one before it, and those that came within it.

        If no version from before the period's end is left, the one in force then is lost. Then the first that is left.
        """
        return await self.read_period(begin_ms, until_ms, self.document)

    async def read_period(
        self, begin_ms: int | None, until_ms: int | None, read: Callable[[KeptVersion], Awaitable[_Read | None]]
    ) -> list[_Read]:
        """As ``of_period``, but what ``read`` makes of each version. None: it counts as lost. No other one is read."""
        await self._look_for_new()
        end = len(self._kept) if until_ms is None else bisect_left(self._kept, until_ms, key=_BEGAN)
        begin = 0 if begin_ms is None else min(end, bisect_right(self._kept, begin_ms, key=_BEGAN))
        before, within, after = self._kept[:begin], self._kept[begin:end], self._kept[end:]
        found = await self._first(reversed(before), read)
        for kept in within:
            found += await self._first([kept], read)
        return found or await self._first(after, read)

    async def in_force_at(self, at_ms: int) -> list[DirectoryDocument]:
        """The version that was in force at a time. Near a change, also the others that may have been in force."""
        first_ms, last_ms = at_ms - CHANGE_OF_DIRECTORY_MS, at_ms + CHANGE_OF_DIRECTORY_MS
        found = await self.of_period(first_ms - 1, last_ms + 1)
        return [item for item in found if item.in_force_from_ms <= last_ms]

    async def document(self, kept: KeptVersion) -> DirectoryDocument | None:
        """One version, as the log has it. None: it cannot be read any more."""
        position = kept.position
        whole = await self._log.read(position.stream_partition, position.offset, 1, 1)
        content = kept_document(self._codec, whole[0]) if whole and whole[0].position == position else None
        return None if content is None else DirectoryDocument(content, kept.in_force_from_ms)

    @staticmethod
    async def _first(
        versions: Iterable[KeptVersion], read: Callable[[KeptVersion], Awaitable[_Read | None]]
    ) -> list[_Read]:
        """The first that can be read, if any can."""
        for kept in versions:
            version = await read(kept)
            if version is not None:
                return [version]
        return []

    async def _look_for_new(self) -> None:
        async with self._looking:
            for partition in self._next:
                await self._look(partition)
            self._kept.sort(key=_BEGAN)

    async def _look(self, partition: StreamPartition) -> None:
        while (offset := self._next[partition]) < await self._log.end_offset(partition):
            page = await self._log.read_wanted(partition, offset, _VERSIONS, _PAGE_RECORDS, _PAGE_BYTES)
            self._next[partition] = page.next_offset
            self._kept += [
                KeptVersion(entry.position, entry.accepted_at_ms)
                for entry in page.entries
                if entry.kind == DIRECTORY_VERSION and 0 <= entry.accepted_at_ms <= LAST_MS
            ]


class KnownVersions:
    """The directory versions that the audit stream has and governance signed, ready to judge records by.

    Those that were asked for last are kept, by their place in the log. For one event loop.

    Raises (every method):
        LogUnavailable, LogCorrupt
    """

    def __init__(self, versions: DirectoryVersions, read: Callable[[DirectoryDocument], DirectoryVersion]) -> None:
        """``read`` is called in a thread. It raises DirectoryInvalid for what governance did not sign."""
        self._versions = versions
        self._read = read
        self._ready: dict[Position, DirectoryVersion] = {}

    async def at(self, at_ms: int) -> list[DirectoryVersion]:
        """The versions that ``versions_at`` chooses from for a time: about three, in order. Only these are read."""
        first_ms, last_ms = at_ms - CHANGE_OF_DIRECTORY_MS, at_ms + CHANGE_OF_DIRECTORY_MS
        return await self._versions.read_period(first_ms - 1, last_ms + 1, self._version)

    async def between(self, begin_ms: int, until_ms: int) -> list[DirectoryVersion]:
        """The versions that were in force at some time of a period, in order."""
        begin_ms, until_ms = begin_ms - CHANGE_OF_DIRECTORY_MS, until_ms + CHANGE_OF_DIRECTORY_MS
        return await self._versions.read_period(begin_ms, until_ms, self._version)

    async def _version(self, kept: KeptVersion) -> DirectoryVersion | None:
        version = self._ready.pop(kept.position, None)
        if version is None:
            document = await self._versions.document(kept)
            if document is None:
                return None
            try:
                version = await asyncio.to_thread(self._read, document)
            except DirectoryInvalid:
                # What governance did not sign is for an auditor.
                return None
        # The one that was asked for last is the last to go.
        self._ready[kept.position] = version
        if len(self._ready) > _MOST_READ:
            del self._ready[next(iter(self._ready))]
        return version


def kept_document(codec: RecordCodec, entry: LogEntry) -> bytes | None:
    """The document that an audit record holds, or None if it cannot be read."""
    try:
        (section,) = codec.decode_envelope(entry.value).sections
    except (EnvelopeMalformed, ValueError):
        return None
    return unsalted(section)
