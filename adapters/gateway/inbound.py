"""From a subscription to an agency's files: verify, join, validate, encode, write durably, acknowledge.

No delivery is acknowledged before its file is durable in outbox/. A record that can never be used (its signature does
not hold, or its content breaks the rules of its kind) is kept unchanged in quarantine/, with the reason, and then
refused with the reason's code. A record that may be used later is given back, to be delivered again, as often as it
takes: the disk is full, a revocation list is too old, or a directory version is missing here.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Final

import structlog

from adapters import folders
from adapters.edge.opening import contained
from adapters.edge.receiving import Receiver, finish
from adapters.edge.routing import learn_delivered
from adapters.folders import Folders
from adapters.reading import is_file_name
from adapters.records.record_json import ADAPTER as RECORD_JSON
from adapters.registry import adapter
from adapters.values.pictures import digest_name
from broker.client.subscriber import SubscribeOptions
from broker.core.subscriptions import StartPoint

if TYPE_CHECKING:
    from adapters.base import Adapter, Limits, Record
    from adapters.edge.edge import Edge
    from adapters.edge.opening import Opened
    from adapters.edge.profile import GatewayConfig
    from broker.client.subscriber import Delivered
    from broker.client.verifying import VerifiedRecord

_log = structlog.get_logger("adapters.gateway.inbound")


class Inbound:
    """Writes delivered records. For one task at a time."""

    def __init__(self, edge: Edge, config: GatewayConfig, limits: Limits) -> None:
        self._edge = edge
        self._own = edge.own_files
        self._config = config
        self._limits = limits
        self._format = adapter(config.outbox_format)
        self.folders: Final = Folders(config.folder)
        self._receiver = Receiver(edge, self.folders.quarantine, config.retry_seconds)

    async def receive(self) -> None:
        """Receive until the stream ends.

        Raises:
            CaseExchangeError: why it ended. What was not acknowledged is delivered again.
        """
        options = SubscribeOptions(
            self._config.subscription,
            frozenset(self._config.subscribe),
            lease_seconds=self._config.lease_seconds,
            start=StartPoint.parse(self._config.start),
        )
        async with self._edge.subscriber.subscribe(options) as stream:
            _log.info("subscribed", subscription=self._config.subscription)
            async for batch in stream:
                for delivered in batch:
                    if await self._receiver.take(stream, delivered, functools.partial(self._use, delivered)):
                        await finish(delivered, stream.ack([delivered.delivery_id]))

    async def _use(self, delivered: Delivered, opened: Opened) -> bool:
        # In a thread: it waits while a file is taken in. The connection and the reload of trust must not wait.
        await asyncio.to_thread(self._store, *opened, delivered.accepted_at_ms)
        return True

    def _store(self, verified: VerifiedRecord, record: Record, not_obeyed: str, accepted_at_ms: int) -> None:
        body, spool = verified.body, self._edge.spool
        if spool.was_delivered(body.record_id):
            return
        readable, read = verified.sections.keys(), spool.newer.read(body.original_id)
        if (read and readable <= read) or (body.supplements is not None and not_obeyed):
            # It must not look like news, nor take the place of what is newer.
            reason = not_obeyed or "READ_BEFORE"
            _log.info("nothing new", record_id=body.record_id, reason=reason)
            return
        # A supplement is the record itself for all who read the outbox, if nothing gets lost by it.
        named_id = body.original_id if read <= readable else body.record_id
        # An adapter uses no files and no network, so its faults do not pass by themselves.
        with contained():
            # What does not count must not look, in the agency's own format, as if it did.
            own = body.kind in self._format.encodes and not not_obeyed
            writer: Adapter = self._format if own else RECORD_JSON
            encoded = writer.encode([record], self._limits)
            codes = sorted({issue.code for issue in encoded.issues})
            files = encoded.attachments.items()
            # A name that is not the digest of the file could be that of another agency's photo.
            safe = all(is_file_name(name) and name.startswith(digest_name(data)) for name, data in files)
            if not safe or any(issue.refuses for issue in encoded.issues):
                # The agency's own format cannot hold this record. Another format does, so that nothing is lost.
                writer, encoded = RECORD_JSON, RECORD_JSON.encode([record], self._limits)
        for name, content in encoded.attachments.items():
            self._own.write(self.folders.outbox / name, content)
        about = folders.About(
            record_id=named_id,
            kind=body.kind,
            case_id=body.case_id,
            publisher=body.publisher,
            in_reply_to=body.in_reply_to,
            supersedes=body.supersedes,
            accepted_at_ms=accepted_at_ms,
            corrects_of_others=tuple(sorted(verified.corrects_of_others)),
            not_obeyed=not_obeyed,
            withheld_sections=tuple(verified.withheld_sections),
            erased_sections=verified.erased_sections,
            not_carried=tuple(codes),
            attachments=tuple(sorted(encoded.attachments)),
            supplement="" if body.supplements is None else body.record_id,
        )
        folders.write_about(self.folders.outbox, about)
        # Last: when a reader sees this file, everything else is already beside it.
        path = folders.delivered_path(self.folders.outbox, body.kind, named_id, writer.suffix)
        self._own.write(path, encoded.content)
        with spool.transaction():
            spool.add_delivered(body.record_id)
            spool.newer.add_read(body.original_id, readable)
            learned = learn_delivered(record, body, spool)
        if not learned:
            _log.warning("a number in the record already names another case here", record_id=body.record_id)
        _log.info("delivered", record_id=body.record_id, count=1)
