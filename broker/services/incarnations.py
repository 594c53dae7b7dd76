"""Go on as a new incarnation of the log, if and only if the directory declares it (docs/adr/0049-incarnations.md).

A log that was restored from an old copy begins its next incarnation before anything is appended: what survives keeps
its leaves, and from then on checkpoints name the new origin. A tree of a log whose place an empty one took is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.core.errors import LogRolledBack
from broker.core.streams import every_partition
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.merkle import CompactRange, range_coordinates
from broker.core.tree.origin import checkpoint_origin, origin_of
from broker.ports import TreeExtension
from broker.services.mirroring import sign_head

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from broker.core.incarnations import Incarnation, Incarnations
    from broker.core.streams import StreamPartition
    from broker.ports import CheckpointStore, MessageLog, NoteSigner


class _ContinuedLog(Protocol):
    """A log that can go on as another one."""

    def log_id(self, stream: str) -> str: ...

    def partitions(self, stream: str) -> int: ...

    async def begin_incarnation(self, log_id: str) -> None: ...


async def begin_declared(log: _ContinuedLog, store: CheckpointStore, declared: Incarnations) -> None:
    """Begin the incarnation that is declared to take the place of this log, if one is. All partitions are one file.

    Args:
        log: the log, before anything is appended to it.
        store: its trees, as they were restored with it.
        declared: what the directory declares.

    Raises:
        LogRolledBack: the declaration is for another copy of the log than this one, or another log took its place.
        LogUnavailable, LogFull
    """
    partitions = every_partition(log.partitions)
    # An old copy may be of a log whose place several took, one after the other. It goes on as the newest.
    ways = [way for each in partitions if (way := declared.way(each, log.log_id(each.stream)))]
    found = [way[-1] for way in ways]
    if not found:
        return
    if not all(step.restored for way in ways for step in way):
        message = "the directory declares that a log that was made anew took the place of this one"
        raise LogRolledBack(message)
    new = {step.log_id for step in found}
    if len(found) < len(partitions) or len(new) > 1:
        message = "the directory declares a new incarnation, but not the same one for every partition of this log"
        raise LogRolledBack(message)
    for step in found:
        await _check_survives(store, step)
    await log.begin_incarnation(new.pop())


async def settle_trees(
    log: MessageLog,
    store: CheckpointStore,
    declared: Incarnations,
    *,
    continued: Collection[str],
    trust_domain: str,
    signer: NoteSigner,
    now_ms: Callable[[], int],
) -> None:
    """Make the stored trees those of this incarnation. A tree of a log that is not declared stays, and is refused.

    Args:
        log: the log.
        store: the trees of this process.
        declared: what the directory declares.
        continued: the ids of former logs whose entries this one begins with.
        trust_domain: the beginning of the origins.
        signer: the checkpoint key.
        now_ms: gives the time of signing.

    Raises:
        LogUnavailable, LogFull
    """
    for partition in every_partition(log.partitions):
        head = await store.head(partition)
        if head is None:
            continue
        signed = Checkpoint.parse(parse_note(head.note).text)
        current, former = log.log_id(partition.stream), origin_of(signed, trust_domain).log_id
        if former == current:
            continue
        if former in continued:
            tree = await _tree(store, partition, head.size)
            again = sign_head(signer, checkpoint_origin(trust_domain, partition, current), tree, now_ms())
            await store.extend(partition, head.size, TreeExtension([], [], again))
        elif declared.between(partition, former, current) is not None:
            await store.forget(partition)


async def _check_survives(store: CheckpointStore, step: Incarnation) -> None:
    head = await store.head(step.partition)
    size = step.survives
    if (0 if head is None else head.size) >= size and (
        step.carried is None or (await _tree(store, step.partition, size)).root() == step.carried.checkpoint.root
    ):
        return
    message = (
        f"the declared incarnation is not of this copy of the log: {step.partition}:{size} does not survive in it. If "
        "this is the newest copy, another incarnation must be declared"
    )
    raise LogRolledBack(message, partition=str(step.partition), size=str(size))


async def _tree(store: CheckpointStore, partition: StreamPartition, size: int) -> CompactRange:
    return CompactRange(size, await store.nodes(partition, range_coordinates(0, size)))
