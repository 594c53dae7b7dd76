"""A consumer that reads given partitions from given offsets. After an error a new one is made."""

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
    """Keeps one consumer that is in no group. For one thread.

    Args:
        connection: how to reach the cluster.
        settings: the consumer's own settings.
    """

    def __init__(self, connection: KafkaConnection, **settings: Any) -> None:
        self._connection = connection
        self._settings = settings
        self._consumer: KafkaConsumer | None = None

    def at(self, places: Mapping[TopicPartition, int]) -> KafkaConsumer:
        """The consumer. A new one begins at these offsets. An existing one goes on where it is.

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
        """Close the consumer. The next call of ``at`` makes a new one. Idempotent."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            # If the cluster does not answer, this may fail too. A new consumer goes on reading.
            with contextlib.suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=_CLOSE_MS)
