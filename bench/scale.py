"""Measure what many idle subscriptions cost a broker."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

from processes import resident_mb
from world import MANY, World

from broker.client.connection import ConnectionSettings
from broker.client.subscriber import SubscribeOptions, Subscriber

SUBSCRIPTIONS = 1000
PER_CONNECTION = 100


async def idle(world: World) -> None:
    target = world.start_broker("broker", quotas=MANY)
    before = resident_mb(world.pid(target))
    async with contextlib.AsyncExitStack() as stack:
        for connection in range(SUBSCRIPTIONS // PER_CONNECTION):
            # Channels with the same arguments share a connection. So each has its own setting.
            settings = ConnectionSettings(target, keepalive_seconds=100 + connection)
            channel = await stack.enter_async_context(world.channel(settings, "national-dna-database"))
            for number in range(PER_CONNECTION):
                options = SubscribeOptions(f"idle-{connection}-{number}", frozenset({"SampleRequest"}))
                await stack.enter_async_context(Subscriber(channel).subscribe(options))
        after = resident_mb(world.pid(target))
        print(f"{SUBSCRIPTIONS} idle subscriptions: {before:.0f} MB before, {after:.0f} MB after")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="case-exchange-scale-") as name:
        world = World(Path(name))
        try:
            asyncio.run(idle(world))
        finally:
            world.stop()


if __name__ == "__main__":
    main()
