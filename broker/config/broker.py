"""The configuration of a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from broker.config.kafka import KafkaConfig
from broker.config.loader import LoggingConfig, Section, setting
from broker.core.streams import MAX_PARTITIONS


class ServerConfig(Section, frozen=True, kw_only=True):
    """[server]: where the broker listens, and the transport's bounds."""

    address: Annotated[str, setting("host and port to listen on; port 0 lets the system choose")] = "localhost:7443"
    signature_process: Annotated[bool, setting("whether a process of its own checks signatures")] = True
    drain_seconds: Annotated[float, setting("how long calls may go on after SIGTERM", least=0, most=3600)] = 10.0
    message_bytes: Annotated[int, setting("largest message taken from a peer", least=1 << 20, most=256 << 20)] = (
        16 << 20
    )
    metadata_bytes: Annotated[int, setting("largest headers of a call", least=4 << 10, most=1 << 20)] = 16 << 10
    connections: Annotated[
        int, setting("connections at once, also before their TLS handshake is done", least=1, most=1_000_000)
    ] = 2000
    streams_per_connection: Annotated[int, setting("calls at once on one connection", least=1, most=100_000)] = 200
    concurrent_calls: Annotated[int, setting("calls at once on all connections", least=1, most=100_000)] = 8000
    connection_idle_seconds: Annotated[float, setting("a connection without a call for so long is closed", least=1)] = (
        300.0
    )
    connection_age_seconds: Annotated[
        float, setting("after this a peer must connect again; also for tiles", least=10)
    ] = 3600.0
    connection_age_grace_seconds: Annotated[float, setting("how long calls may then go on", least=1)] = 60.0
    keepalive_seconds: Annotated[float, setting("silence after which a peer is probed", least=1)] = 60.0
    keepalive_timeout_seconds: Annotated[float, setting("how long a probe's answer may take", least=1)] = 20.0
    min_ping_seconds: Annotated[float, setting("a peer that probes more often is cut off", least=1)] = 10.0
    handshake_seconds: Annotated[float, setting("how long a TLS handshake may take", least=1, most=120)] = 10.0


class TlsConfig(Section, frozen=True, kw_only=True):
    """[tls]: the broker's side of mutual TLS (PEM files)."""

    certificate: Annotated[Path, setting("our TLS certificate, with its chain")]
    key: Annotated[Path, setting("its private key, mode 0600")]
    authorities: Annotated[Path, setting("authorities whose client certificates are accepted")]


class SigningConfig(Section, frozen=True, kw_only=True):
    """[signing]: the keys with which the broker signs receipts, audit records and checkpoints."""

    certificate: Annotated[Path, setting("the exchange's signing certificate, as the directory lists it")]
    key: Annotated[Path, setting("its private key, mode 0600; it may name a key in a token")]
    checkpoint_key: Annotated[
        Path, setting("Ed25519 private key for checkpoints, mode 0600; it may name a key in a token")
    ]
    checkpoint_key_name: Annotated[str, setting("its name, as in the directory's log keys")]


class TrustConfig(Section, frozen=True, kw_only=True):
    """[trust]: what governance publishes. Read again when the files change."""

    governance_key: Annotated[Path, setting("public key that signs directories, or several: pinned")]
    directory: Annotated[Path, setting("the signed directory")]
    signing_revocations: Annotated[Path, setting("revocation list of the signing authority")]
    tls_revocations: Annotated[Path, setting("revocation list of the TLS authority")]
    revocation_grace_seconds: Annotated[float, setting("how long after its next update a list is used", least=0)] = (
        3600.0
    )
    reload_seconds: Annotated[
        float, setting("how often these files and the TLS files are looked at", least=0.1, most=3600)
    ] = 2.0


class LogConfig(Section, frozen=True, kw_only=True):
    """[log]: the message log, embedded or on Kafka."""

    backend: Annotated[
        Literal["embedded", "kafka"],
        setting("embedded: SQLite files of this one process; kafka: the cluster of [kafka]"),
    ] = "embedded"
    folder: Annotated[
        Path,
        setting("the log and its checkpoints, with Kafka only copies; made if it does not exist"),
    ]
    cases_partitions: Annotated[
        int, setting("partitions of the stream cases; fixed when an embedded log is made", least=1, most=MAX_PARTITIONS)
    ] = 4
    dna_partitions: Annotated[int, setting("partitions of the stream dna, likewise", least=1, most=MAX_PARTITIONS)] = 4
    notices_partitions: Annotated[
        int, setting("partitions of the stream notices, likewise", least=1, most=MAX_PARTITIONS)
    ] = 1
    tail_bytes: Annotated[int, setting("newest records kept in memory", least=1 << 20)] = 32 << 20
    disk_reserve_bytes: Annotated[
        int,
        setting("embedded log: free disk that records must leave to the audit stream; 0 keeps none", least=0),
    ] = 64 << 20


class ScrubConfig(Section, frozen=True, kw_only=True):
    """[scrub]: the log is read again and compared with its tree, its records and its index."""

    bytes_per_second: Annotated[float, setting("read in the background", least=1 << 10)] = float(256 << 10)
    new_bytes_per_second: Annotated[float, setting("read at the start, of what was never compared", least=1 << 10)] = (
        float(4 << 20)
    )
    hours: Annotated[float, setting("everything is read once in this time, or at the rate", least=0.0001)] = 24.0


class RecordsConfig(Section, frozen=True, kw_only=True):
    """[records]: what is accepted."""

    record_bytes: Annotated[int, setting("largest record", least=1 << 10, most=64 << 20)] = 4 << 20
    clock_skew_seconds: Annotated[float, setting("how far a publisher's clock may be ahead", least=0, most=3600)] = (
        120.0
    )


class CheckpointsConfig(Section, frozen=True, kw_only=True):
    """[checkpoints]: evidence or stop."""

    interval_seconds: Annotated[
        float, setting("time between two checkpoints of a partition that grows", least=0.05, most=60)
    ] = 1.0
    evidence_bound_seconds: Annotated[
        float, setting("publishing stops when records wait longer than this for a checkpoint", least=1, most=600)
    ] = 30.0


class WitnessesConfig(Section, frozen=True, kw_only=True):
    """[witnesses]: how the witnesses are asked that the directory names (docs/directory.md)."""

    authorities: Annotated[
        Path, setting("authorities whose certificates of witnesses are accepted; none: those of `tls.authorities`")
    ] = Path()
    interval_seconds: Annotated[float, setting("time between two rounds", least=0.05, most=3600)] = 10.0
    timeout_seconds: Annotated[
        float, setting("how long one round may take; what was answered by then counts", least=0.1, most=300)
    ] = 5.0
    bound_seconds: Annotated[
        float, setting("a warning when the newest checkpoints wait longer than this for enough cosignatures", least=1)
    ] = 600.0
    stop_publishing: Annotated[
        bool, setting("whether publishing then stops too: whoever can stop the witnesses can then stop the exchange")
    ] = False


class TilesConfig(Section, frozen=True, kw_only=True):
    """[tiles]: checkpoints and tiles of the log for members, over HTTPS (docs/tiles.md)."""

    address: Annotated[
        str, setting("host and port to listen on, with the certificate of [tls]; none: tiles are not served")
    ] = ""
    connections: Annotated[int, setting("connections at once", least=1, most=100_000)] = 200
    connections_per_agency: Annotated[int, setting("of them of one agency", least=1, most=100_000)] = 16
    requests_per_second: Annotated[
        float,
        setting("of one agency; above it, its requests wait. An entry bundle counts as 10", least=1, most=1_000_000),
    ] = 50.0
    request_seconds: Annotated[
        float, setting("how long a request may take to arrive, and an answer may wait to be read", least=0.1, most=300)
    ] = 10.0
    idle_seconds: Annotated[float, setting("how long a connection stays without a request", least=1, most=3600)] = 60.0


class TimestampsConfig(Section, frozen=True, kw_only=True):
    """[timestamps]: who is asked to stamp checkpoints (RFC 3161). The directory names whose timestamps count."""

    urls: Annotated[
        tuple[str, ...],
        setting("addresses of timestamp authorities, asked in this order until one answers; none: no timestamps"),
    ] = ()
    authorities: Annotated[
        Path, setting("TLS authorities, for addresses with https; none: those of `tls.authorities`")
    ] = Path()
    interval_seconds: Annotated[float, setting("time between two rounds", least=0.05, most=86_400)] = 3600.0
    timeout_seconds: Annotated[float, setting("how long one answer may take", least=0.1, most=300)] = 10.0


class SubscriptionsConfig(Section, frozen=True, kw_only=True):
    """[subscriptions]: leases and flow control."""

    lease_seconds: Annotated[
        float, setting("lease of a delivery, if the subscriber asks for none", least=1, most=600)
    ] = 30.0
    max_lease_seconds: Annotated[float, setting("longest lease, with every extension", least=1, most=86_400)] = 600.0
    max_attempts: Annotated[
        int,
        setting(
            "failed attempts after which a record is a dead letter: nacks, and leases lost while it was alone",
            least=1,
            most=127,
        ),
    ] = 10
    transient_alarm_hours: Annotated[
        float,
        setting(
            "a record that was accepted this long ago and is still given back as transient is an error in the log",
            least=0.01,
        ),
    ] = 4.0
    max_outstanding_records: Annotated[int, setting("unacknowledged, of one stream", least=1, most=100_000)] = 1000
    max_outstanding_bytes: Annotated[int, setting("unacknowledged, of one stream", least=1 << 10)] = 32 << 20
    window_records: Annotated[int, setting("read and not finished, of one subscription", least=1, most=100_000)] = 2000
    window_bytes: Annotated[int, setting("read and not finished, of one subscription", least=1 << 10)] = 8 << 20
    max_open: Annotated[int, setting("subscriptions open at once in this process", least=1, most=100_000)] = 2000


class QuotasConfig(Section, frozen=True, kw_only=True):
    """[quotas]: how much of this process one agency may use. They hold for each process of the exchange.

    The directory can give an agency others (docs/directory.md).
    """

    calls: Annotated[int, setting("calls at once of one agency; a stream is a call", least=1, most=100_000)] = 500
    connections: Annotated[
        int, setting("connections of one agency that have calls at once", least=1, most=1_000_000)
    ] = 500
    subscriptions: Annotated[int, setting("open at once, of one agency", least=1, most=100_000)] = 250
    durable_subscriptions: Annotated[
        int,
        setting(
            "not deleted, of one agency in the whole exchange; each process checks, so several may exceed it together",
            least=1,
            most=1_000_000,
        ),
    ] = 2000
    publishing_bytes: Annotated[int, setting("envelopes that are not answered yet, of one agency", least=1 << 20)] = (
        64 << 20
    )
    undelivered_bytes: Annotated[
        int, setting("content read for subscriptions of one agency and not acknowledged", least=1 << 20)
    ] = 256 << 20
    records_per_second: Annotated[float, setting("published, of one agency; 0 is no limit", least=0)] = 0.0
    bytes_per_second: Annotated[float, setting("envelopes published, of one agency; 0 is no limit", least=0)] = 0.0
    refusals_per_second: Annotated[
        float,
        setting(
            "refused calls of one agency at one service; 10 refused records of a batch, and 100000 bytes of what is "
            "refused, count as one more; above it, its next messages wait up to 30 seconds; 0 is no limit",
            least=0,
        ),
    ] = 5.0


class BrokerConfig(Section, frozen=True, kw_only=True):
    """A broker's whole configuration."""

    tls: TlsConfig
    signing: SigningConfig
    trust: TrustConfig
    log: LogConfig
    server: ServerConfig = ServerConfig()
    records: RecordsConfig = RecordsConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    witnesses: WitnessesConfig = WitnessesConfig()
    tiles: TilesConfig = TilesConfig()
    timestamps: TimestampsConfig = TimestampsConfig()
    subscriptions: SubscriptionsConfig = SubscriptionsConfig()
    quotas: QuotasConfig = QuotasConfig()
    scrub: ScrubConfig = ScrubConfig()
    kafka: KafkaConfig = KafkaConfig()
    logging: LoggingConfig = LoggingConfig()
