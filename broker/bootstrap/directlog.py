"""A log on Kafka as one machine reads it alone: every topic, and the trees from the leaves that followers published.

It takes no part in the exchange: it appends nothing, follows nothing, and can run beside the brokers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.bootstrap.kafkalog import kafka_connection
from broker.bootstrap.opened import reporter
from broker.messagelog.kafka.board import KafkaBoard
from broker.messagelog.kafka.log import KafkaLog
from broker.messagelog.kafka.topicsettings import KafkaSettings
from broker.messagelog.sqlite import SqliteCheckpointStore
from broker.services.mirroring import CheckpointMirror
from broker.trust.system import SystemEntropy
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from pathlib import Path

    from broker.config.kafka import KafkaConfig
    from broker.core.incarnations import Incarnations
    from broker.ports import CheckpointStore, Clock, LogKeys

_TAIL_BYTES: Final = 64 << 20


async def open_direct(
    config: KafkaConfig,
    keys: LogKeys,
    trust_domain: str,
    clock: Clock,
    *,
    declared: Callable[[], Incarnations],
    folder: Path | None,
    stack: contextlib.AsyncExitStack,
) -> tuple[KafkaLog, CheckpointStore]:
    """Read the log up to the newest checkpoint of each partition. The stack closes it.

    Args:
        config: the cluster.
        keys: the checkpoint keys that the directory lists.
        trust_domain: the exchange's.
        clock: checks the TLS files.
        declared: gives the declared incarnations.
        folder: for the index and the trees, which are nobody's afterwards. None: they are kept in memory.
        stack: closes everything.

    Raises:
        ConfigInvalid, CertificateInvalid, KeyInvalid
        LogUnavailable, LogAccessDenied, LogCorrupt: the topics cannot be read, or there is no checkpoint.
    """
    log = await KafkaLog.open(
        KafkaSettings(kafka_connection(config, clock), None, _TAIL_BYTES),
        None if folder is None else folder / "index.db",
        signer=None,
        keys=keys,
        declared=declared(),
        codec=ProtobufCodec(),
        clock=clock,
        entropy=SystemEntropy(),
        report=reporter("message log"),
    )
    stack.push_async_callback(log.close)
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
    store = SqliteCheckpointStore(None if folder is None else folder / "checkpoints.db")
    stack.push_async_callback(store.close)
    mirror = CheckpointMirror(store, board, None, trust_domain)
    for partition in log.all_partitions:
        await mirror.catch_up(partition, await mirror.load(partition))
    return log, store
