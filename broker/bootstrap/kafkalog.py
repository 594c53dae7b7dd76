"""The message log on Kafka, with its checkpoints. Imported only if Kafka is used, because its client is an extra."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from broker.bootstrap.opened import OpenedLog, partitions, reporter
from broker.core.errors import CaseExchangeError
from broker.core.incarnations import Incarnations
from broker.core.streams import every_partition
from broker.files import FileState
from broker.messagelog.kafka.board import KafkaBoard
from broker.messagelog.kafka.connection import KafkaConnection, KafkaTls
from broker.messagelog.kafka.log import KafkaLog
from broker.messagelog.kafka.owner import TopicsOwner
from broker.messagelog.kafka.packs import PACK_BYTES
from broker.messagelog.kafka.topicsettings import KafkaSettings, TopicSettings
from broker.messagelog.sqlite import SqliteCheckpointStore
from broker.services.erasureorders import ErasureOrders
from broker.services.incarnations import settle_trees
from broker.trust.logkeys import DirectoryLogKeys
from broker.trust.renewal import Laid
from broker.trust.system import SystemEntropy
from broker.trust.tls import check_tls_files, ready_tls
from broker.wire.codec import ProtobufCodec
from broker.wire.tls import TlsFiles

if TYPE_CHECKING:
    import contextlib

    from broker.bootstrap.trust import BrokerTrust
    from broker.config.broker import BrokerConfig
    from broker.config.kafka import KafkaConfig
    from broker.ports import Clock
    from broker.trust.signing import Ed25519NoteSigner

_log = structlog.get_logger("broker")
_HEADROOM_BYTES: Final = 256 << 10
"""Room for a pack's header, seal and framing besides the largest record, and for an audit record."""


async def open_kafka(
    config: BrokerConfig,
    trust: BrokerTrust,
    clock: Clock,
    signer: Ed25519NoteSigner,
    stack: contextlib.AsyncExitStack,
) -> OpenedLog:
    """Open the log on Kafka. The stack closes it.

    Raises:
        ConfigInvalid: a setting of [kafka] is missing.
        SetupInvalid: a file cannot be used.
        LogError, LogUnavailable
    """
    connection = kafka_connection(config.kafka, clock)
    topics = topic_settings(config.kafka, partitions(config), config.records.record_bytes)
    keys = DirectoryLogKeys(lambda: trust.directory.latest)
    folder = config.log.folder

    def declared() -> Incarnations:
        return Incarnations(trust.directory.latest.incarnations)

    trust_domain, codec = trust.directory.current().trust_domain, ProtobufCodec()
    owner = TopicsOwner(
        connection,
        list(every_partition(topics.partitions.__getitem__)),
        trust_domain=trust_domain,
        keys=keys,
        codec=codec,
        claim=trust.claims.read,
    )
    await owner.check()
    log = await KafkaLog.open(
        KafkaSettings(connection, topics, config.log.tail_bytes),
        folder / "kafka-index.db",
        signer=signer,
        keys=keys,
        declared=declared(),
        codec=codec,
        clock=clock,
        entropy=SystemEntropy(),
        report=reporter("message log"),
    )
    stack.push_async_callback(log.close)
    store = SqliteCheckpointStore(folder / "kafka-checkpoints.db")
    stack.push_async_callback(store.close)
    directory = trust.directory.latest
    await settle_trees(
        log,
        store,
        declared(),
        continued=(),
        trust_domain=directory.trust_domain,
        signer=signer,
        now_ms=clock.now_ms,
    )
    board = KafkaBoard(
        log.groups,
        log.all_partitions,
        trust_domain=trust_domain,
        keys=keys,
        declared=declared,
        report=reporter("checkpoint board"),
    )
    stack.push_async_callback(board.close)
    await board.open()
    for partition in log.all_partitions:
        head = await store.head(partition)
        board.check(partition, 0 if head is None else head.size)
    watching = asyncio.create_task(_watch_tls(config.kafka, connection, clock, config.trust.reload_seconds))
    stack.callback(watching.cancel)

    async def begun() -> None:
        # Another exchange may have begun on the same empty topics at the same time. Only the first may go on.
        await owner.check()
        board.follow()

    lag = config.checkpoints.evidence_bound_seconds
    return OpenedLog(log, store, board, signer, ErasureOrders(), repair=log.repair, lag_seconds=lag, begun=begun)


def kafka_connection(config: KafkaConfig, clock: Clock) -> KafkaConnection:
    """How to reach the cluster that a configuration names.

    Raises:
        ConfigInvalid: it names none.
        CertificateInvalid, KeyInvalid: a TLS file cannot be used.
    """
    config.check()
    ready_tls(TlsFiles(config.certificate, config.key, config.authorities), clock)
    tls = KafkaTls(config.certificate, config.key, config.authorities)
    return KafkaConnection(config.servers, tls, config.prefix, config.timeout_seconds)


async def _watch_tls(config: KafkaConfig, connection: KafkaConnection, clock: Clock, seconds: float) -> None:
    """Use renewed TLS files, so that a broker can run longer than its certificate. Never returns."""
    files = (config.certificate, config.key, config.authorities)
    laid = Laid(config.certificate, config.key, clock)
    seen = [FileState.of(path) for path in files]
    while True:
        await asyncio.sleep(seconds)
        try:
            laid.take_up_tls(config.authorities)
            state = [FileState.of(path) for path in files]
            if state != seen and connection.tls is not None:
                # Certificate and key are replaced one after the other. Until they match, this is tried again.
                check_tls_files(config.certificate, config.key, clock.now_ms())
                connection.tls.reload()
                seen = state
        except (OSError, CaseExchangeError) as error:
            reason = error.reason if isinstance(error, CaseExchangeError) else type(error).__name__
            _log.error("a renewed TLS file for Kafka cannot be used", reason=reason)


def topic_settings(config: KafkaConfig, partitions: dict[str, int], record_bytes: int) -> TopicSettings:
    """What the topics must be."""
    return TopicSettings(
        partitions=partitions,
        replication=config.replication,
        min_in_sync=config.min_in_sync,
        retention_days=config.retention_days,
        value_bytes=max(record_bytes, PACK_BYTES) + _HEADROOM_BYTES,
    )
