"""From an agency's files to receipts: inbox, decode, validate, sign, spool, publish.

A source file is moved to done/ only after all of its records are durable in the spool, and its records leave the spool
only with a receipt or a refusal for good. What is refused goes to quarantine/ with the reason beside it. The same bytes
are taken in once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from adapters.base import Decoded, DecodedRecord, Issue, Limits, Severity, Source
from adapters.registry import adapters_of, head_of
from adapters.routing import draft_of, learn, supersede
from broker.client.publisher import Published
from broker.core.errors import CaseExchangeError, SpoolUnavailable
from broker.trust.files import replace_file
from broker.wire.receipts import receipt_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.edge import Edge
    from adapters.profile import GatewayConfig, Route

_log = structlog.get_logger("adapters.outbound")
ATTACHMENTS: Final = "attachments"
_BATCH: Final = 100
_UNFINISHED: Final = (".", "~")


class Taken(NamedTuple):
    """What became of a source file: records spooled, and everything that is to be known about it."""

    records: int
    issues: tuple[Issue, ...]
    refused: bool


class Attachments(Mapping[str, bytes]):
    """The files in a folder by name, read when asked for. No name leads out of the folder."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def __getitem__(self, name: str) -> bytes:
        path = self._folder / name
        if Path(name).name != name or not path.is_file() or path.is_symlink():
            raise KeyError(name)
        if path.stat().st_size > self._max_bytes:
            raise KeyError(name)
        return path.read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Outbound:
    """Takes files in and publishes what is spooled. For one task at a time."""

    def __init__(self, edge: Edge, config: GatewayConfig, routes: Mapping[str, Route], limits: Limits) -> None:
        self._edge = edge
        self._config = config
        self._routes = routes
        self._limits = limits
        self._formats = adapters_of(config.formats, config.mapping)
        self.inbox: Final = config.folder / "inbox"
        self.done: Final = config.folder / "done"
        self.quarantine: Final = config.folder / "quarantine"
        for folder in (self.inbox / ATTACHMENTS, self.done, self.quarantine):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def take_inbox(self) -> int:
        """Take in every file that lies in the inbox now. Returns how many; one that cannot be read stays there.

        Raises:
            SpoolUnavailable
        """
        taken = 0
        for path in sorted(self.inbox.iterdir()):
            if path.name.startswith(_UNFINISHED) or path.is_symlink() or not path.is_file():
                continue
            try:
                self._take_and_move(path)
                taken += 1
            except OSError as error:
                # Its name may be a person's, so only its place in the folder is told.
                _log.error("a file of the inbox cannot be moved or read", cause=type(error).__name__)
        return taken

    def take(self, content: bytes, attachments: Mapping[str, bytes]) -> Taken:
        """Decode a file and spool its records, signed; all of them or none.

        Raises:
            SpoolUnavailable: nothing of it was spooled.
        """
        sha256 = hashlib.sha256(content).digest()
        if self._edge.spool.seen_source(sha256):
            issue = Issue(Severity.INFO, "SOURCE_REPEATED", "file", "the same bytes were taken in before")
            return Taken(0, (issue,), refused=False)
        decoded = self._decode(Source(content, attachments))
        if decoded.rejected:
            return Taken(0, decoded.issues, refused=True)
        issues = list(decoded.issues)
        with self._edge.spool.transaction():
            count = sum(self._spool_record(item, issues) for item in decoded.records)
            self._edge.spool.add_source(sha256)
        refused = any(issue.severity is Severity.REJECT_RECORD for issue in issues)
        return Taken(count, tuple(issues), refused)

    async def publish_spooled(self) -> list[Published | CaseExchangeError]:
        """Publish what is spooled, oldest first, until nothing is left.

        Returns:
            What became of each record: a receipt, or a refusal for good.

        Raises:
            CaseExchangeError: the broker cannot be reached, or cannot accept now. What has no receipt stays spooled.
        """
        results: list[Published | CaseExchangeError] = []
        async with self._edge.publisher.stream() as stream:
            while waiting := self._edge.spool.outgoing(_BATCH):
                envelopes = [self._edge.codec.decode_envelope(item.envelope) for item in waiting]
                for item, result in zip(waiting, await stream.publish(envelopes), strict=True):
                    self._settle(item.record_id, result)
                    results.append(result)
        return results

    def _take_and_move(self, path: Path) -> None:
        # One byte more than is read shows the adapter that the file is too large.
        with path.open("rb") as file:
            content = file.read(self._limits.bytes + 1)
        taken = self.take(content, Attachments(self.inbox / ATTACHMENTS, self._limits.bytes))
        # The file's own name may be a person's, so it is neither logged nor kept where it was refused.
        name = hashlib.sha256(content).hexdigest()[:32] + path.suffix
        _log.info("file taken in", count=taken.records, reason=",".join(sorted({item.code for item in taken.issues})))
        if taken.refused:
            self._refuse(name, {"records_published": taken.records, "issues": _facts(taken.issues)})
        path.replace((self.quarantine if taken.refused else self.done) / name)

    def _decode(self, source: Source) -> Decoded:
        for found in self._formats:
            if found.sniff(head_of(source.content)):
                return found.decode(source, self._limits)
        issue = Issue(Severity.REJECT_FILE, "FORMAT_UNKNOWN", "file", "none of the profile's formats")
        return Decoded((), (issue,), hashlib.sha256(source.content).digest())

    def _spool_record(self, item: DecodedRecord, issues: list[Issue]) -> bool:
        spool = self._edge.spool
        try:
            supersede(item, spool)
            envelope = self._edge.composer.compose(draft_of(item, self._routes, spool))
        except SpoolUnavailable:
            raise
        except CaseExchangeError as error:
            issues.append(Issue(Severity.REJECT_RECORD, error.reason, item.locator, error.message))
            return False
        body = self._edge.codec.parse_body(envelope.body)
        spool.add_outgoing(body.record_id, self._edge.codec.encode_envelope(envelope))
        learn(item.record, item.case_reference, body.case_id, body.record_id, spool)
        return True

    def _settle(self, record_id: str, result: Published | CaseExchangeError) -> None:
        if isinstance(result, Published):
            receipt = receipt_to(result.receipt()).SerializeToString(deterministic=True)
            with self._edge.spool.transaction():
                self._edge.spool.add_receipt(record_id, receipt)
            _log.info("published", record_id=record_id, position=str(result.statement.position))
            return
        if result.retriable:
            raise result
        _log.error("refused", record_id=record_id, reason=result.reason, remedy=result.remedy)
        self._refuse(record_id, {"reason": result.reason, "message": result.message, "remedy": result.remedy})
        with self._edge.spool.transaction():
            self._edge.spool.drop_outgoing(record_id)

    def _refuse(self, name: str, facts: Mapping[str, object]) -> None:
        data = json.dumps(facts, indent=1).encode() + b"\n"
        replace_file(self.quarantine / f"{name}.reason.json", data)


def _facts(issues: Sequence[Issue]) -> list[dict[str, str]]:
    return [
        {"severity": item.severity.value, "code": item.code, "where": item.locator, "message": item.message}
        for item in issues
    ]
