"""The message log that the configuration names, with its checkpoints: the one place that knows both backends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from broker.core.errors import CaseExchangeError, ConfigInvalid, LogError
from broker.core.streams import AUDIT, CASES, DNA, NOTICES
from broker.files import FileState
from broker.messagelog.kafka.board import KafkaBoard
from broker.messagelog.kafka.connection import KafkaConnection, KafkaTls
from broker.messagelog.kafka.log import KafkaLog, KafkaSettings
from broker.messagelog.kafka.topics import TopicSettings
from broker.messagelog.sqlite import SoleFollower, SqliteCheckpointStore, SqliteLog
from broker.trust.logkeys import DirectoryLogKeys
from broker.trust.signing import Ed25519NoteSigner
from broker.trust.system import SystemEntropy
from broker.trust.tls import check_tls_files

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from broker.bootstrap.trust import BrokerTrust
    from broker.config.broker import BrokerConfig
    from broker.config.kafka import KafkaConfig
    from broker.ports import CheckpointBoard, CheckpointStore, Clock, MessageLog, NoteSigner

_log = structlog.get_logger("broker")
EMBEDDED: Final = "embedded"
KAFKA: Final = "kafka"
_HEADROOM_BYTES: Final = 256 << 10
"""Of headers and framing beside the largest record, and of an audit record's own size."""


class OpenedLog(NamedTuple):
    """A log and what belongs to it."""

    log: MessageLog
    store: CheckpointStore
    board: CheckpointBoard
    signer: NoteSigner


async def open_log(
    config: BrokerConfig, trust: BrokerTrust, clock: Clock, stack: contextlib.AsyncExitStack
) -> OpenedLog:
    """Open what ``log.backend`` names; the stack closes it.

    Raises:
        ConfigInvalid: there is no such backend, or [kafka] lacks something.
        SetupInvalid: a file cannot be used.
        LogError, LogUnavailable, LogFull
    """
    signer = Ed25519NoteSigner.load(config.signing.checkpoint_key_name, config.signing.checkpoint_key)
    if config.log.backend == KAFKA:
        return await _open_kafka(config, trust, clock, signer, stack)
    if config.log.backend != EMBEDDED:
        message = f"log.backend must be {EMBEDDED} or {KAFKA}"
        raise ConfigInvalid(message)
    folder = config.log.folder
    log = await SqliteLog.open(
        folder / "log.db", clock, partitions=_partitions(config), tail_bytes=config.log.tail_bytes
    )
    stack.push_async_callback(log.close)
    store = SqliteCheckpointStore(folder / "checkpoints.db")
    stack.push_async_callback(store.close)
    return OpenedLog(log, store, SoleFollower(), signer)


async def _open_kafka(
    config: BrokerConfig,
    trust: BrokerTrust,
    clock: Clock,
    signer: Ed25519NoteSigner,
    stack: contextlib.AsyncExitStack,
) -> OpenedLog:
    connection = kafka_connection(config.kafka, clock)
    topics = topic_settings(config.kafka, _partitions(config), config.records.record_bytes)
    keys = DirectoryLogKeys(lambda: trust.directory.latest)
    folder = config.log.folder
    log = await KafkaLog.open(
        KafkaSettings(connection, topics, config.log.tail_bytes),
        folder / "kafka-index.db",
        signer=signer,
        keys=keys,
        clock=clock,
        entropy=SystemEntropy(),
        report=reporter("message log"),
    )
    stack.push_async_callback(log.close)
    store = SqliteCheckpointStore(folder / "kafka-checkpoints.db")
    stack.push_async_callback(store.close)
    board = KafkaBoard(
        connection,
        log.all_partitions,
        trust_domain=trust.directory.current().trust_domain,
        keys=keys,
        report=reporter("checkpoint board"),
    )
    stack.push_async_callback(board.close)
    await board.open()
    watching = asyncio.create_task(_watch_tls(config.kafka, connection, clock, config.trust.reload_seconds))
    stack.callback(watching.cancel)
    return OpenedLog(log, store, board, signer)


def kafka_connection(config: KafkaConfig, clock: Clock) -> KafkaConnection:
    """How to reach the cluster that a configuration names.

    Raises:
        ConfigInvalid: it does not name one.
        CertificateInvalid, KeyInvalid: a TLS file cannot be used.
    """
    config.check()
    check_tls_files(config.certificate, config.key, clock.now_ms())
    tls = KafkaTls(config.certificate, config.key, config.authorities)
    return KafkaConnection(config.servers, tls, config.prefix, config.timeout_seconds)


async def _watch_tls(config: KafkaConfig, connection: KafkaConnection, clock: Clock, seconds: float) -> None:
    """Take up renewed TLS files, so that a broker outlives its certificate. Never returns."""
    files = (config.certificate, config.key, config.authorities)
    seen = [FileState.of(path) for path in files]
    while True:
        await asyncio.sleep(seconds)
        try:
            state = [FileState.of(path) for path in files]
            if state != seen and connection.tls is not None:
                # Certificate and key are replaced one after the other: until they match, this is tried again.
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
        value_bytes=record_bytes + _HEADROOM_BYTES,
    )


def reporter(what: str) -> Callable[[CaseExchangeError], None]:
    """Says in the log what failed; what will not be tried again is critical."""

    def report(error: CaseExchangeError) -> None:
        tell = _log.critical if isinstance(error, LogError) else _log.error
        tell(f"{what} failed", reason=error.reason, cause=error.message, remedy=error.remedy)

    return report


def _partitions(config: BrokerConfig) -> dict[str, int]:
    return {
        CASES: config.log.cases_partitions,
        DNA: config.log.dna_partitions,
        NOTICES: config.log.notices_partitions,
        AUDIT: 1,
    }
