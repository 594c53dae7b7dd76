"""The messages of a subscriber's stream: protobuf to plain values, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.wire.envelopes import envelope_to
from broker.wire.receipts import position_to
from broker.wire.times import set_duration, set_ms
from caseexchange.broker.v1 import subscriber_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.envelope import Envelope
    from broker.core.streams import Position


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


def delivery_to(
    delivery_id: int, position: Position, accepted_at_ms: int, attempt: int, envelope: Envelope
) -> subscriber_pb2.Delivery:
    """Write one delivery."""
    message = subscriber_pb2.Delivery(
        delivery_id=delivery_id, position=position_to(position), attempt=attempt, envelope=envelope_to(envelope)
    )
    set_ms(message.accepted_at, accepted_at_ms)
    return message


def deliveries_to(deliveries: Sequence[subscriber_pb2.Delivery]) -> subscriber_pb2.SubscribeResponse:
    """Write deliveries that go in one message."""
    return subscriber_pb2.SubscribeResponse(deliveries=subscriber_pb2.Deliveries(deliveries=deliveries))


def acknowledged_to(delivery_ids: Sequence[int]) -> subscriber_pb2.SubscribeResponse:
    """Write the confirmation of acknowledgements."""
    return subscriber_pb2.SubscribeResponse(acknowledged=subscriber_pb2.Acknowledged(delivery_ids=delivery_ids))


def leases_lost_to(delivery_ids: Sequence[int]) -> subscriber_pb2.SubscribeResponse:
    """Write which answers came too late."""
    return subscriber_pb2.SubscribeResponse(leases_lost=subscriber_pb2.LeasesLost(delivery_ids=delivery_ids))
