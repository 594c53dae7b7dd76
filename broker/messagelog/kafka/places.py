"""The places of subscriptions: how far each is in a partition, as Kafka's groups store it.

Everyone with a broker's key for Kafka can commit there. So a broker seals each place with the checkpoint key, and what
has no seal counts for nothing. Then the place is found out from the audit stream (rebuilding.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafka.structs import OffsetAndMetadata

from broker.core.errors import LogCorrupt, LogIntruder, SubscriptionChanged
from broker.core.groupseal import SealedText, place_statement
from broker.core.leasing.ackstate import AckState
from broker.messagelog.kafka.offsets import NO_EPOCH
from broker.messagelog.kafka.positions import offset_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from broker.core.entry import Interest
    from broker.core.errors import CaseExchangeError
    from broker.core.streams import StreamPartition
    from broker.core.subscriptions import Generation
    from broker.messagelog.kafka.rebuilding import Rebuilding
    from broker.ports import LogKeys, NoteSigner, SubscriptionKey


class Places:
    """See the module. For one event loop.

    Args:
        log_ids: the topic id of each stream.
        ends: how far this process has read each partition.
        signer: the checkpoint key that seals.
        keys: the checkpoint keys that the directory lists.
        rebuilding: finds out places that have no seal.
        report: called with every place that is refused.
    """

    def __init__(
        self,
        log_ids: Mapping[str, str],
        ends: Mapping[StreamPartition, int],
        *,
        signer: NoteSigner,
        keys: LogKeys,
        rebuilding: Rebuilding,
        report: Callable[[CaseExchangeError], None],
    ) -> None:
        self._log_ids = log_ids
        self._ends = ends
        self._signer = signer
        self._keys = keys
        self._rebuilding = rebuilding
        self._report = report

    def stored(
        self, subscription: SubscriptionKey, generation: Generation, partition: StreamPartition, state: AckState
    ) -> OffsetAndMetadata:
        """What Kafka stores of a state. The sealed state is in the metadata.

        The offset is only for Kafka's own tools, which show the lag by it: the pack that has the floor, or the next one
        if nothing of it is left.
        """
        text = state.encode()
        number = generation.number
        signature = self._signer.sign(self._statement(subscription, partition, text, number))
        floor = state.floor
        offset = offset_of(floor - 1) + 1 if 0 < floor == self._ends[partition] else offset_of(floor)
        sealed = SealedText(text, self._signer.key_id, signature, number)
        return OffsetAndMetadata(offset, sealed.encode(), NO_EPOCH)

    def opened(
        self,
        subscription: SubscriptionKey,
        interest: Interest,
        generation: Generation,
        partition: StreamPartition,
        stored: OffsetAndMetadata | None,
    ) -> AckState | None:
        """The same as ``judged``. What no broker sealed is reported."""
        state = self.judged(subscription, interest, generation, partition, stored)
        if state is None:
            message = (
                f"what Kafka has for the subscription {subscription.agency}/{subscription.name} on {partition} was "
                "sealed by no broker for it: it does not count, and is found out from the audit stream. What the audit "
                "stream does not call finished is delivered again"
            )
            self._report(LogIntruder(message, partition=str(partition)))
        return state

    def judged(
        self,
        subscription: SubscriptionKey,
        interest: Interest,
        generation: Generation,
        partition: StreamPartition,
        stored: OffsetAndMetadata | None,
    ) -> AckState | None:
        """The state that a broker sealed for this subscription and partition. None if this is no such state.

        If nothing was committed in this generation, it begins where its starts say.

        Raises:
            LogSchemaUnsupported: a newer broker of this exchange sealed it.
            SubscriptionChanged: it is of a later generation.
        """
        if stored is None:
            return generation.begin(partition, interest.kinds)
        sealed = self._sealed(subscription, partition, stored)
        if sealed is None:
            return None
        if sealed.generation > generation.number:
            message = "the subscription goes on in a later generation, since its agency moved or changed it"
            raise SubscriptionChanged(message)
        if sealed.generation < generation.number:
            return generation.begin(partition, interest.kinds)
        try:
            state = AckState.decode(sealed.text)
        except LogCorrupt:
            return None
        ended, log_id = self._keys.ended(sealed.key_id), self._log_ids[partition.stream]
        if ended is not None and state.floor and not ended.covers_entry(partition, log_id, state.floor - 1):
            return None
        return state

    def generation_of(
        self, subscription: SubscriptionKey, partition: StreamPartition, stored: OffsetAndMetadata
    ) -> int | None:
        """The generation in which a broker sealed this for the subscription and partition. None if no broker did."""
        sealed = self._sealed(subscription, partition, stored)
        return None if sealed is None else sealed.generation

    def _sealed(
        self, subscription: SubscriptionKey, partition: StreamPartition, stored: OffsetAndMetadata
    ) -> SealedText | None:
        sealed = SealedText.decode(stored.metadata or "")
        check = None if sealed is None else self._keys.check(sealed.key_id)
        if sealed is None or check is None:
            return None
        statement = self._statement(subscription, partition, sealed.text, sealed.generation)
        return sealed if check(statement, sealed.signature) else None

    async def rebuilt(
        self,
        subscription: SubscriptionKey,
        interest: Interest,
        generation: Generation,
        partitions: Collection[StreamPartition],
    ) -> dict[StreamPartition, AckState]:
        """Where a generation of a subscription stands by the audit stream.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        return await self._rebuilding.states(subscription, interest, generation, partitions)

    def _statement(self, subscription: SubscriptionKey, partition: StreamPartition, text: str, number: int) -> bytes:
        return place_statement(self._log_ids[partition.stream], partition, *subscription, text, generation=number)
