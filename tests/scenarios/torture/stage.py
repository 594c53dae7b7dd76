"""The processes of a run: three Kafka nodes and two broker processes that can be killed, paused and started again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from broker.client.connection import ConnectionSettings, open_channel
from broker.wire.tls import TlsFiles
from certs.kafka import AUDITOR, BROKER
from deploy.kafka.ports import free_ports
from tests.support.exchange import broker_tables
from tests.support.process import edge_tables, write_toml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from broker.core.identity import Principal
    from deploy.kafka.cluster import KafkaCluster
    from tests.scenarios.torture.history import History
    from tests.support.pki import SamplePki

COMMAND: Final = Path(sys.executable).with_name("case-exchange")
BROKERS: Final = ("broker-1", "broker-2")
AUDIT_AGENCY: Final = "national-audit"
_AGAIN_SECONDS: Final = 1.0
_SERVING_SECONDS: Final = 60.0


class Target(Protocol):
    """A process that the nemesis may hit."""

    turn: asyncio.Lock

    async def kill(self) -> None: ...
    async def start(self) -> None: ...
    async def restart(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def wipe(self) -> None: ...


class NodeTarget:
    """A Kafka node."""

    def __init__(self, cluster: KafkaCluster, number: int, thread: asyncio.Lock) -> None:
        self.turn = asyncio.Lock()
        self._cluster = cluster
        self._number = number
        # Only one thread at a time may use the cluster. Slow work is done in another thread than the event loop's.
        self._thread = thread

    async def kill(self) -> None:
        async with self._thread:
            await asyncio.to_thread(self._cluster.kill, self._number)

    async def start(self) -> None:
        await self.restart()

    async def restart(self) -> None:
        async with self._thread:
            await asyncio.to_thread(self._cluster.restart, self._number)

    def pause(self) -> None:
        self._cluster.pause(self._number)

    def resume(self) -> None:
        self._cluster.resume(self._number)

    def wipe(self) -> None:
        """Do nothing: a node keeps its disk. With two copies in sync, it may have a record's last copy."""


class BrokerTarget:
    """A broker process on its own port. It is started again if it ends by itself, as a supervisor would do."""

    def __init__(self, name: str, config: Path, folder: Path, port: int, history: History) -> None:
        self.turn = asyncio.Lock()
        self.name = name
        self.address = f"localhost:{port}"
        self.errors = config.with_suffix(".log")
        self.ended_by_itself = 0
        self._config = config
        self._folder = folder
        self._history = history
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = False
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._spawn()
        self._wanted = True
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    async def kill(self) -> None:
        self._wanted = False
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    async def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self._wanted = False
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        return await self._end(signal.SIGTERM)

    def pause(self) -> None:
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def wipe(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _spawn(self) -> None:
        with self.errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                COMMAND, "serve", "--config", self._config, stdout=asyncio.subprocess.DEVNULL, stderr=errors
            )

    async def _keep(self) -> None:
        while True:
            process = self._process
            if process is not None:
                code = await process.wait()
                if self._is_wanted(process):
                    self.ended_by_itself += 1
                    self._history.fault(f"{self.name} ended by itself with code {code}")
                    await asyncio.sleep(_AGAIN_SECONDS)
                    if self._is_wanted(process):
                        await self._spawn()
            await asyncio.sleep(0.1)

    def _is_wanted(self, process: asyncio.subprocess.Process) -> bool:
        return self._wanted and process is self._process

    async def _end(self, number: signal.Signals) -> int:
        self._send(number)
        assert self._process is not None
        try:
            async with asyncio.timeout(_SERVING_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self._send(signal.SIGKILL)
            return await self._process.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


class Stage:
    """The cluster, its brokers, and the ways for clients to reach them."""

    def __init__(self, root: Path, pki: SamplePki, cluster: KafkaCluster, history: History) -> None:
        self.root = root
        self.pki = pki
        self.cluster = cluster
        self.history = history
        self.brokers = {
            name: self._broker(name, port) for name, port in zip(BROKERS, free_ports(len(BROKERS)), strict=True)
        }
        thread = asyncio.Lock()
        self.targets: dict[str, Target] = {f"node-{n}": NodeTarget(cluster, n, thread) for n in cluster.numbers}
        self.targets |= self.brokers

    @property
    def nodes(self) -> list[str]:
        return [name for name in self.targets if name not in self.brokers]

    @contextlib.asynccontextmanager
    async def channel(self, broker: str, agency: str) -> AsyncIterator[grpc.aio.Channel]:
        """An agency's channel to one of the brokers."""
        certificate, key = self.pki.tls_paths(agency)
        files = TlsFiles(certificate, key, self.pki.folder.trust / "tls-ca.pem")
        settings = ConnectionSettings(self.brokers[broker].address, reconnect_seconds=1.0)
        async with open_channel(settings, files.read()) as channel:
            yield channel

    def audit_profile(self, broker: str | None) -> Path:
        """The auditor's profile, to ask a broker, or (None) to read Kafka without one."""
        address = "localhost:1" if broker is None else self.brokers[broker].address
        tables = {**edge_tables(self.pki, AUDIT_AGENCY, address), "kafka": self._kafka(AUDITOR)}
        return write_toml(self.root / f"audit-{broker or 'kafka'}.toml", tables)

    async def start(self) -> None:
        """Start the brokers."""
        await asyncio.gather(*(broker.start() for broker in self.brokers.values()))

    async def heal(self) -> None:
        """Let everything run again, and wait until no copy of a partition is behind."""
        for broker in self.brokers.values():
            broker.resume()
        await asyncio.to_thread(self.cluster.heal)

    async def stop(self) -> dict[str, int]:
        """Stop the brokers in good order, and return their exit codes."""
        codes = await asyncio.gather(*(broker.stop() for broker in self.brokers.values()))
        return dict(zip(self.brokers, codes, strict=True))

    def _broker(self, name: str, port: int) -> BrokerTarget:
        folder = self.root / f"{name}-log"
        tables = broker_tables(
            self.pki,
            folder,
            server={"address": f"localhost:{port}", "signature_process": False},
            log={"backend": "kafka", "cases_partitions": 1, "dna_partitions": 3, "notices_partitions": 1},
            kafka={**self._kafka(BROKER), "replication": 3, "min_in_sync": 2},
            checkpoints={"interval_seconds": 0.5},
            subscriptions={"max_attempts": 4},
            logging={"level": "info"},
        )
        return BrokerTarget(name, write_toml(self.root / f"{name}.toml", tables), folder, port, self.history)

    def _kafka(self, client: Principal) -> dict[str, Any]:
        certificate, key = self.pki.folder.kafka.client(client)
        return {
            "servers": self.cluster.bootstrap.split(","),
            "certificate": str(certificate),
            "key": str(key),
            "authorities": str(self.pki.folder.kafka.authority),
        }
