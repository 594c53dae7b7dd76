"""Prepare what governance declares of a broker's log: a new incarnation, or the end of a log key."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

from broker.bootstrap.brought import files_in
from broker.bootstrap.log import KAFKA
from broker.bootstrap.opened import partitions as configured
from broker.bootstrap.rollback import kept_notes
from broker.core.errors import CheckpointInvalid, LogUnavailable, SetupInvalid
from broker.core.incarnations import Incarnations, SignedCheckpoint
from broker.core.logkeyends import EndedLogKey, LastPosition
from broker.core.streams import STREAMS, StreamPartition, every_partition
from broker.core.tree.checkpoint import MAX_NOTE_BYTES, parse_note, verify_note
from broker.core.tree.origin import origin_of
from broker.extras import needed
from broker.messagelog.sqlite import SqliteCheckpointStore, SqliteLog
from broker.services.declaring import Declaring
from broker.trust.directory_files import DirectoryFile
from broker.trust.governance import Governance
from broker.trust.logkeys import log_verifiers
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from broker.config.broker import BrokerConfig
    from broker.core.incarnations import Incarnation
    from broker.core.policy import Directory


async def prepare_declarations(
    config: BrokerConfig, seen: Sequence[Path], reason: str, *, restored: bool = False
) -> list[Incarnation]:
    """What governance must declare so that the broker goes on with the log that it has. None: nothing is missing.

    Args:
        config: the broker's. The broker must not run.
        seen: files or folders of checkpoints that others saw.
        reason: why the log is another one, for people.
        restored: the log is an old copy, also if nothing is known to be missing in it.

    Raises:
        SetupInvalid: a setting or file cannot be used, or too little is known.
        LogError, LogUnavailable
    """
    clock, directory = SystemClock(), _directory(config)
    async with _stored(config) as (log_ids, store):
        declaring = Declaring(
            log_ids,
            store,
            Incarnations(directory.incarnations),
            directory.trust_domain,
            secrets.token_hex(16),
            reason,
            clock.now_ms(),
        )
        brought = _signed([*kept_notes(config), *_brought(seen)], directory)
        return await declaring.declarations(brought, restored=restored)


async def prepare_end(config: BrokerConfig, key: str, seen: Sequence[Path] = ()) -> EndedLogKey:
    """What governance must write so that a log key counts no further than the log is now.

    Args:
        config: the broker's. The broker must not run, and no other one may sign with the key.
        key: the verifier key, as the directory lists it.
        seen: files or folders of checkpoints that others saw.

    Raises:
        SetupInvalid: a setting or file cannot be used, the directory does not list the key, or a signed checkpoint that
            is known is beyond this log: it went back, and the end would hide it.
        LogError, LogUnavailable
    """
    directory = _directory(config)
    if key not in directory.log_keys:
        message = "the directory does not list this log key"
        raise SetupInvalid(message)
    last: list[LastPosition] = []
    async with _stored(config) as (log_ids, store):
        for each in directory.incarnations:
            # On Kafka, a topic that was restored keeps its id.
            size, next_offset = each.last.checkpoint.size, await store.next_offset(each.partition)
            last.append(LastPosition(each.partition, each.former_log_id, size, max(size, next_offset)))
        for partition, log_id in log_ids.items():
            head = await store.head(partition)
            if head is not None and head.size:
                last.append(LastPosition(partition, log_id, head.size, await store.next_offset(partition)))
    ended = EndedLogKey(key, SystemClock().now_ms(), tuple(last))
    for signed in _signed([*kept_notes(config), *_brought(seen)], directory):
        if not ended.covers_text(signed.checkpoint.marshal(), directory.trust_domain):
            partition, size = origin_of(signed.checkpoint, directory.trust_domain).partition, signed.checkpoint.size
            message = (
                f"a signed checkpoint of {partition} has {size} records, and the log here has fewer: this end would "
                "hide that the log went back. Declare the loss first (`case-exchange incarnation`)"
            )
            raise SetupInvalid(message)
    return ended


def _directory(config: BrokerConfig) -> Directory:
    governance = Governance.load(config.trust.governance_key)
    return DirectoryFile(config.trust.directory, governance, SystemClock()).latest


@contextlib.asynccontextmanager
async def _stored(config: BrokerConfig) -> AsyncIterator[tuple[dict[StreamPartition, str], SqliteCheckpointStore]]:
    """The log of each partition as it is now, and the stored trees."""
    async with contextlib.AsyncExitStack() as stack:
        if config.log.backend == KAFKA:
            log_ids, name = await _topics(config, _directory(config)), "kafka-checkpoints.db"
        else:
            log = await SqliteLog.open(config.log.folder / "log.db", SystemClock(), partitions=configured(config))
            stack.push_async_callback(log.close)
            log_ids, name = (
                {each: log.log_id(each.stream) for each in every_partition(log.partitions)},
                "checkpoints.db",
            )
        store = SqliteCheckpointStore(config.log.folder / name)
        stack.push_async_callback(store.close)
        yield log_ids, store


async def _topics(config: BrokerConfig, directory: Directory) -> dict[StreamPartition, str]:
    with needed():
        from broker.bootstrap.kafkalog import kafka_connection  # noqa: PLC0415 - only with Kafka
        from broker.messagelog.kafka.topics import Topics  # noqa: PLC0415 - only with Kafka
    topics = Topics(kafka_connection(config.kafka, SystemClock()))
    try:
        states = await asyncio.to_thread(topics.look, list(STREAMS))
    finally:
        topics.close()
    if len(states) < len(STREAMS):
        message = "a topic of a stream does not exist: start a broker once, which makes it"
        raise LogUnavailable(message)
    declared = Incarnations(directory.incarnations)
    partitions = [StreamPartition(stream, number) for stream in STREAMS for number in range(states[stream].partitions)]
    return {each: declared.restored_as(each, states[each.stream].topic_id) for each in partitions}


def _brought(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in files_in(paths):
        with path.open("rb") as file:
            yield file.read(MAX_NOTE_BYTES + 1)


def _signed(notes: Sequence[bytes], directory: Directory) -> Iterator[SignedCheckpoint]:
    """The checkpoints that a log key of the directory signed. All others say nothing."""
    verifiers = log_verifiers([directory])
    for note in notes:
        with contextlib.suppress(CheckpointInvalid):
            verify_note(parse_note(note), verifiers)
            signed = SignedCheckpoint.read(note)
            origin_of(signed.checkpoint, directory.trust_domain)
            yield signed
