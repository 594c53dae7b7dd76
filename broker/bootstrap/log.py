"""The message log that the configuration names, with its checkpoints. Only this module knows both backends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from broker.bootstrap.opened import OpenedLog, partitions
from broker.core.errors import ConfigInvalid
from broker.core.incarnations import Incarnations
from broker.extras import needed
from broker.messagelog.sqlite import SoleFollower, SqliteCheckpointStore, SqliteLog
from broker.services.erasureorders import ErasureOrders
from broker.services.incarnations import begin_declared, settle_trees
from broker.trust.logkeys import DirectoryLogKeys
from broker.trust.signing import Ed25519NoteSigner

if TYPE_CHECKING:
    import contextlib

    from broker.bootstrap.trust import BrokerTrust
    from broker.config.broker import BrokerConfig
    from broker.ports import Clock

_log = structlog.get_logger("broker")
KAFKA: Final = "kafka"


async def open_log(
    config: BrokerConfig, trust: BrokerTrust, clock: Clock, stack: contextlib.AsyncExitStack
) -> OpenedLog:
    """Open the log that ``log.backend`` names. The stack closes it.

    Raises:
        ConfigInvalid: a setting of [kafka] is missing.
        ExtraMissing: Kafka's client is not installed.
        SetupInvalid: a file cannot be used.
        LogError, LogUnavailable, LogFull
    """
    signer = Ed25519NoteSigner.load(config.signing.checkpoint_key_name, config.signing.checkpoint_key)
    if DirectoryLogKeys(lambda: trust.directory.latest).ended(signer.key_id) is not None:
        message = "the directory says that the checkpoint key has ended: sign with another one"
        raise ConfigInvalid(message)
    if config.log.backend == KAFKA:
        with needed():
            from broker.bootstrap.kafkalog import open_kafka  # noqa: PLC0415 - only a broker on Kafka has the client
        return await open_kafka(config, trust, clock, signer, stack)
    folder = config.log.folder
    log = await SqliteLog.open(
        folder / "log.db",
        clock,
        partitions=partitions(config),
        tail_bytes=config.log.tail_bytes,
        disk_reserve_bytes=config.log.disk_reserve_bytes,
    )
    stack.push_async_callback(log.close)
    store = SqliteCheckpointStore(folder / "checkpoints.db")
    stack.push_async_callback(store.close)
    directory = trust.directory.latest
    declared = Incarnations(directory.incarnations)
    await begin_declared(log, store, declared)
    await settle_trees(
        log,
        store,
        declared,
        continued=log.former_log_ids,
        trust_domain=directory.trust_domain,
        signer=signer,
        now_ms=clock.now_ms,
    )
    return OpenedLog(log, store, SoleFollower(), signer, ErasureOrders(), repair=log, erasure=log)
