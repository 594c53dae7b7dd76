"""Where a subscription stands: in each partition, and how much it has before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.entry import Interest
from broker.core.errors import LogCorrupt
from broker.core.streams import StreamPartition, streams_of
from broker.core.subscriptions import stages, undone
from broker.ports import PlaceState, SubscriptionState
from broker.services.auditindex import Scope

if TYPE_CHECKING:
    from broker.core.leasing.ackstate import AckState
    from broker.core.subscriptions import Stage
    from broker.ports import MessageLog, Standing
    from broker.services.auditindex import AuditIndex
    from broker.services.subscriptionindex import Known


class Here(NamedTuple):
    """A subscription in one partition: where it stands, and what it wants from there on."""

    partition: StreamPartition
    state: AckState
    wanted: list[Stage]


class Standings:
    """See the module. For one event loop. Every method may raise LogUnavailable."""

    def __init__(self, index: AuditIndex, log: MessageLog) -> None:
        self._index = index
        self._log = log

    def places(self, known: Known, standing: Standing) -> list[Here]:
        """A subscription in each of its partitions."""
        found = []
        for stream in streams_of(known.kinds):
            for number in range(self._log.partitions(stream)):
                partition = StreamPartition(stream, number)
                state = standing.states.get(partition, known.generation.begin(partition, known.kinds))
                starts = known.generation.starts_in(partition, known.kinds)
                found.append(Here(partition, state, stages(starts, state.floor)))
        return found

    async def unfinished(self, agency: str, here: Here, end: int) -> int:
        """How many records are wanted below an offset, and not finished."""
        counts = [
            await self._log.count_wanted(here.partition, undone(here.state, stage, end), Interest(agency, stage.kinds))
            for stage in here.wanted
        ]
        return sum(counts)

    async def state(self, known: Known) -> SubscriptionState:
        """All of it."""
        standing = await self._log.standing(known.key, known.kinds, known.generation)
        places = [await self._place(known.key.agency, here) for here in self.places(known, standing)]
        tally = self._index.tally(Scope(*known.key))
        return SubscriptionState(
            known.key,
            known.kinds,
            known.created_ms,
            known.generation.number,
            standing.readers,
            tuple(places),
            tally.dead_letters,
            tally.parked,
            known.skipped,
        )

    async def _place(self, agency: str, here: Here) -> PlaceState:
        end = await self._log.end_offset(here.partition)
        behind = await self.unfinished(agency, here, end)
        oldest_ms = await self._oldest(agency, here, end) if behind else None
        return PlaceState(here.partition, here.state.floor, behind, oldest_ms)

    async def _oldest(self, agency: str, here: Here, end: int) -> int | None:
        """When the first record was accepted that is not finished. None if the log has lost this."""
        for stage in here.wanted:
            interest = Interest(agency, stage.kinds)
            for offsets in undone(here.state, stage, end):
                try:
                    page = await self._log.read_wanted(here.partition, offsets.start, interest, 1, 1)
                except LogCorrupt:
                    return None
                if page.entries and page.entries[0].position.offset < offsets.stop:
                    return page.entries[0].accepted_at_ms or None
        return None
