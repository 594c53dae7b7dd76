"""A follower's seat: the right to publish one partition's checkpoints. It is a producer that Kafka fences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kafka.errors import InvalidProducerEpochError, KafkaError, KafkaTimeoutError, ProducerFencedError

from broker.core.errors import FollowerFenced
from broker.messagelog.kafka.connection import CHECKPOINTS, translate

if TYPE_CHECKING:
    from kafka import KafkaProducer

    from broker.messagelog.kafka.connection import KafkaConnection

_FENCED: Final = (ProducerFencedError, InvalidProducerEpochError)
TRANSACTION_MS: Final = 10_000
"""If a process has stopped, Kafka ends its transaction after this time. Then readers need not wait longer."""
_LARGEST_BYTES: Final = 1 << 20


class Seat:
    """See the module. For one thread.

    Args:
        connection: how to reach the cluster.
        number: the partition of the topic.
    """

    def __init__(self, connection: KafkaConnection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._producer: KafkaProducer | None = None

    def take(self) -> None:
        """Take the seat. From now on no earlier holder can publish anything.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        try:
            self._producer = self._connection.producer(
                transactional_id=f"{self._connection.prefix}.{CHECKPOINTS}.{self._number}",
                transaction_timeout_ms=TRANSACTION_MS,
                max_request_size=_LARGEST_BYTES,
            )
            self._producer.init_transactions()
        except KafkaError as error:
            raise translate(error) from error

    def publish(self, value: bytes) -> None:
        """Publish, all or nothing.

        Raises:
            FollowerFenced: another process has taken the seat. Nothing was published.
            LogUnavailable: it is unknown whether it was published.
        """
        producer = self._producer
        if producer is None:
            message = "the seat was given up"
            raise FollowerFenced(message)
        try:
            producer.begin_transaction()
            sent = producer.send(self._connection.topic(CHECKPOINTS), partition=self._number, value=value)
            sent.get(self._connection.timeout_seconds)
            self._commit(producer)
        except _FENCED as error:
            message = "another process has taken this partition over"
            raise FollowerFenced(message) from error
        except KafkaError as error:
            raise translate(error) from error

    def _commit(self, producer: KafkaProducer) -> None:
        """Commit within the connection's time.

        The library's ``commit_transaction`` waits for ever, even for a sender that has ended (kafka-python 3.0.12).
        Then the follower would never go on, and its process could not end.
        """
        result = producer._transaction_manager.begin_commit()  # noqa: SLF001 - no public method has a time limit
        producer._sender.wakeup()  # noqa: SLF001 - the same
        if not result.wait(self._connection.timeout_seconds * 1000):
            message = "the transaction was not committed in time"
            raise KafkaTimeoutError(message)

    def close(self) -> None:
        """Give up the seat. A transaction under way ends by itself, in the background. Idempotent."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self._connection.retire(producer)
