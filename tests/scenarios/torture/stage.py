"""The processes of a run: Kafka nodes, brokers and witnesses. They can be killed, paused and started again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import TYPE_CHECKING, Any, Final, Protocol

from broker.client.connection import ConnectionSettings, open_channel
from broker.wire.tls import TlsFiles
from certs.kafka import AUDITOR, BROKER
from deploy.kafka.ports import free_ports
from tests.scenarios.torture.processes import ProcessTarget
from tests.scenarios.torture.witnesses import Witnesses
from tests.support.exchange import broker_tables
from tests.support.process import edge_tables, write_toml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import grpc

    from broker.core.identity import Principal
    from deploy.kafka.cluster import KafkaCluster
    from tests.scenarios.torture.history import History
    from tests.support.pki import SamplePki

BROKERS: Final = ("broker-1", "broker-2")
AUDIT_AGENCY: Final = "national-audit"


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


class BrokerTarget(ProcessTarget):
    """A broker process."""

    def __init__(self, name: str, config: Path, folder: Path, port: int, history: History) -> None:
        super().__init__(name, config, port, history)
        self.folder = folder

    def command(self) -> list[str | Path]:
        return ["serve", "--config", self.config]

    def wipe(self) -> None:
        """Delete its copies: they can be rebuilt."""
        shutil.rmtree(self.folder, ignore_errors=True)


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
        # A timestamp authority that brokers ask belongs beside the witnesses.
        self.witnesses = Witnesses(root, pki, history)
        self.asked: dict[str, ProcessTarget] = self.witnesses.targets
        self.targets |= self.asked

    @property
    def nodes(self) -> list[str]:
        return [name for name in self.targets if name not in self.brokers and name not in self.asked]

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
        """Start the brokers, and as soon as they have made the topics, the witnesses."""
        await asyncio.gather(*(broker.start() for broker in self.brokers.values()))
        await self.witnesses.start(self.cluster.connection(BROKER))

    async def heal(self) -> None:
        """Let everything run again, and wait until no copy of a partition is behind."""
        for process in (*self.brokers.values(), *self.asked.values()):
            process.resume()
        await asyncio.to_thread(self.cluster.heal)

    async def stop(self) -> dict[str, int]:
        """Stop the brokers and whom they ask in good order, and return their exit codes."""
        processes = {**self.brokers, **self.asked}
        codes = await asyncio.gather(*(process.stop() for process in processes.values()))
        await self.witnesses.close()
        return dict(zip(processes, codes, strict=True))

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
            witnesses={"interval_seconds": 0.5, "timeout_seconds": 2.0},
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
