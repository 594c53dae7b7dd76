"""What a member that means harm takes from the others, one attack after another (``make attack``).

An honest publisher sends records at a fixed rate, and a subscriber gets them. Five times by turns: a quiet phase, then
the same under attack, then the same just after it, while what the attacker left behind is cleared away. The table says
how much longer the slowest of a hundred receipts took (the p99; the median of the five), and the most memory that the
broker had. Each attack has a new broker with a log of 16 MiB. Loopback only.

With ``--control`` the attacks go to another process instead (bench/sink.py), which reads and refuses, beside a broker
that nobody attacks. What the others lose then, the machine takes from them and not the broker.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from attackers import ATTACKS
from exchange import Bench
from latency import Deliveries, Latency, paced
from processes import family, resident_mb

from broker.client.connection import ConnectionSettings
from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.client.publisher import PublishStream

PAIRS = 5
RATE = 50
SECONDS = 4.0
LOG_RECORDS = 16_000
"""Of 1 KiB each."""
LOOK_SECONDS = 0.2
BOUND_MB = 500
BOUND_TIMES = 1.2


class Row(NamedTuple):
    """One attack: the p99 of receipts and deliveries under it, in milliseconds and as times of the quiet phase.

    ``after_times`` is that of the receipts in the phase just after it.
    """

    receipt_p99: float
    receipt_times: float
    delivery_p99: float
    delivery_times: float
    after_times: float
    memory_mb: float


class Memory:
    """The most memory of a process and its children while it is watched."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.most_mb = 0.0

    async def watch(self) -> None:
        while True:
            self.most_mb = max(self.most_mb, sum(map(resident_mb, family(self._pid))))
            await asyncio.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def attacked(bench: Bench, target: str, name: str) -> Iterator[None]:
    """Within the block, another process attacks."""
    folder = bench.world.pki.root
    program = Path(__file__).with_name("attackers.py")
    process = subprocess.Popen(
        [sys.executable, str(program), name, target, str(folder)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield
        if process.poll() is not None:
            message = f"the attack {name} ended by itself with code {process.returncode}"
            raise RuntimeError(message)
    finally:
        process.kill()
        process.wait()


async def phase(bench: Bench, stream: PublishStream, deliveries: Deliveries) -> Latency:
    return await paced(stream, deliveries, bench.records_signed(int(RATE * SECONDS)), RATE)


async def measure(bench: Bench, target: str, attacked_target: str, name: str) -> Row:
    memory = Memory(bench.world.pid(target))
    watching = asyncio.create_task(memory.watch())
    await bench.publish(target, 100, 4, LOG_RECORDS)
    settings = ConnectionSettings(target)
    quiet: list[Latency] = []
    loud: list[Latency] = []
    after: list[Latency] = []
    async with contextlib.AsyncExitStack() as stack:
        ours = await stack.enter_async_context(bench.world.channel(settings, "shanxi-police"))
        theirs = await stack.enter_async_context(bench.world.channel(settings, "national-dna-database"))
        receipts = ReceiptVerifier(bench.world.directory, bench.world.keyring)
        publishing = await stack.enter_async_context(Publisher(ours, ProtobufCodec(), receipts).stream())
        options = SubscribeOptions("honest", frozenset({"SampleRequest"}), 1000, 32 << 20)
        subscribed = await stack.enter_async_context(Subscriber(theirs).subscribe(options))
        deliveries = Deliveries()
        following = asyncio.create_task(deliveries.follow(subscribed))
        await phase(bench, publishing, deliveries)
        for _ in range(PAIRS):
            quiet.append(await phase(bench, publishing, deliveries))
            with attacked(bench, attacked_target, name):
                loud.append(await phase(bench, publishing, deliveries))
            after.append(await phase(bench, publishing, deliveries))
        for task in (following, watching):
            task.cancel()
        await asyncio.gather(following, watching, return_exceptions=True)
    receipt_quiet, receipt, receipt_after = (
        statistics.median(each.receipt_p99 for each in phases) for phases in (quiet, loud, after)
    )
    delivery_quiet, delivery = (statistics.median(each.delivery_p99 for each in phases) for phases in (quiet, loud))
    return Row(
        receipt,
        receipt / receipt_quiet,
        delivery,
        delivery / delivery_quiet,
        receipt_after / receipt_quiet,
        memory.most_mb,
    )


def sink(bench: Bench) -> str:
    """Start the process that the control attacks. Return its address."""
    pki, program = bench.world.pki, Path(__file__).with_name("sink.py")
    return bench.world.start(sys.executable, str(program), str(pki.member("exchange")), str(pki.trust / "tls-ca.pem"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", nargs="*", default=[*ATTACKS], help="the attacks to make")
    parser.add_argument("--control", action="store_true", help="attack a process beside the broker that only refuses")
    given = parser.parse_args()
    over = 0
    print("| Attack | Receipt p99, ms | times | Delivery p99, ms | times | Receipt just after, times | Broker, MB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in given.attacks:
        with tempfile.TemporaryDirectory(prefix="case-exchange-attack-") as folder:
            bench = Bench(Path(folder), LOG_RECORDS)
            try:
                target = bench.world.start_broker("broker")
                victim = sink(bench) if given.control else target
                row = asyncio.run(measure(bench, target, victim, name))
            finally:
                bench.world.stop()
        told = (ATTACKS[name].__doc__ or name).rstrip(".")
        print(
            f"| {told} | {row.receipt_p99:.0f} | {row.receipt_times:.2f}"
            f" | {row.delivery_p99:.0f} | {row.delivery_times:.2f} | {row.after_times:.2f}"
            f" | {row.memory_mb:.0f} |",
            flush=True,
        )
        over += row.memory_mb > BOUND_MB or max(row.receipt_times, row.delivery_times) > BOUND_TIMES
    print(f"\n{over} of the attacks cost the others more than {BOUND_TIMES} times, or the broker {BOUND_MB} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
