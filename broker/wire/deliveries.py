"""The messages of a subscriber's stream: protobuf to plain values, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.wire.envelopes import fill_envelope
from broker.wire.receipts import fill_position
from broker.wire.times import set_duration, set_ms
from caseexchange.broker.v1 import subscriber_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.core.envelope import Envelope
    from broker.core.streams import Position


class WireDelivery(NamedTuple):
    """What one delivery says. ``accepted_at_ms`` is in milliseconds since the Unix epoch, UTC."""

    delivery_id: int
    position: Position
    accepted_at_ms: int
    attempt: int
    envelope: Envelope


def opened_to(
    max_outstanding_records: int, max_outstanding_bytes: int, lease_seconds: float, max_attempts: int
) -> subscriber_pb2.SubscribeResponse:
    """Write the settings in force."""
    opened = subscriber_pb2.SubscriptionOpened(
        max_outstanding_records=max_outstanding_records,
        max_outstanding_bytes=max_outstanding_bytes,
        max_attempts=max_attempts,
    )
    set_duration(opened.lease, lease_seconds)
    return subscriber_pb2.SubscribeResponse(opened=opened)


def deliveries_to(deliveries: Iterable[WireDelivery]) -> subscriber_pb2.SubscribeResponse:
    """Write deliveries that go in one message. Each is written where it stays: to copy messages would cost more."""
    response = subscriber_pb2.SubscribeResponse()
    response.deliveries.SetInParent()
    add = response.deliveries.deliveries.add
    for delivery_id, position, accepted_at_ms, attempt, envelope in deliveries:
        message = add(delivery_id=delivery_id, attempt=attempt)
        fill_position(message.position, position)
        set_ms(message.accepted_at, accepted_at_ms)
        fill_envelope(message.envelope, envelope)
    return response


def acknowledged_to(delivery_ids: Sequence[int]) -> subscriber_pb2.SubscribeResponse:
    """Write the confirmation of acknowledgements."""
    return subscriber_pb2.SubscribeResponse(acknowledged=subscriber_pb2.Acknowledged(delivery_ids=delivery_ids))


def leases_lost_to(delivery_ids: Sequence[int]) -> subscriber_pb2.SubscribeResponse:
    """Write which answers came too late."""
    return subscriber_pb2.SubscribeResponse(leases_lost=subscriber_pb2.LeasesLost(delivery_ids=delivery_ids))
