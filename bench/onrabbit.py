"""RabbitMQ with quorum queues: publisher confirms, each record acknowledged, mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import aio_pika
from peer import SERVER, Absent, AsyncPeer, Server, client_context, in_windows, wait_until_it_listens

from deploy.kafka.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
    from peer import Check
    from processes import Rate
    from world import World

_PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Not the one on the path: that one wants to be root, and starts the machine's own node."""
_PREFETCH = 1000
_QUORUM = {"x-queue-type": "quorum"}


@contextlib.contextmanager
def running(world: World, streams: int, under_way: int) -> Iterator[Rabbit]:
    """A node of its own, which ends with the block.

    Raises:
        Absent
    """
    if not _PROGRAM.exists():
        message = f"RabbitMQ is absent ({_PROGRAM}): apt install rabbitmq-server (its service need not run)"
        raise Absent(message)
    home = world.root / "rabbit"
    home.mkdir()
    port, between_nodes, names = free_ports(3)
    files = world.tls(SERVER)
    (home / "plugins").write_text("[].\n")
    (home / "rabbitmq.conf").write_text(
        f"""listeners.tcp = none
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {files.authorities}
ssl_options.certfile = {files.certificate}
ssl_options.keyfile = {files.key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_options.versions.1 = tlsv1.3
log.console = false
log.file = rabbit.log
"""
    )
    environment = {
        **os.environ,
        "HOME": str(home),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_NODENAME": "bench@localhost",
        "RABBITMQ_DIST_PORT": str(between_nodes),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((home / "output.log").open("wb"))
        # Without one of our own, the node would start a name server that outlives it.
        for command in ("epmd", str(_PROGRAM)):
            process = subprocess.Popen([command], env=environment, stdout=log, stderr=log)
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
        wait_until_it_listens(process, port)
        found = re.search(r"RabbitMQ (\d\S*)", (home / "rabbit.log").read_text())
        server = Server(world, port, process.pid, found[1] if found else "")
        yield Rabbit(server, streams, under_way)


class Rabbit(AsyncPeer):
    """Quorum queues, one for each stream of a round."""

    def __init__(self, server: Server, streams: int, under_way: int) -> None:
        super().__init__(server, streams, under_way)
        self.name = "RabbitMQ, own check"
        self.settings = (
            f"RabbitMQ {server.version}: {streams} quorum queues of 1 node (fsync of its log before a confirm); "
            f"aio-pika {aio_pika.__version__}, publisher confirms, each record acknowledged, prefetch {_PREFETCH}"
        )
        self._queues: list[str] = []

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[AbstractConnection]:
        address = f"amqps://guest:guest@localhost:{self._server.port}/"
        async with await aio_pika.connect(address, ssl_context=client_context(self._server.world)) as connection:
            yield connection

    async def _begin(self, number: int) -> None:
        self._queues = [f"peers-{number}-{stream}" for stream in range(self._streams)]
        async with self._connected() as connection, connection.channel() as channel:
            for queue in self._queues:
                await channel.declare_queue(queue, durable=True, arguments=_QUORUM)

    async def _publish(self, values: Sequence[bytes], batch: int) -> Rate:
        async with self._connected() as connection:
            exchanges = [(await connection.channel(publisher_confirms=True)).default_exchange for _ in self._queues]

            async def send(number: int, batched: Sequence[bytes]) -> None:
                queue, mode = self._queues[number], aio_pika.DeliveryMode.PERSISTENT
                messages = [aio_pika.Message(each, delivery_mode=mode) for each in batched]
                await asyncio.gather(*(exchanges[number].publish(each, routing_key=queue) for each in messages))

            watch = self._watch()
            await in_windows(values, batch, self._streams, self._under_way, send)
            return watch.rate(len(values))

    async def _read(self, count: int, check: Check) -> Rate:
        async with self._connected() as connection, connection.channel() as channel:
            await channel.set_qos(prefetch_count=_PREFETCH)
            done, left = asyncio.Event(), iter(range(count - 1, -1, -1))

            async def take(message: AbstractIncomingMessage) -> None:
                check(message.body)
                await message.ack()
                if next(left) == 0:
                    done.set()

            queues = [await channel.declare_queue(queue, durable=True, arguments=_QUORUM) for queue in self._queues]
            watch = self._watch()
            for queue in queues:
                await queue.consume(take)
            await done.wait()
            return watch.rate(count)
