"""Real brokers on a real Kafka, with their own topics, and an auditor who reads these without a broker."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from certs.kafka import AUDITOR, BROKER
from deploy.kafka.cluster import PREFIX
from tests.support.exchange import broker_tables, running_exchange
from tests.support.process import COMMAND, edge_tables, write_toml

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from broker.core.identity import Principal
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PARTITIONS = {"cases_partitions": 1, "dna_partitions": 2, "notices_partitions": 1}


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    output: str
    errors: str

    def lines(self) -> list[str]:
        """The lines that it printed for its caller. The broker's own log lines are JSON."""
        return [line for line in self.errors.splitlines() if not line.startswith("{")]


class OnKafka:
    """An exchange's topics on a cluster. A test starts brokers on them, and audits them."""

    def __init__(self, cluster: KafkaCluster, keys: PkiFolder, pki: SamplePki, root: Path) -> None:
        self.cluster = cluster
        self.partitions = {"cases": 1, "dna": 2, "notices": 1, "audit": 1}
        self.prefix = f"{PREFIX}.{uuid.uuid4().hex[:12]}"
        self._keys = keys
        self._pki = pki
        self._root = root

    def sections(self, *, client: Principal = BROKER, timeout: float = 10.0, **kafka: Any) -> dict[str, dict[str, Any]]:
        """The log sections of a broker's configuration."""
        return {"log": {"backend": "kafka", **PARTITIONS}, "kafka": {**self._table(client, timeout), **kafka}}

    def folder(self, name: str = "one") -> Path:
        return self._root / name

    def broker(self, name: str = "one", **sections: dict[str, Any]) -> AbstractAsyncContextManager[Exchange]:
        """A broker with its own folder, in this process."""
        return running_exchange(self._pki, self.folder(name), **{**self.sections(), **sections})

    async def serve(self, name: str, **sections: dict[str, Any]) -> Ended:
        """Run ``case-exchange serve`` on that folder, until it ends by itself."""
        tables = broker_tables(self._pki, self.folder(name), **{**self.sections(), **sections})
        path = write_toml(self._root / f"{uuid.uuid4().hex}.toml", tables)
        return await run("serve", "--config", path)

    async def audited(self) -> list[tuple[str, str]]:
        """The errors that an auditor finds without a broker: codes and positions, in order, by the real commands."""
        findings = (await self.verified())["findings"]
        return [(item["code"], item["position"]) for item in findings if item["severity"] == "error"]

    async def verified(self) -> dict[str, Any]:
        """What ``case-exchange verify`` says of the log, which an auditor has read without a broker."""
        tables = edge_tables(self._pki, "national-audit", "localhost:1") | {"kafka": self._table(AUDITOR, 10.0)}
        bundle = self._root / f"{uuid.uuid4().hex}.bundle"
        profile = write_toml(bundle.with_suffix(".toml"), tables)
        replay = await run("replay", "--from-kafka", "--profile", profile, "--purpose", "a test", "--out", bundle)
        assert replay.code == 0, replay
        root = self._pki.folder.trust / "governance.pem"
        verify = await run("verify", bundle, "--root", root, "--json")
        facts: dict[str, Any] = json.loads(verify.output)
        errors = [finding for finding in facts["findings"] if finding["severity"] == "error"]
        assert verify.code == (1 if errors else 0), verify
        assert facts["source"] == "message_log"
        return facts

    def _table(self, client: Principal, timeout: float) -> dict[str, Any]:
        certificate, key = self._keys.kafka.client(client)
        return {
            "servers": self.cluster.bootstrap.split(","),
            "certificate": str(certificate),
            "key": str(key),
            "authorities": str(self._keys.kafka.authority),
            "prefix": self.prefix,
            "timeout_seconds": timeout,
            "replication": 1,
            "min_in_sync": 1,
        }


async def run(*arguments: Any) -> Ended:
    """Run a command of this project to its end."""

    def to_its_end() -> Ended:
        command: list[str | Path] = [COMMAND, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return Ended(done.returncode, done.stdout, done.stderr)

    return await asyncio.to_thread(to_its_end)


async def health_becomes(exchange: Exchange, status: int, within: float = 60) -> None:
    """Return when the broker's health has this value."""
    await health_on(await exchange.channel("shanxi-police"), status, within)


async def health_on(channel: grpc.aio.Channel, status: int, within: float = 60) -> None:
    """The same, over a channel."""
    stub = health_pb2_grpc.HealthStub(channel)
    # On a busy machine, to connect may take longer than the client's first time limit.
    call = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
    try:
        async with asyncio.timeout(within):
            async for answer in call:
                if answer.status == status:
                    return
    finally:
        call.cancel()
    raise AssertionError(grpc.StatusCode.UNKNOWN)
