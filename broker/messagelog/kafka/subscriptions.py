"""Subscriptions on Kafka: their cursors, and what their groups have for whoever asks from outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from kafka import TopicPartition
from kafka.errors import GroupIdNotFoundError, KafkaError, RetriableError
from kafka.protocol.metadata import FindCoordinatorRequest

from broker.core.entry import Interest
from broker.core.errors import LogUnavailable, Unavailable
from broker.core.streams import streams_of
from broker.messagelog.kafka import offsets
from broker.messagelog.kafka.connection import pause, translate
from broker.messagelog.kafka.cursor import KafkaCursor, group_of
from broker.messagelog.kafka.groups import FIND_VERSION
from broker.messagelog.kafka.links import Address
from broker.messagelog.kafka.members import VERSION as DESCRIBE_VERSION
from broker.messagelog.kafka.members import ConsumerGroupDescribeRequest, MembersWatch
from broker.ports import Standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from broker.core.errors import CaseExchangeError, LogIntruder
    from broker.core.leasing.ackstate import AckState
    from broker.core.streams import StreamPartition
    from broker.core.subscriptions import Generation
    from broker.messagelog.kafka.cursor import WantedLog
    from broker.messagelog.kafka.groups import Groups
    from broker.messagelog.kafka.places import Places
    from broker.ports import LogKeys, SubscriptionKey

_LANE: Final = 1


class KafkaSubscriptions:
    """See the module. For one event loop.

    Args:
        groups: what the members of the process share.
        places: reads and seals where subscriptions stand.
        partitions: the log's.
        keys: the checkpoint keys that the directory lists.
        report: called with every member of a group that is no broker, and every place that cannot be read.
    """

    def __init__(
        self,
        groups: Groups,
        places: Places,
        partitions: Collection[StreamPartition],
        keys: LogKeys,
        report: Callable[[CaseExchangeError], None],
    ) -> None:
        self._groups = groups
        self._places = places
        self._partitions = partitions
        self._report = report
        self._members = MembersWatch(groups, keys, report)
        self._members.open()

    @property
    def intruder(self) -> LogIntruder | None:
        """See ``MembersWatch``."""
        return self._members.intruder

    async def close(self) -> None:
        """Stop watching. Idempotent."""
        await self._members.close()

    async def open_cursor(
        self, log: WantedLog, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation
    ) -> KafkaCursor:
        """See ``MessageLog``."""
        return await KafkaCursor.open(self._groups, log, self._places, subscription, kinds, generation=generation)

    async def standing(self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation) -> Standing:
        """See ``MessageLog``. A place that no broker sealed, or that cannot be read, is left out."""
        streams, connection = streams_of(kinds), self._groups.connection
        topics = {
            TopicPartition(connection.topic(each.stream), each.partition): each
            for each in self._partitions
            if each.stream in streams
        }
        group, interest = self._group(subscription), Interest(subscription.agency, kinds)

        async def asked(address: Address) -> tuple[Any, Any]:
            links, describe = self._groups.links, ConsumerGroupDescribeRequest
            stored = await links.ask_in_time(address, _LANE, offsets.fetch_request(group, topics), offsets.VERSION)
            request = describe(group_ids=[group], include_authorized_operations=False)
            return stored, await links.ask_in_time(address, _LANE, request, DESCRIBE_VERSION)

        fetched, described = await self._of_coordinator(group, asked)
        try:
            committed = offsets.fetched(fetched)
            offsets.check([described.groups[0].error_code])
        except GroupIdNotFoundError:
            return Standing({}, 0, None)
        except KafkaError as error:
            raise translate(error) from error
        latest: int | None = None
        states: dict[StreamPartition, AckState] = {}
        for topic, stored in committed.items():
            # What no broker sealed says nothing. But the subscription is not new.
            latest = latest or 0
            try:
                number = self._places.generation_of(subscription, topics[topic], stored) or 0
                latest = max(latest, number)
                if number != generation.number:
                    continue
                state = self._places.judged(subscription, interest, generation, topics[topic], stored)
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one strange place must not hide all the others
                self._report(translate(error))
                continue
            if state is not None:
                states[topics[topic]] = state
        return Standing(states, len(described.groups[0].members), latest)

    def _group(self, subscription: SubscriptionKey) -> str:
        return f"{self._groups.connection.prefix}.{group_of(subscription)}"

    async def _of_coordinator(self, group: str, ask: Callable[[Address], Awaitable[Any]]) -> Any:
        """Ask the node that coordinates a group, and look for it again if it does not answer."""
        try:
            async with asyncio.timeout(self._groups.connection.timeout_seconds):
                while True:
                    try:
                        request = FindCoordinatorRequest(key_type=0, coordinator_keys=[group])
                        (found,) = (await self._groups.links.ask_any(_LANE, request, FIND_VERSION)).coordinators
                        offsets.check([found.error_code])
                        return await ask(Address(found.host, found.port))
                    except RetriableError:
                        await asyncio.sleep(pause())
        except TimeoutError:
            message = "Kafka did not say in time where the subscription stands"
            raise LogUnavailable(message) from None
        except KafkaError as error:
            raise translate(error) from error
