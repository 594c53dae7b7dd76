"""The configuration of a broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - the loader reads the annotations at run time
from typing import Annotated

from broker.config.kafka import KafkaConfig
from broker.config.loader import LoggingConfig, Setting


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """[server]: where the broker listens, and the transport's bounds."""

    address: Annotated[str, Setting("host and port to listen on; port 0 lets the system choose")] = "localhost:7443"
    signature_process: Annotated[bool, Setting("whether a process of its own checks signatures")] = True
    drain_seconds: Annotated[float, Setting("how long calls may go on after SIGTERM", least=0, most=3600)] = 10.0
    message_bytes: Annotated[int, Setting("largest message taken from a peer", least=1 << 20, most=256 << 20)] = (
        16 << 20
    )
    metadata_bytes: Annotated[int, Setting("headers of a call", least=4 << 10, most=1 << 20)] = 16 << 10
    streams_per_connection: Annotated[int, Setting("concurrent calls on one connection", least=1, most=100_000)] = 200
    concurrent_calls: Annotated[int, Setting("concurrent calls over all connections", least=1, most=100_000)] = 4000
    connection_age_seconds: Annotated[float, Setting("a connection is asked to come again after this", least=10)] = (
        3600.0
    )
    connection_age_grace_seconds: Annotated[float, Setting("for calls under way on such a connection", least=1)] = 60.0
    keepalive_seconds: Annotated[float, Setting("silence after which a peer is probed", least=1)] = 60.0
    keepalive_timeout_seconds: Annotated[float, Setting("for a probe's answer", least=1)] = 20.0
    min_ping_seconds: Annotated[float, Setting("a peer that probes more often is cut off", least=1)] = 10.0
    handshake_seconds: Annotated[float, Setting("for the TLS handshake", least=1, most=120)] = 10.0


@dataclass(frozen=True, kw_only=True)
class TlsConfig:
    """[tls]: the broker's side of mutual TLS (PEM files)."""

    certificate: Annotated[Path, Setting("our TLS certificate, with its chain")]
    key: Annotated[Path, Setting("its private key, mode 0600")]
    authorities: Annotated[Path, Setting("authorities whose client certificates are accepted")]


@dataclass(frozen=True, kw_only=True)
class SigningConfig:
    """[signing]: the keys with which the broker signs receipts, audit records and checkpoints."""

    certificate: Annotated[Path, Setting("the exchange's signing certificate, as the directory lists it")]
    key: Annotated[Path, Setting("its private key, mode 0600")]
    checkpoint_key: Annotated[Path, Setting("Ed25519 private key for checkpoints, mode 0600")]
    checkpoint_key_name: Annotated[str, Setting("its name, as in the directory's log keys")]


@dataclass(frozen=True, kw_only=True)
class TrustConfig:
    """[trust]: what governance publishes. Read again when the files change."""

    governance_key: Annotated[Path, Setting("public key that signs directories: pinned")]
    directory: Annotated[Path, Setting("the signed directory")]
    signing_revocations: Annotated[Path, Setting("revocation list of the signing authority")]
    tls_revocations: Annotated[Path, Setting("revocation list of the TLS authority")]
    revocation_grace_seconds: Annotated[float, Setting("how long after its next update a list is used", least=0)] = (
        3600.0
    )
    reload_seconds: Annotated[
        float, Setting("how often these files and the TLS files are looked at", least=0.1, most=3600)
    ] = 2.0


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """[log]: the message log, embedded or on Kafka."""

    backend: Annotated[str, Setting("embedded: SQLite files of this one process; kafka: the cluster of [kafka]")] = (
        "embedded"
    )
    folder: Annotated[
        Path,
        Setting("folder of the log and its checkpoints, made if it is not there; with Kafka only copies are in it"),
    ]
    cases_partitions: Annotated[
        int, Setting("partitions of the stream cases; an embedded log keeps those it was made with", least=1, most=256)
    ] = 4
    dna_partitions: Annotated[int, Setting("of the stream dna, likewise", least=1, most=256)] = 4
    notices_partitions: Annotated[int, Setting("of the stream notices, likewise", least=1, most=256)] = 1
    tail_bytes: Annotated[int, Setting("newest records kept in memory", least=1 << 20)] = 32 << 20


@dataclass(frozen=True, kw_only=True)
class RecordsConfig:
    """[records]: what is accepted."""

    record_bytes: Annotated[int, Setting("largest record", least=1 << 10, most=64 << 20)] = 4 << 20
    clock_skew_seconds: Annotated[float, Setting("how far a publisher's clock may be ahead", least=0, most=3600)] = (
        120.0
    )


@dataclass(frozen=True, kw_only=True)
class CheckpointsConfig:
    """[checkpoints]: evidence or stop."""

    interval_seconds: Annotated[
        float, Setting("between two checkpoints of a partition that grows", least=0.05, most=60)
    ] = 1.0
    evidence_bound_seconds: Annotated[
        float, Setting("publishing stops when records wait longer than this for a checkpoint", least=1)
    ] = 30.0


@dataclass(frozen=True, kw_only=True)
class SubscriptionsConfig:
    """[subscriptions]: leases and flow control."""

    lease_seconds: Annotated[float, Setting("of a delivery, where the subscriber asks for none", least=1, most=600)] = (
        30.0
    )
    max_lease_seconds: Annotated[float, Setting("longest lease, with every extension", least=1, most=86_400)] = 600.0
    max_attempts: Annotated[int, Setting("failed deliveries that make a dead letter", least=1, most=127)] = 10
    max_outstanding_records: Annotated[int, Setting("of one stream", least=1, most=100_000)] = 1000
    max_outstanding_bytes: Annotated[int, Setting("of one stream", least=1 << 10)] = 32 << 20
    window_records: Annotated[int, Setting("read and not finished, of one subscription", least=1, most=100_000)] = 2000
    window_bytes: Annotated[int, Setting("read and not finished, of one subscription", least=1 << 10)] = 8 << 20
    max_open: Annotated[int, Setting("subscriptions open at once in this process", least=1, most=100_000)] = 2000


@dataclass(frozen=True, kw_only=True)
class BrokerConfig:
    """A broker's whole configuration."""

    tls: TlsConfig
    signing: SigningConfig
    trust: TrustConfig
    log: LogConfig
    server: ServerConfig = field(default_factory=ServerConfig)
    records: RecordsConfig = field(default_factory=RecordsConfig)
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)
    subscriptions: SubscriptionsConfig = field(default_factory=SubscriptionsConfig)
    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
