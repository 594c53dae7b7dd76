"""An honest publisher and an honest subscriber, whose records somebody tampers with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client.publisher import Published
from broker.client.subscriber import SubscribeOptions
from broker.core.entry import NewEntry
from broker.core.seal import APPEND_ID_BYTES, Sealing
from broker.trust.signing import Ed25519NoteSigner
from tests.support.packs import packed
from tests.support.records import CODEC
from tests.support.tampering import Raw

if TYPE_CHECKING:
    from broker.client.publisher import Publisher
    from broker.client.subscriber import Delivered, SubscriptionStream
    from broker.core.envelope import Envelope
    from broker.core.streams import Position, StreamPartition
    from tests.support.exchange import Exchange
    from tests.support.records import RecordMaker

SAMPLES = SubscribeOptions("samples", frozenset({"SampleRequest"}))


class Honest:
    """Publishes records of one case, so that they are in one partition, in this order."""

    def __init__(self, exchange: Exchange, publisher: Publisher) -> None:
        self._exchange = exchange
        self._publisher = publisher
        self._maker: RecordMaker = exchange.maker()
        self.positions: list[Position] = []
        self.digests: list[bytes] = []
        self.envelopes: list[Envelope] = []

    @classmethod
    async def begin(cls, exchange: Exchange, count: int) -> Honest:
        honest = cls(exchange, await exchange.publisher())
        await honest.publish(count)
        return honest

    @property
    def partition(self) -> StreamPartition:
        return self.positions[0].stream_partition

    async def publish(self, count: int) -> None:
        for _ in range(count):
            envelope = self._maker.make()
            receipt = await self._publisher.publish(envelope)
            self.positions.append(self._exchange.receipts().verify(receipt).position)
            self.digests.append(envelope.record_sha256)

    async def go_on(self, exchange: Exchange) -> None:
        """Publish to another broker from now on."""
        self._exchange, self._publisher = exchange, await exchange.publisher()

    async def publish_together(self, count: int) -> None:
        """Publish records in one batch, so that they are one pack."""
        envelopes = [self._maker.make() for _ in range(count)]
        self.envelopes += envelopes
        async with self._publisher.stream() as stream:
            results = await stream.publish(envelopes)
        for result in results:
            assert isinstance(result, Published)
            self.positions.append(result.statement.position)

    def make(self) -> Envelope:
        """The next record of the case, which is not published yet."""
        return self._maker.make()

    async def publish_again(self, envelope: Envelope) -> Position:
        """Publish a record once more, as it was signed. Return the position in its receipt."""
        return self._exchange.receipts().verify(await self._publisher.publish(envelope)).position

    def entry_of(self, envelope: Envelope) -> NewEntry:
        """What a broker appends for a record."""
        body = CODEC.parse_body(envelope.body)
        return NewEntry(
            self.partition,
            body.record_id_bytes,
            body.kind,
            body.case_id,
            tuple(recipient.agency for recipient in body.recipients),
            envelope.record_sha256,
            CODEC.encode_envelope(envelope),
        )

    async def sealed_by_a_stranger(self) -> Raw:
        """The next record of the case, right in every point but one: the key of its seal is not the exchange's."""
        entry, signer = self.entry_of(self._maker.make()), self._exchange.pki.note_signer
        (honest,) = await self._exchange.broker.log.read(self.partition, 0, 1, 1)
        sealing = Sealing(bytes(APPEND_ID_BYTES), self._exchange.clock.now_ms())
        stranger = Ed25519NoteSigner(signer.name, Ed25519PrivateKey.generate())
        (value,) = packed([entry], stranger, sealing, honest.log_id, key_id=signer.key_id)
        return Raw(value, timestamp=sealing.at_ms)


async def taken(stream: SubscriptionStream, count: int) -> list[Delivered]:
    """The next deliveries, each acknowledged, because a case's next record comes only after that."""
    found: list[Delivered] = []
    async with asyncio.timeout(30):
        async for batch in stream:
            await stream.ack([each.delivery_id for each in batch])
            found += batch
            if len(found) >= count:
                break
    return found
