"""Adapters that break one promise each, to test that the contract notices."""

from __future__ import annotations

import copy
import hashlib
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from adapters.base import Decoded, Encoded, Issue, Limits, Severity, Source
from adapters.records.record_json import ADAPTER as RECORD_JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.base import Record


class Good:
    """Breaks no promise. Each of the others differs from it in a line."""

    name = "good"
    media_type: ClassVar = "text/csv"
    suffix: ClassVar = ".json"
    decodes = frozenset({"CaseRecord"})
    encodes: frozenset[str] = frozenset()

    def sniff(self, content: bytes) -> bool:
        return content.startswith(self.name.encode())

    def decode(self, source: Source, limits: Limits) -> Decoded:
        mark = self.name.encode()
        left = replace(limits, bytes=limits.bytes - len(mark))
        found = RECORD_JSON.decode(Source(source.content.removeprefix(mark)), left)
        return Decoded(found.records, found.issues, hashlib.sha256(source.content).digest())

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        del limits
        issue = Issue(Severity.REJECT_RECORD, "KIND_NOT_CARRIED", "records[0]", "nothing is written")
        return Encoded(b"", {}, (issue,) if records else ())


class Greedy(Good):
    name = "greedy"

    def decode(self, source: Source, limits: Limits) -> Decoded:
        bytearray(800 << 20)[::4096] = bytes([1]) * (200 << 10)
        return super().decode(source, limits)


class Slow(Good):
    name = "slow"

    def decode(self, source: Source, limits: Limits) -> Decoded:
        while len(source.content) > 1_000:
            pass
        return super().decode(source, limits)


class Caller(Good):
    name = "caller"

    def decode(self, source: Source, limits: Limits) -> Decoded:
        socket.socket().close()
        return super().decode(source, limits)


class Opener(Good):
    name = "opener"

    def decode(self, source: Source, limits: Limits) -> Decoded:
        with Path("/etc/hosts").open("rb"):
            return super().decode(source, limits)


class Silent(Good):
    name = "silent"

    def decode(self, source: Source, limits: Limits) -> Decoded:
        found = super().decode(source, limits)
        return Decoded(found.records, (), found.source_sha256)


class Quoting(Good):
    name = "quoting"

    def decode(self, source: Source, limits: Limits) -> Decoded:
        found = super().decode(source, limits)
        quoted = [Issue(Severity.INFO, "SEEN", "file", "虚构渡口东侧 was seen")]
        return Decoded(found.records, (*found.issues, *quoted), found.source_sha256)


class Losing(Good):
    name = "losing"
    encodes = frozenset({"CaseRecord"})

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        kept = [copy.deepcopy(record) for record in records]
        for record in kept:
            record.ClearField("narrative")  # type: ignore[arg-type] # of a case
        written = RECORD_JSON.encode(kept, limits)
        return Encoded(self.name.encode() + written.content, {}, written.issues)


class Computing(Good):
    name = "computing"
    encodes = frozenset({"CaseRecord"})

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        del limits
        return Encoded("\n".join(record.local_id for record in records).encode(), {}, ())  # type: ignore[union-attr] # cases


class Unplaced(Good):
    name = "unplaced"
    encodes = frozenset({"CaseRecord"})

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        found = super().encode(records, limits)
        return Encoded(b"", {}, tuple(issue._replace(locator="file") for issue in found.issues))


ADAPTERS: dict[str, Good] = {
    kind.name: kind() for kind in (Good, Greedy, Slow, Caller, Opener, Silent, Quoting, Losing, Computing, Unplaced)
}


def __getattr__(name: str) -> Good:
    """Give each adapter by its own name: entry points name attributes."""
    try:
        return ADAPTERS[name]
    except KeyError:
        raise AttributeError(name) from None
