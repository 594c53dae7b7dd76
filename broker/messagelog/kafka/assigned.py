"""A consumer that reads given partitions from given places, and is made anew after an error."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from kafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafka import KafkaConsumer, TopicPartition

    from broker.messagelog.kafka.connection import KafkaConnection

_CLOSE_MS: Final = 1000


class AssignedConsumer:
    """Keeps one consumer of no group. For one thread.

    Args:
        connection: to the cluster.
        settings: the consumer's own.
    """

    def __init__(self, connection: KafkaConnection, **settings: Any) -> None:
        self._connection = connection
        self._settings = settings
        self._consumer: KafkaConsumer | None = None

    def at(self, places: Mapping[TopicPartition, int]) -> KafkaConsumer:
        """The consumer. One that is made now begins at these offsets; one that is there goes on where it is.

        Raises:
            kafka.errors.KafkaError
        """
        if self._consumer is None:
            self._consumer = self._connection.consumer(**self._settings)
            self._consumer.assign(list(places))
            for topic, offset in places.items():
                self._consumer.seek(topic, offset)
        return self._consumer

    def drop(self) -> None:
        """Close the consumer; the next one begins anew. Idempotent."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            # A cluster that does not answer may make this fail too; reading goes on with a new one.
            with contextlib.suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=_CLOSE_MS)
