"""What a broker process spends on a record, in counts that a busy machine hardly changes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.processes import Usage, usage
from broker.client.connection import ConnectionSettings, open_channel
from broker.client.publisher import Published, Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.trust.system import SystemClock
from broker.wire.tls import TlsFiles
from tests.support.fakes import FixedDirectory
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from tests.support.pki import SamplePki
    from tests.support.process import BrokerProcess

UNDER_WAY = 16
PUBLISHER, RECIPIENT = "shanxi-police", "national-dna-database"
WANTED = frozenset({"SampleRequest"})
UNWANTED = frozenset({"MatchNotification"})
CONNECTIONS = 2
BOUND = 120
QUIET: dict[str, dict[str, Any]] = {
    "checkpoints": {"interval_seconds": 10.0},
    "trust": {"reload_seconds": 60.0},
}
"""A broker that does little that does not come from records."""


class Cost(NamedTuple):
    """What a process and its children spend on a record.

    Attributes:
        waits: context switches that its threads asked for, because they had to wait.
        calls: reads and writes of files and pipes.
        written: bytes that it wrote into them.
    """

    waits: float
    calls: float
    written: float


class Load:
    """A publisher that gives a broker records in a fixed pattern, and subscriptions that want none of them."""

    def __init__(self, pki: SamplePki, broker: BrokerProcess) -> None:
        self._pki = pki
        self._broker = broker
        self._maker = RecordMaker(pki, SystemClock())
        self._receipts = ReceiptVerifier(FixedDirectory(pki.directory), pki.keyring())

    def _channel(self, number: int = 0, agency: str = PUBLISHER) -> grpc.aio.Channel:
        certificate, key = self._pki.tls_paths(agency)
        files = TlsFiles(certificate, key, self._pki.folder.trust / "tls-ca.pem")
        # Channels with the same settings share a connection.
        return open_channel(ConnectionSettings(self._broker.target, keepalive_seconds=100 + number), files.read())

    @contextlib.asynccontextmanager
    async def subscriptions(self, count: int) -> AsyncIterator[None]:
        """So many open subscriptions that want none of the records."""
        async with contextlib.AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(self._channel(at + 1)) for at in range(CONNECTIONS)]
            for number in range(count):
                options = SubscribeOptions(f"none-{number}", UNWANTED)
                subscriber = Subscriber(channels[number % CONNECTIONS])
                await stack.enter_async_context(subscriber.subscribe(options))
            yield

    async def cost(self, records: int, under_way: int = UNDER_WAY) -> Cost:
        """Publish records over one stream, one record in each batch, with so many under way at a time."""
        left = iter([self._maker.make() for _ in range(records)])
        async with (
            asyncio.timeout(BOUND),
            self._channel() as channel,
            Publisher(channel, CODEC, self._receipts).stream() as stream,
        ):

            async def one_by_one() -> None:
                for envelope in left:
                    (result,) = await stream.publish([envelope])
                    assert isinstance(result, Published), result

            before = usage(self._broker.pid)
            await asyncio.gather(*(one_by_one() for _ in range(under_way)))
            return self._cost(before, records)

    async def delivery_cost(self, records: int) -> Cost:
        """Take so many records, which were published before, with a new subscription, and acknowledge them."""
        left = records
        async with (
            asyncio.timeout(BOUND),
            self._channel(agency=RECIPIENT) as channel,
            Subscriber(channel).subscribe(SubscribeOptions("all", WANTED)) as stream,
        ):
            before = usage(self._broker.pid)
            async for delivered in stream:
                await stream.ack([item.delivery_id for item in delivered])
                left -= len(delivered)
                if left == 0:
                    break
            return self._cost(before, records)

    def _cost(self, before: Usage, records: int) -> Cost:
        spent = usage(self._broker.pid).since(before)
        return Cost(spent.waits / records, spent.files.calls / records, spent.files.written / records)
