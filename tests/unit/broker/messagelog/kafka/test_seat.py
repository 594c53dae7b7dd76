from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka.producer.transaction_manager import TransactionalRequestResult

from broker.core.errors import LogUnavailable
from broker.messagelog.kafka.connection import KafkaConnection
from broker.messagelog.kafka.seat import Seat


class StalledProducer:
    """A producer as the library leaves it when its sender ends between a record and its commit."""

    def __init__(self) -> None:
        self.asked = 0
        self._transaction_manager = SimpleNamespace(begin_commit=self._begin_commit)
        self._sender = SimpleNamespace(wakeup=lambda: None)

    def begin_transaction(self) -> None: ...

    def send(self, *_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(get=lambda _timeout: None)

    def _begin_commit(self) -> TransactionalRequestResult:
        self.asked += 1
        return TransactionalRequestResult()


def test_a_commit_that_nobody_answers_ends_in_time_and_is_said_to_be_unknown() -> None:
    seat, producer = Seat(KafkaConnection(["localhost:1"], None, "test", 0.05), 0), StalledProducer()
    seat._producer = producer
    with pytest.raises(LogUnavailable):
        seat.publish(b"extension")
    assert producer.asked == 1
