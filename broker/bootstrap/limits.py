"""The limits of a broker's parts, from its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.quota import QuotaLimits
from broker.server.limits import ServerLimits
from broker.services.deliveries import SubscribeLimits

if TYPE_CHECKING:
    from broker.config.broker import BrokerConfig


def subscribe_limits(config: BrokerConfig) -> SubscribeLimits:
    """[subscriptions]."""
    given = config.subscriptions
    return SubscribeLimits(
        lease_seconds=given.lease_seconds,
        max_lease_seconds=given.max_lease_seconds,
        max_attempts=given.max_attempts,
        max_outstanding_records=given.max_outstanding_records,
        max_outstanding_bytes=given.max_outstanding_bytes,
        window_records=given.window_records,
        window_bytes=given.window_bytes,
        subscriptions=given.max_open,
        transient_alarm_seconds=given.transient_alarm_hours * 3600,
    )


def quota_limits(config: BrokerConfig) -> QuotaLimits:
    """[quotas]."""
    given = config.quotas
    return QuotaLimits(
        calls=given.calls,
        connections=given.connections,
        subscriptions=given.subscriptions,
        durable_subscriptions=given.durable_subscriptions,
        publishing_bytes=given.publishing_bytes,
        undelivered_bytes=given.undelivered_bytes,
        records_per_second=given.records_per_second,
        bytes_per_second=given.bytes_per_second,
        refusals_per_second=given.refusals_per_second,
    )


def server_limits(config: BrokerConfig, connections: int) -> ServerLimits:
    """[server], with no more connections than this process can have."""
    given = config.server
    return ServerLimits(
        message_bytes=given.message_bytes,
        metadata_bytes=given.metadata_bytes,
        connections=connections,
        streams_per_connection=given.streams_per_connection,
        concurrent_calls=given.concurrent_calls,
        connection_idle_seconds=given.connection_idle_seconds,
        connection_age_seconds=given.connection_age_seconds,
        connection_age_grace_seconds=given.connection_age_grace_seconds,
        keepalive_seconds=given.keepalive_seconds,
        keepalive_timeout_seconds=given.keepalive_timeout_seconds,
        min_ping_seconds=given.min_ping_seconds,
        handshake_seconds=given.handshake_seconds,
    )
