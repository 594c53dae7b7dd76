"""nats-server with JetStream: a stream in files, each write synced before it is acknowledged, mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import nats
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, StorageType
from peer import SERVER, Absent, AsyncPeer, Server, client_context, in_windows, wait_until_it_listens

from deploy.kafka.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from nats.aio.client import Client
    from peer import Check
    from processes import Rate
    from world import World

MODULE = "github.com/nats-io/nats-server/v2@v2.15.3"
_OURS = Path(__file__).parents[1] / ".dev" / "bench"
_FETCH = 500
_ACKS_OPEN = 10_000


def program() -> str:
    """The path of nats-server. Go installs it into .dev/bench once.

    Raises:
        Absent
    """
    ours = _OURS / "nats-server"
    if not ours.exists() and shutil.which("go"):
        print(f"go install {MODULE} (a minute, once)", flush=True)
        subprocess.run(["go", "install", MODULE], check=False, env={**os.environ, "GOBIN": str(_OURS)})
    found = str(ours) if ours.exists() else shutil.which("nats-server")
    if found is None:
        message = f"nats-server is absent. Install Go, or: GOBIN={_OURS} go install {MODULE}"
        raise Absent(message)
    return found


@contextlib.contextmanager
def running(world: World, streams: int, under_way: int) -> Iterator[Nats]:
    """A server of its own, which ends with the block.

    Raises:
        Absent
    """
    path, files, (port,) = program(), world.tls(SERVER), free_ports(1)
    config = world.root / "nats.conf"
    config.write_text(
        f"""listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{world.root / "nats"}", sync_interval: always }}
tls {{
  cert_file: "{files.certificate}"
  key_file: "{files.key}"
  ca_file: "{files.authorities}"
  verify: true
  min_version: "1.3"
}}
"""
    )
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    with (world.root / "nats.log").open("wb") as log:
        process = subprocess.Popen([path, "--config", str(config)], stdout=log, stderr=log)
    try:
        wait_until_it_listens(process, port)
        yield Nats(Server(world, port, process.pid, version), streams, under_way)
    finally:
        process.terminate()
        process.wait(30)


class Nats(AsyncPeer):
    """JetStream, with a stream for each round."""

    def __init__(self, server: Server, streams: int, under_way: int) -> None:
        super().__init__(server, streams, under_way)
        self.name = "nats-server, own check"
        self.settings = (
            f"nats-server {server.version}: JetStream in files, sync_interval always (fsync for each write), 1 server; "
            f"nats-py {nats.aio.client.__version__}, each record acknowledged by itself, fetches of {_FETCH}"
        )
        self._stream = ""

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        context = client_context(self._server.world)
        client = await nats.connect(f"tls://localhost:{self._server.port}", tls=context, tls_hostname="localhost")
        try:
            yield client
        finally:
            await client.close()

    async def _begin(self, number: int) -> None:
        self._stream = f"peers-{number}"
        async with self._connected() as client:
            subjects = [f"{self._stream}.*"]
            await client.jetstream().add_stream(name=self._stream, subjects=subjects, storage=StorageType.FILE)

    async def _publish(self, values: Sequence[bytes], batch: int) -> Rate:
        async with self._connected() as client:
            stream = client.jetstream()

            async def send(number: int, batched: Sequence[bytes]) -> None:
                subject = f"{self._stream}.{number}"
                await asyncio.gather(*[await stream.publish_async(subject, each) for each in batched])

            watch = self._watch()
            await in_windows(values, batch, self._streams, self._under_way, send)
            return watch.rate(len(values))

    async def _read(self, count: int, check: Check) -> Rate:
        config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=_ACKS_OPEN)
        async with self._connected() as client:
            subjects = f"{self._stream}.*"
            subscription = await client.jetstream().pull_subscribe(subjects, "reader", self._stream, config)
            taken, watch = 0, self._watch()
            while taken < count:
                with contextlib.suppress(NatsTimeoutError):
                    for message in await subscription.fetch(min(_FETCH, count - taken)):
                        check(message.data)
                        await message.ack()
                        taken += 1
            await client.flush()
            return watch.rate(taken)
