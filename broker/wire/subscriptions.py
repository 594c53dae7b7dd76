"""What an agency learns of its subscriptions: core types to protobuf, and back."""

from __future__ import annotations

from broker.core.streams import Position
from broker.ports import PlaceState, SubscriptionKey, SubscriptionState
from broker.wire.receipts import fill_position, position_from
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import subscription_pb2


def subscription_to(state: SubscriptionState) -> subscription_pb2.SubscriptionState:
    """Write one."""
    message = subscription_pb2.SubscriptionState(
        agency=state.key.agency,
        name=state.key.name,
        kinds=sorted(state.kinds),
        generation=state.generation,
        readers=state.readers,
        dead_letters=state.dead_letters,
        parked=state.parked,
        skipped=state.skipped,
    )
    set_ms(message.created, state.created_ms)
    for place in state.places:
        added = message.places.add(behind=place.behind)
        fill_position(added.floor, Position(*place.partition, place.floor))
        if place.oldest_ms is not None:
            set_ms(added.oldest, place.oldest_ms)
    return message


def subscription_from(message: subscription_pb2.SubscriptionState) -> SubscriptionState:
    """Read one.

    Raises:
        EnvelopeMalformed: a time cannot be read.
    """
    return SubscriptionState(
        SubscriptionKey(message.agency, message.name),
        frozenset(message.kinds),
        to_ms(message.created),
        message.generation,
        message.readers,
        tuple(map(_place, message.places)),
        message.dead_letters,
        message.parked,
        message.skipped,
    )


def _place(message: subscription_pb2.SubscriptionPlace) -> PlaceState:
    floor = position_from(message.floor)
    oldest_ms = to_ms(message.oldest) if message.HasField("oldest") else None
    return PlaceState(floor.stream_partition, floor.offset, message.behind, oldest_ms)
