"""Measure one broker and its clients over its real interface, and the floors to compare with."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from floors import appends_per_second, verifications_per_second
from processes import Stopwatch
from world import World

from broker.bootstrap.verify import verify_bundle
from broker.client.auditor import Auditor
from broker.client.composing import Draft, RecordComposer, SectionDraft
from broker.client.connection import ConnectionSettings
from broker.client.publisher import Published, Publisher
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.body import Recipient
from broker.core.errors import LeaseLost
from broker.core.identity import Principal
from broker.trust.system import SystemClock, SystemEntropy
from broker.wire.bundle import MAGIC, write_frame
from broker.wire.codec import ProtobufCodec
from broker.wire.envelopes import envelope_to
from caseexchange.broker.v1 import publisher_pb2, publisher_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from processes import Rate

    from broker.core.envelope import Envelope
    from broker.core.streams import Position

RECORD_BYTES = 1024
CASES = 500
IN_FLIGHT = 4
"""Batches under way at the same time on one stream."""


class Bench:
    record_bytes = RECORD_BYTES
    cases = CASES

    def __init__(self, root: Path, records: int) -> None:
        self.root = root
        self.records = records
        self.world = World(root)
        self.rows: dict[str, float] = {}
        self.cpu: dict[str, dict[str, float]] = {}
        self.latency: dict[str, dict[str, float]] = {}
        self.kafka: tuple[int, ...] = ()
        """The process ids of the Kafka nodes that are measured now."""
        self._sequence = 0
        self._composer = RecordComposer(
            Principal("case-exchange.example", "shanxi-police", "gateway"),
            self.world.signer("shanxi-police"),
            ProtobufCodec(),
            SystemEntropy(),
            SystemClock(),
        )

    def count(self, batch: int) -> int:
        """The number of records that are measured with batches of this size."""
        return self.records if batch > 1 else self.records // 10

    def records_signed(self, count: int) -> list[Envelope]:
        """Different records, signed before the measurement starts."""
        envelopes = []
        for number in range(count):
            self._sequence += 1
            draft = Draft(
                "SampleRequest",
                "dna",
                f"01990000-0000-4000-8000-{number % self.cases:012d}",
                (Recipient("national-dna-database", self._sequence),),
                "dna-matching",
                (SectionDraft("sample", "caseexchange.records.v1.SampleRequest", os.urandom(RECORD_BYTES)),),
            )
            envelopes.append(self._composer.compose(draft).envelope)
        return envelopes

    def row(self, name: str, per_second: float) -> None:
        self.rows[name] = per_second
        print(f"  {name:63} {per_second:10,.0f}/s", flush=True)

    def cost_row(self, name: str, rate: Rate) -> None:
        """A row that also says what each process spent on a record, in microseconds of processor time."""
        self.rows[name], self.cpu[name] = rate.per_second, dict(rate.cpu)
        print(f"  {name:63} {rate.per_second:10,.0f}/s   {rate.text()}", flush=True)

    def watch(self, target: str) -> Stopwatch:
        """Begin to measure: this process, the one at this address (a broker with its signature process), and Kafka."""
        kafka = {"Kafka": self.kafka} if self.kafka else {}
        return Stopwatch({"broker": (self.world.pid(target),), **kafka})

    # --- what is measured ---

    async def publish(self, target: str, batch: int, streams: int, count: int) -> Rate:
        envelopes = self.records_signed(count)
        from broker.client.receipts import ReceiptVerifier  # noqa: PLC0415 - beside its use

        receipts = ReceiptVerifier(self.world.directory, self.world.keyring)
        async with self.world.channel(ConnectionSettings(target), "shanxi-police") as channel:
            publisher = Publisher(channel, ProtobufCodec(), receipts)

            async def one(part: Sequence[Envelope]) -> int:
                room = asyncio.Semaphore(IN_FLIGHT)
                async with publisher.stream() as stream:

                    async def send(batched: Sequence[Envelope]) -> int:
                        async with room:
                            return sum(isinstance(item, Published) for item in await stream.publish(batched))

                    batches = [part[start : start + batch] for start in range(0, len(part), batch)]
                    return sum(await asyncio.gather(*map(send, batches)))

            parts = [envelopes[start::streams] for start in range(streams)]
            watch = self.watch(target)
            accepted = sum(await asyncio.gather(*map(one, parts)))
            rate = watch.rate(count)
        assert accepted == count
        return rate

    async def transport(self, target: str, batch: int, count: int) -> Rate:
        envelopes = self.records_signed(count)
        async with self.world.channel(ConnectionSettings(target), "shanxi-police") as channel:
            call = publisher_pb2_grpc.PublisherServiceStub(channel).PublishStream()
            watch = self.watch(target)

            async def write() -> None:
                for start in range(0, count, batch):
                    part = envelopes[start : start + batch]
                    await call.write(publisher_pb2.PublishStreamRequest(envelopes=list(map(envelope_to, part))))
                await call.done_writing()

            writing = asyncio.create_task(write())
            answered = 0
            async for response in call:
                answered += len(response.results)
            await writing
            assert answered == count
            return watch.rate(count)

    async def subscribe(self, target: str, count: int, check: Callable[[Envelope], None] | None = None) -> Rate:
        options = SubscribeOptions("bench", frozenset({"SampleRequest"}), 1000, 32 << 20)
        async with self.world.channel(ConnectionSettings(target), "national-dna-database") as channel:
            watch = self.watch(target)
            seen: set[Position] = set()
            acks: set[asyncio.Task[None]] = set()
            async with Subscriber(channel).subscribe(options) as stream:
                async for delivered in stream:
                    acks.add(asyncio.create_task(stream.ack([item.delivery_id for item in delivered])))
                    seen.update(item.position for item in delivered)
                    if check is not None:
                        for item in delivered:
                            check(item.envelope)
                    if len(seen) >= count:
                        break
                # On a very busy machine a lease may end, or a partition may move. Then the record is delivered again.
                failed = [each for each in await asyncio.gather(*acks, return_exceptions=True) if each is not None]
            lost = [each for each in failed if isinstance(each, LeaseLost)]
            assert len(lost) == len(failed), failed[:3]
            if lost:
                why = "a lease ended, or a partition moved"
                print(f"  {len(lost)} acknowledgements did not hold ({why}): those records came again")
            return watch.rate(len(seen))

    async def replay(self, target: str, path: Path) -> tuple[int, Rate]:
        async with self.world.channel(ConnectionSettings(target), "national-audit") as channel:
            watch, records = self.watch(target), 0
            with path.open("wb") as file:
                file.write(MAGIC)
                async for frame in Auditor(channel).replay("bench", streams=("dna",)):
                    write_frame(file, frame.data)
                    records += frame.records
            return records, watch.rate(records)

    def verify(self, path: Path, records: int) -> float:
        started = time.perf_counter()
        report = verify_bundle(path, (self.world.pki.governance_public_key,), lambda _: None)
        assert report.clean, report.findings[:3]
        return records / (time.perf_counter() - started)

    def run(self) -> None:
        print(f"{self.records} records of {RECORD_BYTES} bytes, {os.cpu_count()} cores, client and broker share them")
        print("at the end of a line: microseconds of processor time a record, by process\n")
        print("floors")
        sample = self.records_signed(min(self.records, 10_000))
        keyring = self.world.keyring
        self.row("signature verification alone, 1 thread", verifications_per_second(sample, keyring, 1))
        self.row("signature verification alone, 2 threads", verifications_per_second(sample, keyring, 2))
        self.row("store alone, batches of 100", appends_per_second(sample, self.root / "floor" / "log.db", 100))
        files = self.world.tls("exchange")
        floor = Path(__file__).with_name("floors.py")
        target = self.world.start(
            sys.executable, str(floor), str(files.certificate), str(files.key), str(files.authorities)
        )
        for batch in (1, 10, 100):
            rate = asyncio.run(self.transport(target, batch, self.count(batch)))
            self.cost_row(f"transport alone, batches of {batch}", rate)
        self.world.stop()
        print("exchange")
        records = self.exchange(self.world.start_broker("broker"), "")
        self.world.stop()
        verified = statistics.median(self.verify(self.root / "bundle", records) for _ in range(2))
        self.row("verify offline", verified)
        self.row("replay, then verify", 1 / (1 / self.rows["replay"] + 1 / verified))
        self.ratios()

    def exchange(self, target: str, where: str) -> int:
        """Measure all that a broker does, over its real interface. Return the number of records in its bundle."""
        total = 0
        for batch in (1, 10, 100):
            for streams in (1, 4):
                total += self.count(batch)
                rate = asyncio.run(self.publish(target, batch, streams, self.count(batch)))
                self.cost_row(f"publish, batches of {batch}, {streams} streams{where}", rate)
        best = max(asyncio.run(self.publish(target, 100, 4, self.records)) for _ in range(2))
        total += 2 * self.records
        self.cost_row(f"publish, batches of 100, 4 streams, best of 2 more{where}", best)
        self.cost_row(f"subscribe and acknowledge{where}", asyncio.run(self.subscribe(target, total)))
        time.sleep(2)  # the follower's interval: checkpoints must cover everything before the replay
        records, replayed = asyncio.run(self.replay(target, self.root / "bundle"))
        assert records >= total
        self.cost_row(f"replay{where}", replayed)
        return records

    def ratios(self) -> None:
        rows = self.rows
        print("ratios")
        signatures = rows["signature verification alone, 2 threads"]
        for batch in (1, 10, 100):
            for streams in (1, 4):
                rate = rows[f"publish, batches of {batch}, {streams} streams"]
                floors = {
                    "transport": rows[f"transport alone, batches of {batch}"],
                    "signatures": signatures,
                    "store": rows["store alone, batches of 100"],
                }
                # All three share the same cores, one after the other. So the floor is what is left of their sum.
                together = 1 / sum(1 / floor for floor in floors.values())
                parts = ", ".join(f"{rate / floor:.0%} of {name}" for name, floor in floors.items())
                print(f"  publish {batch:3} x {streams}: {parts}; {rate / together:.0%} of the three together")
        print(f"  verify: {rows['verify offline'] / signatures:.0%} of signatures on 2 threads")
