"""Measure what many idle subscriptions cost a broker, and how long a log of a million records takes to open."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
import time
from pathlib import Path

from world import World

from broker.client.connection import ConnectionSettings
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.entry import NewEntry
from broker.core.streams import StreamPartition
from broker.messagelog.sqlite import SqliteLog
from broker.trust.system import SystemClock

SUBSCRIPTIONS = 1000
PER_CONNECTION = 100
RECORDS = 1_000_000


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def idle(world: World) -> None:
    target = world.start_broker("broker")
    before = resident_mb(world.newest_pid)
    async with contextlib.AsyncExitStack() as stack:
        for connection in range(SUBSCRIPTIONS // PER_CONNECTION):
            # Channels with the same arguments share a connection. So each has its own setting.
            settings = ConnectionSettings(target, keepalive_seconds=100 + connection)
            channel = await stack.enter_async_context(world.channel(settings, "national-dna-database"))
            for number in range(PER_CONNECTION):
                options = SubscribeOptions(f"idle-{connection}-{number}", frozenset({"SampleRequest"}))
                await stack.enter_async_context(Subscriber(channel).subscribe(options))
        after = resident_mb(world.newest_pid)
        print(f"{SUBSCRIPTIONS} idle subscriptions: {before:.0f} MB before, {after:.0f} MB after")


async def million(folder: Path) -> None:
    log = await SqliteLog.open(folder / "log.db", SystemClock())
    for start in range(0, RECORDS, 5000):
        entries = []
        for number in range(start, start + 5000):
            digest = hashlib.sha256(b"%d" % number).digest()
            partition = StreamPartition("dna", number % 4)
            entries.append(NewEntry(partition, digest[:16], "SampleRequest", "case", ("lab",), digest, digest * 6))
        await log.append(entries)
    await log.close()
    size = (folder / "log.db").stat().st_size / 2**20
    started = time.perf_counter()
    log = await SqliteLog.open(folder / "log.db", SystemClock())
    seconds = time.perf_counter() - started
    end = await log.end_offset(StreamPartition("dna", 3))
    await log.close()
    print(f"a log of {end * 4:,} records ({size:.0f} MB) opens in {seconds:.3f} s")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="case-exchange-scale-") as name:
        world = World(Path(name))
        try:
            asyncio.run(idle(world))
        finally:
            world.stop()
        asyncio.run(million(world.root / "million"))


if __name__ == "__main__":
    main()
