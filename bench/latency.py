"""Measure latency at fixed rates: from a record's arrival at the publisher to its verified receipt and to its delivery.

An open loop: records arrive at their times, whether earlier ones are answered or not. Times count from the moment at
which a record should have been sent. So what waits because something is slow counts too. Publisher and subscriber share
one process, so their work is in the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, NamedTuple

from fanout import NONE, subscriptions

from broker.client.connection import ConnectionSettings
from broker.client.publisher import Published, Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange import Bench

    from broker.client.publisher import PublishStream
    from broker.client.subscriber import SubscriptionStream
    from broker.core.envelope import Envelope
    from broker.core.streams import Position

RATES = (10, 100, 500)
"""Records a second."""
SECONDS = 5.0
LEAST = 100
"""Records at the lowest rate: the slowest of a hundred is the p99."""
WARM_UP = 100
PATIENCE_SECONDS = 60.0


class Latency(NamedTuple):
    """Milliseconds from a record's arrival: half of the records, or 99 in 100, took no longer.

    ``per_second`` records got receipts. Where that is less than the rate, records waited in a queue that grew.
    """

    per_second: float
    receipt_p50: float
    receipt_p99: float
    delivery_p50: float
    delivery_p99: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


class Deliveries:
    """Remembers when each record arrived at an open subscription, and acknowledges it."""

    def __init__(self) -> None:
        self._arrived: dict[Position, float] = {}
        self._acks: list[asyncio.Task[None]] = []
        self._more = asyncio.Event()

    async def follow(self, stream: SubscriptionStream) -> None:
        async for delivered in stream:
            now = time.perf_counter()
            for item in delivered:
                self._arrived.setdefault(item.position, now)
            self._more.set()
            self._acks.append(asyncio.create_task(stream.ack([item.delivery_id for item in delivered])))

    async def of(self, positions: Sequence[Position]) -> list[float]:
        """The times of these records, when all have arrived."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._arrived.keys() >= set(positions):
                self._more.clear()
                await self._more.wait()
            await asyncio.gather(*self._acks)
        return [self._arrived[position] for position in positions]


async def paced(stream: PublishStream, deliveries: Deliveries, envelopes: Sequence[Envelope], rate: float) -> Latency:
    """Publish these records, ``rate`` of them a second, one at a time."""
    began = time.perf_counter()

    async def one(number: int) -> tuple[Position, float]:
        await asyncio.sleep(began + number / rate - time.perf_counter())
        (result,) = await stream.publish([envelopes[number]])
        assert isinstance(result, Published), result
        return result.statement.position, time.perf_counter()

    receipts = await asyncio.gather(*map(one, range(len(envelopes))))
    arrived = await deliveries.of([position for position, _ in receipts])
    due = [began + number / rate for number in range(len(envelopes))]
    receipt = [1000 * (at - begin) for (_, at), begin in zip(receipts, due, strict=True)]
    delivery = [1000 * (at - begin) for at, begin in zip(arrived, due, strict=True)]
    shares = (0.5, 0.99)
    per_second = len(envelopes) / (max(at for _, at in receipts) - began)
    return Latency(per_second, *(percentile(values, share) for values in (receipt, delivery) for share in shares))


async def at_rates(bench: Bench, target: str, idle: int) -> dict[int, Latency]:
    """Measure every rate, while so many other subscriptions are open that want none of the records."""
    found = {}
    settings = ConnectionSettings(target)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(subscriptions(bench, target, idle, NONE))
        ours = await stack.enter_async_context(bench.world.channel(settings, "shanxi-police"))
        theirs = await stack.enter_async_context(bench.world.channel(settings, "national-dna-database"))
        receipts = ReceiptVerifier(bench.world.directory, bench.world.keyring)
        publishing = await stack.enter_async_context(Publisher(ours, ProtobufCodec(), receipts).stream())
        options = SubscribeOptions("latency", frozenset({"SampleRequest"}), 1000, 32 << 20)
        subscribed = await stack.enter_async_context(Subscriber(theirs).subscribe(options))
        deliveries = Deliveries()
        following = asyncio.create_task(deliveries.follow(subscribed))
        await paced(publishing, deliveries, bench.records_signed(WARM_UP), WARM_UP)
        for rate in RATES:
            envelopes = bench.records_signed(max(LEAST, int(rate * SECONDS)))
            found[rate] = await paced(publishing, deliveries, envelopes, rate)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return found


def latencies(bench: Bench, target: str, where: str, idle: int = 0) -> None:
    """Measure a broker with an empty log, and print it."""
    more = f", {idle} idle subscriptions" if idle else ""
    print(f"latency{where}{more} (ms)")
    print(f"  {'arrivals':>10} {'receipts':>10} {'receipt p50':>14} {'p99':>8} {'delivery p50':>14} {'p99':>8}")
    for rate, found in asyncio.run(at_rates(bench, target, idle)).items():
        bench.latency[f"{rate}/s{where}{more}"] = found._asdict()
        print(
            f"  {rate:8}/s {found.per_second:8.0f}/s {found.receipt_p50:14.1f} {found.receipt_p99:8.1f}"
            f" {found.delivery_p50:14.1f} {found.delivery_p99:8.1f}",
            flush=True,
        )
