"""The SDK for an agency's own program: publish and receive records in a few lines (docs/sdk.md).

::

    async with open_agency("county-lab.toml") as agency:
        async for delivery in agency.subscribe("typing", kinds=["SampleRequest"]):
            await delivery.reply(profile_of(delivery.record), recipients=["national-dna-database"])
            await delivery.ack()

A record to publish is durable in the program's spool before it is sent. After a crash, or when the broker is back, the
program sends it from there. Every received record has been verified without trusting the broker. A record that does not
verify is kept in quarantine/, and the program never gets it. A broken connection is opened again, with back-off and
jitter.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adapters.base import DecodedRecord, kind_of
from adapters.edge.again import attempts
from adapters.edge.edge import Edge, open_edge
from adapters.edge.profile import Route, load_program
from adapters.edge.receiving import Delivery, Receiver
from adapters.edge.restoring import spool_missing
from adapters.edge.sending import Accepted, Sender
from adapters.edge.signing import ToPublish, sign_and_spool, sign_and_spool_reply
from adapters.folders import make, set_refused_aside
from broker.client.operator import is_serving
from broker.client.subscriber import SubscribeOptions
from broker.client.trace import TraceClient
from broker.core.errors import CaseExchangeError, InputRefused, Internal, Unavailable
from broker.core.streams import STREAMS_OF_KIND
from broker.core.subscriptions import StartPoint
from broker.wire.receipts import read_receipt, statement_from

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence

    from adapters.base import Record
    from adapters.edge.opening import Opened
    from broker.client.subscriber import Delivered, SubscriptionStream
    from broker.client.trace import Trace
    from broker.core.body import Body
    from broker.core.receipt import Receipt

__all__ = ["Accepted", "Agency", "Delivery", "Status", "ToPublish", "open_agency"]


class Status(NamedTuple):
    """Whether the broker accepts records now, how many of our records wait for a receipt, and broken receipts.

    ``broken`` counts receipts that the log does not keep, as far as this edge has asked. It must be 0.
    """

    serving: bool
    spooled: int
    broken: int = 0


class Agency:
    """An agency's program; the module explains it. Use ``open_agency``. For one event loop; calls may be concurrent."""

    def __init__(self, edge: Edge, routes: Mapping[str, Route], folder: Path, retry_seconds: float) -> None:
        self._edge = edge
        self._routes = routes
        self._quarantine = folder / "quarantine"
        self._retry_seconds = retry_seconds
        self._receiver = Receiver(edge, self._quarantine, retry_seconds)
        self._sender = Sender(edge, self._set_aside, retry_seconds)
        make(self._quarantine)

    async def publish(
        self, record: Record, *, case: str, recipients: Sequence[str] = (), purpose: str = "", stream: str = ""
    ) -> Accepted:
        """Publish one record and wait for its receipt, even if the broker is away for long.

        ``ToPublish`` explains the arguments.

        Raises:
            RecordInvalid, InputRefused: the record cannot be sent. Nothing was stored.
            CaseExchangeError: the broker refused the record for good, or refuses this agency.
            SpoolUnavailable
        """
        (result,) = await self.publish_many([ToPublish(record, case, recipients, purpose, stream)])
        if isinstance(result, CaseExchangeError):
            raise result
        return result

    async def publish_many(self, records: Iterable[ToPublish]) -> list[Accepted | CaseExchangeError]:
        """Publish records and wait for the result of each, in order. One transaction puts all of them into the spool.

        Raises:
            RecordInvalid, InputRefused: one record cannot be sent, so none is sent.
            SpoolUnavailable
        """
        items = list(records)

        def sign() -> list[str]:
            with self._edge.spool.transaction():
                return [self._sign(item) for item in items]

        return await self._outcomes(await asyncio.to_thread(sign))

    async def publish_lost(self) -> int:
        """Publish again the records that the exchange's log has lost, each with its first receipt. Returns how many.

        They are in the spool then, ahead of all others, and are sent while the program runs. ``status`` says when none
        waits. Of the records that got a receipt in the last ``keep_days``, the broker is asked which it does not have.

        Raises:
            CaseExchangeError: the broker did not answer, or refused.
            SpoolUnavailable
        """
        count = await spool_missing(self._edge)
        # To wake the sender.
        await self._sender.settled([])
        return count

    async def subscribe(
        self,
        name: str,
        *,
        kinds: Iterable[str],
        lease_seconds: float | None = None,
        max_outstanding: int = 100,
        start: str = "earliest",
    ) -> AsyncGenerator[Delivery, None]:
        """Receive records of these kinds while the loop runs, also after every restart of the broker.

        Args:
            name: the name of the durable subscription. It goes on where it ended the last time.
            kinds: the kinds of record to receive.
            lease_seconds: if a delivery is not answered within this time, it comes again. None: the broker's default.
            max_outstanding: the most unanswered deliveries at a time.
            start: where what is new begins: the subscription, or a kind that it did not have until now. ``earliest``,
                ``latest``, or a time of ISO 8601 with an offset from UTC. It changes nothing of what is there.

        Raises:
            InputRefused: the start is none of these.
            CaseExchangeError: the broker refuses this agency for good, or the subscription is not well formed.
        """
        options = SubscribeOptions(
            name,
            frozenset(kinds),
            max_outstanding_records=max_outstanding,
            lease_seconds=lease_seconds,
            start=StartPoint.parse(start),
        )
        async for attempt in attempts(self._retry_seconds):
            with attempt:
                async with self._edge.subscriber.subscribe(options) as stream:
                    attempt.retry_state.attempt_number = 1
                    async for batch in stream:
                        for delivered in batch:
                            delivery = await self._open(stream, delivered)
                            if delivery is not None:
                                yield delivery

    def receipt(self, record_id: str) -> Receipt | None:
        """The receipt of a record that this program published, or None."""
        data = self._edge.spool.receipt(record_id)
        return None if data is None else read_receipt(data)

    def former_receipts(self, record_id: str) -> list[Receipt]:
        """The receipts that a record had before the log lost it and it was published again. Each proves a position."""
        return [read_receipt(data) for data in self._edge.spool.sent.former_receipts(record_id)]

    async def status(self) -> Status:
        """The status now. If the broker does not answer, ``serving`` is false."""
        try:
            serving = await is_serving(self._edge.channel)
        except Unavailable:
            serving = False
        return Status(serving, self._edge.spool.outgoing_count(), self._edge.spool.unproved.broken())

    async def trace(self, record_id: str) -> Trace:
        """What became of a record at its recipients: of one that this agency published, or at itself.

        Raises:
            RecordUnknown: there is no such record that concerns this agency.
            CaseExchangeError: the broker did not answer, or refused the request.
        """
        return await TraceClient(self._edge.channel).of_record(record_id)

    async def _reply(self, to: Body, item: ToPublish) -> Accepted:
        kind = kind_of(item.record)
        content = item.record.SerializeToString(deterministic=True)
        place = (hashlib.sha256(to.original_id.encode() + content).digest(), f"{kind} in reply to {to.original_id}")

        def sign() -> str:
            with self._edge.spool.transaction():
                known = self._edge.spool.record_at(*place)
                if known is not None:
                    return known
                body = sign_and_spool_reply(item.record, self._route(item, to), to, self._edge)
                self._edge.spool.add_record(*place, body.record_id)
                return body.record_id

        (result,) = await self._outcomes([await asyncio.to_thread(sign)])
        if isinstance(result, CaseExchangeError):
            raise result
        return result

    def _sign(self, item: ToPublish) -> str:
        routes = {kind_of(item.record): self._route(item, None)}
        return sign_and_spool(DecodedRecord(item.record, item.case, "record"), routes, self._edge).record_id

    def _route(self, item: ToPublish, to: Body | None) -> Route:
        """The route of a record: first from the call, then from the profile, then from the record that it answers."""
        kind = kind_of(item.record)
        known = self._routes.get(kind)
        recipients = tuple(item.recipients) or (known.recipients if known else ((to.publisher,) if to else ()))
        purpose = item.purpose or (to.purpose if to else known.purpose if known else "")
        streams = STREAMS_OF_KIND[kind]
        only = next(iter(streams)) if len(streams) == 1 else ""
        stream = item.stream or only or (known.stream if known else to.stream if to else "")
        if not recipients or not purpose or stream not in streams:
            message = f"a {kind} needs recipients, a purpose and a stream, in the call or in [routes.{kind}]"
            raise InputRefused(message)
        return Route(recipients=recipients, purpose=purpose, stream=stream)

    async def _outcomes(self, record_ids: Sequence[str]) -> list[Accepted | CaseExchangeError]:
        refusals = await self._sender.settled(record_ids)
        return [refusal or self._accepted(item) for item, refusal in zip(record_ids, refusals, strict=True)]

    def _accepted(self, record_id: str) -> Accepted:
        receipt = self.receipt(record_id)
        if receipt is None:
            message = "a record counts as accepted, but has no receipt"
            raise Internal(message)
        statement = statement_from(receipt.statement)
        return Accepted(record_id, statement.position, statement.accepted_at_ms, receipt)

    def _set_aside(self, record_id: str, refusal: CaseExchangeError, envelope: bytes) -> None:
        set_refused_aside(self._quarantine, record_id, refusal, envelope)

    async def _open(self, stream: SubscriptionStream, delivered: Delivered) -> Delivery | None:
        async def use(opened: Opened) -> Delivery:
            return Delivery(stream, delivered, opened, self._reply)

        return await self._receiver.take(stream, delivered, use)


@contextlib.asynccontextmanager
async def open_agency(profile: str | Path) -> AsyncIterator[Agency]:
    """Read a program's profile (docs/sdk.md), load its keys, open its spool, and send what is still in the spool.

    Raises:
        SetupInvalid: the profile, a file or a setting cannot be used.
        DirectoryUnavailable: the directory has expired.
        SpoolUnavailable: another program uses the spool.
    """
    settings, routes = load_program(Path(profile))
    async with open_edge(settings) as edge:
        agency = Agency(edge, routes, settings.program.folder, settings.program.retry_seconds)
        running = asyncio.create_task(agency._sender.run())  # noqa: SLF001 - the other half of this module
        try:
            yield agency
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
