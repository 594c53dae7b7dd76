"""Where the demo's log is kept: in SQLite files of one broker, or on a Kafka node with two brokers."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from world import AUDIT

from certs.folder import PkiFolder
from certs.kafka import AUDITOR, BROKER
from deploy.kafka.cluster import KafkaCluster
from deploy.kafka.segments import rewrite

if TYPE_CHECKING:
    from pathlib import Path

    from world import World


class Tampered(NamedTuple):
    """A bundle of a log in which one record was changed, and the position of this record."""

    bundle: Path
    position: str


class Stage(Protocol):
    """The differences between the logs."""

    brokers: tuple[str, ...]

    def open(self, world: World) -> None: ...

    def log_tables(self, world: World, broker: str) -> dict[str, Any]: ...

    def keep_copy(self, world: World) -> None: ...

    def tamper(self, world: World) -> Tampered: ...

    def serve_copy(self, world: World) -> str: ...

    def close(self) -> None: ...


def flipped(value: bytes) -> bytes:
    """An envelope with one bit changed: in the last byte of the signature, right before the first section."""
    at = value.index(b"closure", value.index(b"ecdsa-p256-sha256") + 40) - 8
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


def _in_cases(key: int) -> str:
    """The position of a row key: the partitions of ``cases`` have the first numbers."""
    return f"cases/{key >> 40}/{key & ((1 << 40) - 1)}"


class EmbeddedStage:
    """One broker and its files."""

    brokers = ("broker",)

    def open(self, world: World) -> None:
        """Nothing has to run besides the broker."""

    def log_tables(self, world: World, broker: str) -> dict[str, Any]:
        return {"log": {"folder": str(world.root / f"{broker}-log")}}

    def keep_copy(self, world: World) -> None:
        """Copy the log as it is now."""
        with world.frozen("broker"):
            shutil.copytree(world.root / "broker-log", world.root / "earlier-broker-log")

    def serve_copy(self, world: World) -> str:
        """Serve the copy. Returns the address of its broker, ``earlier-broker``."""
        return world.start_broker("earlier-broker", self.log_tables(world, "earlier-broker"))

    def tamper(self, world: World) -> Tampered:
        copy = world.root / "tampered-broker-log"
        shutil.copytree(world.root / "broker-log", copy)
        with sqlite3.connect(copy / "log.db") as log:
            query = "SELECT position, value FROM entries WHERE kind = 'Closure'"
            position, value = log.execute(query).fetchone()
            log.execute("UPDATE entries SET value = ? WHERE position = ?", (flipped(value), position))
        address = world.start_broker("tampered-broker", self.log_tables(world, "tampered-broker"))
        bundle = world.root / "tampered.bundle"
        profile = world.edge_profile(AUDIT, address)
        world.run("replay", "--profile", profile, "--purpose", "demo audit of the copy", "--out", bundle)
        world.stop("tampered-broker")
        return Tampered(bundle, _in_cases(position))

    def close(self) -> None:
        """Nothing is left running."""


class KafkaStage:
    """One Kafka node with mutual TLS and access rules, and two brokers that share its log."""

    brokers = ("broker", "second-broker")

    def __init__(self) -> None:
        self._cluster: KafkaCluster | None = None

    def open(self, world: World) -> None:
        self._cluster = KafkaCluster(world.root / "kafka", PkiFolder(world.pki).kafka)
        self._cluster.start()
        self._cluster.wait_ready()
        self._cluster.apply_access()

    def log_tables(self, world: World, broker: str) -> dict[str, Any]:
        certificate, key = PkiFolder(world.pki).kafka.client(BROKER)
        return {
            "log": {"backend": "kafka", "folder": str(world.root / f"{broker}-log")},
            "kafka": {**self._table(world, certificate, key), "replication": 1, "min_in_sync": 1},
        }

    def keep_copy(self, world: World) -> None:
        """Copy the node's topics and the first broker's folder as they are now."""
        cluster = self._running()
        with world.frozen(*self.brokers):
            cluster.pause(1)
            try:
                # Not shutil: most of Kafka's files are empty space.
                copy = ["cp", "-r", "--sparse=always", world.root / "kafka", world.root / "earlier-kafka"]
                subprocess.run(copy, check=True)
                shutil.copytree(world.root / "broker-log", world.root / "earlier-broker-log")
            finally:
                cluster.resume(1)

    def serve_copy(self, world: World) -> str:
        """Run the node on the copy, and serve it. Returns the address of its broker, ``earlier-broker``."""
        self._running().stop()
        self._cluster = KafkaCluster(world.root / "earlier-kafka", PkiFolder(world.pki).kafka)
        self._cluster.start()
        self._cluster.wait_ready()
        return world.start_broker("earlier-broker", self.log_tables(world, "earlier-broker"))

    def tamper(self, world: World) -> Tampered:
        cluster = self._running()
        with sqlite3.connect(world.root / "broker-log" / "kafka-index.db") as index:
            (position,) = index.execute("SELECT position FROM entries WHERE kind = 'Closure'").fetchone()
        cluster.stop()
        partition = cluster.data(1) / f"case-exchange.cases-{position >> 40}"
        value = next(path.read_bytes() for path in sorted(partition.glob("*.log")) if b"Closure" in path.read_bytes())
        begin = value.index(b"ecdsa-p256-sha256", value.index(b"Closure")) + 40
        old = value[begin : value.index(b"closure", begin)]
        rewrite(partition, old, old[:-8] + bytes([old[-8] ^ 1]) + old[-7:])
        cluster.start()
        cluster.wait_ready()
        certificate, key = PkiFolder(world.pki).kafka.client(AUDITOR)
        kafka = {"kafka": self._table(world, certificate, key)}
        profile = world.edge_profile(AUDIT, "localhost:1", "kafka", kafka)
        bundle = world.root / "tampered.bundle"
        world.run(
            "replay", "--from-kafka", "--profile", profile, "--purpose", "demo audit of the topics", "--out", bundle
        )
        return Tampered(bundle, _in_cases(position))

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.stop()

    def _table(self, world: World, certificate: Path, key: Path) -> dict[str, Any]:
        return {
            "servers": self._running().bootstrap.split(","),
            "certificate": str(certificate),
            "key": str(key),
            "authorities": str(PkiFolder(world.pki).kafka.authority),
        }

    def _running(self) -> KafkaCluster:
        if self._cluster is None:
            message = "the demo's Kafka was not started"
            raise RuntimeError(message)
        return self._cluster
