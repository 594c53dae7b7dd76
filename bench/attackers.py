"""What a member that means harm does to a broker, one attack in each process: ``attackers.py NAME ADDRESS FOLDER``.

The process has the lowest priority. So what the others lose, they lose by what the broker does, and not because the
attacker takes the machine from it. It attacks until it is killed, and takes no notice of answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from broker.client.connection import ConnectionSettings, open_channel
from broker.core.former import MAX_RECEIPT_BYTES
from broker.wire.bounds import MAX_ENVELOPES
from broker.wire.tls import TlsFiles
from caseexchange.broker.v1 import envelope_pb2, publisher_pb2, subscriber_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SERVICE = "/caseexchange.broker.v1."
MANY = 2_000_000
TOGETHER = 4
PAUSE_SECONDS = 0.01


class Attacker:
    """A member with its TLS files, at a broker's address."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        self._folder = folder

    @contextlib.asynccontextmanager
    async def channel(self, member: str, number: int = 0):  # noqa: ANN201 - a channel
        """A connection of its own for each number."""
        own = self._folder / "agencies" / member
        files = TlsFiles(own / "tls.pem", own / "tls.key", self._folder / "trust" / "tls-ca.pem")
        settings = ConnectionSettings(self._address, keepalive_seconds=100 + number)
        async with open_channel(settings, files.read()) as channel:
            yield channel

    async def many_parts(self) -> None:
        """Messages of four megabytes with two million empty parts."""
        async with self.channel("national-audit") as channel:
            await _all(lambda: _stream(channel, "PublisherService/PublishStream", b"\x0a\x00" * MANY))

    async def junk_receipts(self) -> None:
        """Batches of records with junk former receipts of the largest size."""
        envelope = envelope_pb2.Envelope(former_receipt=bytes(MAX_RECEIPT_BYTES))
        batch = publisher_pb2.PublishStreamRequest(envelopes=[envelope] * MAX_ENVELOPES).SerializeToString()
        async with self.channel("hebei-police") as channel:
            await _all(lambda: _stream(channel, "PublisherService/PublishStream", *[batch] * 32))

    async def long_acknowledgements(self) -> None:
        """Acknowledgements of two million deliveries that never were."""
        ids = subscriber_pb2.SubscribeRequest(
            acknowledge=subscriber_pb2.Acknowledge(delivery_ids=range(1, MANY))
        ).SerializeToString()
        async with self.channel("national-dna-database") as channel:
            await _all(lambda: _stream(channel, "SubscriberService/Subscribe", _opening("acks"), ids))

    async def compressed(self) -> None:
        """Messages that become sixteen megabytes."""
        async with self.channel("hebei-police") as channel:
            await _all(
                lambda: _unary(channel, "PublisherService/Publish", bytes(16 << 20), compression=grpc.Compression.Gzip)
            )

    async def idle_calls(self) -> None:
        """Four thousand calls that do nothing."""
        async with contextlib.AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(self.channel("hebei-police", n)) for n in range(20)]
            await _each(4000, lambda n: _stream(channels[n % 20], "PublisherService/PublishStream", b"", wait=True))

    async def subscriptions(self) -> None:
        """Two thousand subscriptions."""
        async with contextlib.AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(self.channel("hebei-police", n)) for n in range(20)]
            await _each(
                2000,
                lambda n: _stream(
                    channels[n % 20],
                    "SubscriberService/Subscribe",
                    _opening(f"many-{n}", "MatchNotification"),
                    wait=True,
                ),
            )

    async def refused_calls(self) -> None:
        """Records that the agency may not publish, one after the other."""
        record = publisher_pb2.PublishRequest().SerializeToString()
        async with self.channel("child-aid-ngo") as channel:
            await _all(lambda: _unary(channel, "PublisherService/Publish", record))

    async def reads_nothing(self) -> None:
        """Four subscriptions with the largest limits and short leases, whose subscriber reads nothing."""
        async with contextlib.AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(self.channel("national-dna-database", n)) for n in range(4)]
            await _each(
                4, lambda n: _stream(channels[n], "SubscriberService/Subscribe", _opening(f"slow-{n}"), wait=True)
            )

    async def no_tls(self) -> None:
        """A thousand connections that say nothing."""
        host, _, port = self._address.rpartition(":")

        async def connect(_: int) -> None:
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                await reader.read()
            finally:
                writer.close()

        await _each(1000, connect)


ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (
        Attacker.many_parts,
        Attacker.junk_receipts,
        Attacker.long_acknowledgements,
        Attacker.compressed,
        Attacker.idle_calls,
        Attacker.subscriptions,
        Attacker.refused_calls,
        Attacker.reads_nothing,
        Attacker.no_tls,
    )
}


def _opening(name: str, kind: str = "SampleRequest") -> bytes:
    opening = subscriber_pb2.OpenSubscription(subscription=name, kinds=[kind])
    opening.max_outstanding_records, opening.max_outstanding_bytes, opening.lease.seconds = 1000, 32 << 20, 1
    return subscriber_pb2.SubscribeRequest(open=opening).SerializeToString()


async def _stream(channel: grpc.aio.Channel, method: str, *messages: bytes, wait: bool = False) -> None:
    """Write messages, read one answer, and (if ``wait``) no more until the call ends."""
    call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(SERVICE + method)()
    for message in messages:
        await call.write(message)
    await call.read()
    if wait:
        await call.code()


async def _unary(channel: grpc.aio.Channel, method: str, message: bytes, **options: grpc.Compression) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SERVICE + method)
    await call(message, **options)


async def _all(attempt: Callable[[], Awaitable[None]]) -> None:
    """Try for ever, a few at the same time."""
    await _each(TOGETHER, lambda _: attempt())


async def _each(count: int, attempt: Callable[[int], Awaitable[None]]) -> None:
    """Try for ever, so many at the same time, each with its number."""

    async def again(number: int) -> None:
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, OSError):
                await attempt(number)
            await asyncio.sleep(PAUSE_SECONDS)

    await asyncio.gather(*map(again, range(count)))


if __name__ == "__main__":
    os.nice(19)
    name, address, folder = sys.argv[1:]
    asyncio.run(ATTACKS[name](Attacker(address, Path(folder))))
