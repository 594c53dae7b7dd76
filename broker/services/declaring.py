"""Find out what a log lacks of what the exchange signed, and write the declarations that governance may sign.

What is known of the former log is its own tree, and signed checkpoints that others saw: those that edges presented, and
files that somebody brings. The caller has verified their signatures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.errors import SetupInvalid
from broker.core.incarnations import Incarnation, SignedCheckpoint
from broker.core.tree.merkle import CompactRange, range_coordinates
from broker.core.tree.origin import origin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias

    from broker.core.incarnations import Incarnations
    from broker.core.streams import StreamPartition
    from broker.ports import CheckpointStore

    _Notes: TypeAlias = Mapping[StreamPartition, dict[str, list[SignedCheckpoint]]]
    """Signed checkpoints of each partition, by the log that they are of."""


class Declaring(NamedTuple):
    """What a declaration says besides the checkpoints.

    ``new_log_id`` is what a log that was restored goes on as. ``log_ids`` has the log of each partition as it is now.
    """

    log_ids: Mapping[StreamPartition, str]
    store: CheckpointStore
    declared: Incarnations
    trust_domain: str
    new_log_id: str
    reason: str
    now_ms: int

    async def declarations(self, seen: Iterable[SignedCheckpoint], *, restored: bool = False) -> list[Incarnation]:
        """The declarations for what is missing, in the order of the partitions. None: nothing is.

        If the log was restored from an old copy, every partition gets one: they all go on as the new log. The copy may
        be older than the one from which an incarnation went on that is lost now. ``restored``: the log was restored,
        also if nothing is known to be missing.

        Raises:
            SetupInvalid: what must be known for a declaration is not.
            LogUnavailable
        """
        by_log: _Notes = {each: {} for each in self.log_ids}
        for partition in self.log_ids:
            head = await self.store.head(partition)
            for signed in [] if head is None else [SignedCheckpoint.read(head.note)]:
                _note(by_log, signed, self.trust_domain)
        for signed in seen:
            _note(by_log, signed, self.trust_domain)
        # One with no record in any partition has lost nothing. Otherwise its empty partitions have another log, too.
        held = {log_id for logs in by_log.values() for log_id, notes in logs.items() if any(map(_size, notes))}
        current = await self._current(by_log)
        made_anew = [
            declaration
            for partition, logs in by_log.items()
            for log_id, notes in logs.items()
            if log_id not in {self.log_ids[partition], current[partition]} and log_id in held
            for declaration in await self._of_former(partition, log_id, notes)
        ]
        if made_anew:
            return made_anew
        found = {
            partition: await self._restored(partition, current[partition], logs) for partition, logs in by_log.items()
        }
        older = current != self.log_ids
        if not restored and not older and not any(missing for missing, _ in found.values()):
            return []
        lacking = [partition for partition, (_, declaration) in found.items() if declaration is None]
        if lacking:
            raise SetupInvalid(_nothing_known(lacking[0], current[lacking[0]], older=older))
        return [declaration for _, declaration in found.values() if declaration is not None]

    async def _current(self, by_log: _Notes) -> Mapping[StreamPartition, str]:
        """The newest log of each partition that is declared and that anybody has seen. That is lost, not the copy's.

        Raises:
            SetupInvalid: this copy is too old for what is declared, and nobody brought a checkpoint of that.
        """
        newest = {each: self.declared.restored_as(each, log_id) for each, log_id in self.log_ids.items()}
        if newest == self.log_ids or any(newest[each] in logs for each, logs in by_log.items()):
            return newest
        for partition, log_id in self.log_ids.items():
            way = self.declared.way(partition, log_id)
            if way and way[-1].carried is not None and not await self._continues(way[-1].carried):
                message = (
                    f"this copy is older than the one from which the log {newest[partition]} was declared to go on. If "
                    "a broker ran as that log, give a checkpoint of it that an agency saw: --seen. If none ever did, "
                    "have governance take its entries out of the directory first"
                )
                raise SetupInvalid(message)
        # Nothing was signed as the declared log.
        return self.log_ids

    async def _of_former(
        self, partition: StreamPartition, log_id: str, notes: list[SignedCheckpoint]
    ) -> list[Incarnation]:
        """The declaration for a log that is not there any more, or a new one if more is lost than was declared."""
        largest = max(notes, key=_size)
        before = self.declared.next(partition, log_id)
        if before is None:
            new = self.log_ids[partition]
            return [Incarnation(partition, log_id, new, largest, None, self.reason, self.now_ms)]
        lost = [each for each in notes if _size(each) > _size(before.last) and not await self._continues(each)]
        if not lost:
            return []
        last = max(lost, key=_size)
        # The time stays: what the new log accepted since is not lost with the former one.
        return [before._replace(last=last, reason=self.reason)]

    async def _restored(
        self, partition: StreamPartition, log_id: str, logs: Mapping[str, list[SignedCheckpoint]]
    ) -> tuple[bool, Incarnation | None]:
        """Whether something of a log is missing, and the declaration with what survives. ``logs``: what is known."""
        notes = logs.get(log_id, [])
        if not notes:
            return False, None
        steps = list(self.declared.back(partition, log_id))
        # The lost log began with these. A copy that does not is of before, or went on with other records.
        began = [step.carried for step, survives in steps if step.carried is not None and step.survives == survives]
        before = [
            each
            for step, survives in steps
            for each in logs.get(step.former_log_id, ())
            if _size(each) <= survives and await self._continues(each)
        ]
        gone = [each for each in (*notes, *began) if not await self._continues(each)]
        kept = [each for each in (*notes, *began, *before) if each not in gone]
        kept = [each for each in kept if all(_size(each) < _size(other) for other in gone)]
        last = max([each for each in notes if each in gone] or notes, key=_size)
        carried = max(kept, key=_size) if kept else None
        return bool(gone), Incarnation(
            partition, log_id, self.new_log_id, last, carried, self.reason, self.now_ms, restored=True
        )

    async def _continues(self, signed: SignedCheckpoint) -> bool:
        """Whether the stored tree begins with the tree of a checkpoint."""
        partition, size = origin_of(signed.checkpoint, self.trust_domain).partition, _size(signed)
        head = await self.store.head(partition)
        if head is None or head.size < size:
            return size == 0
        tree = CompactRange(size, await self.store.nodes(partition, range_coordinates(0, size)))
        return tree.root() == signed.checkpoint.root


def _nothing_known(partition: StreamPartition, log_id: str, *, older: bool) -> str:
    if older:
        return (
            f"nothing signed is known of {partition} of the log {log_id}, whose place an older copy takes: give the "
            "checkpoints that an agency saw: --seen (`case-exchange receipts checkpoints`)"
        )
    return f"nothing signed is known of {partition}: restore checkpoints.db together with log.db"


def _note(by_log: _Notes, signed: SignedCheckpoint, trust_domain: str) -> None:
    partition, log_id = origin_of(signed.checkpoint, trust_domain)
    if partition in by_log:
        by_log[partition].setdefault(log_id, []).append(signed)


def _size(signed: SignedCheckpoint) -> int:
    return signed.checkpoint.size
