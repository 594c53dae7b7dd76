"""Membership of a consumer group. The group says who has which partition, and stores small texts for it."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from kafka import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError

from broker.core.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kafka import KafkaConsumer, TopicPartition
    from kafka.structs import OffsetAndMetadata

    from broker.messagelog.kafka.connection import KafkaConnection

SESSION_MS: Final = 6_000
"""A process that is silent for longer loses its partitions to the others."""
_HEARTBEAT_MS: Final = 1000
"""A member notices a rebalance with a heartbeat. A rebalance takes two or three of them."""
_LONGEST_POLL_GAP_MS: Final = 30_000
_JOINING_MS: Final = 200
_JOINED_MS: Final = 10
_JOINING_LOOKS: Final = 20
"""A member counts as settled after this many calls of ``look`` without news."""
LOOK_SECONDS: Final = 0.25
"""How often a settled member calls ``look``."""
_POLL_SECONDS: Final = 5.0
"""How often a settled member polls if nothing calls for it. Well below the longest gap, after which it is out."""


class Move(NamedTuple):
    """A partition was assigned (with what was committed for it, if anything) or, if not ``assigned``, taken away."""

    topic: TopicPartition
    assigned: bool
    committed: OffsetAndMetadata | None = None


class GroupMember(ConsumerRebalanceListener):  # type: ignore[misc] # the library has no types
    """One member. All in one thread. The client calls the listener's methods, which only take notes.

    Nothing is fetched through a member: its partitions are paused.

    Args:
        connection: how to reach the cluster.
        group: the group's name, without the exchange's prefix.
        poll_seconds: how often a settled member polls, even if nothing calls for it.
    """

    def __init__(self, connection: KafkaConnection, group: str, *, poll_seconds: float = _POLL_SECONDS) -> None:
        self._connection = connection
        self._group = f"{connection.prefix}.{group}"
        self._consumer: KafkaConsumer | None = None
        self._moves: deque[Move] = deque()
        # The assigned partitions, and the member id that each was assigned to.
        self._owned: dict[TopicPartition, str] = {}
        self._quiet = 0
        self._poll_seconds = poll_seconds
        self._next_poll = 0.0

    def join(self, topics: Sequence[str]) -> None:
        """Ask to become a member. ``look`` returns the assignments later.

        Raises:
            kafka.errors.KafkaError
        """
        self._consumer = self._connection.consumer(
            group_id=self._group,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            max_poll_interval_ms=_LONGEST_POLL_GAP_MS,
            partition_assignment_strategy=[CooperativeStickyAssignor],
        )
        self._consumer.subscribe(list(topics), listener=self)

    @property
    def settled(self) -> bool:
        """Whether nothing has moved for a while. Then the next ``look`` can wait."""
        return self._quiet >= _JOINING_LOOKS

    @property
    def moving(self) -> bool:
        """Whether something moved that ``look`` has not returned yet."""
        return bool(self._moves)

    def look(self) -> list[Move]:
        """Take part in the group, and return what moved, in order.

        Raises:
            kafka.errors.KafkaError: no move is lost. Call again.
            LogUnavailable: the member has left.
        """
        consumer = self._joined()
        joining = self._joining(consumer)
        if self.settled and not joining and not self._moves and time.monotonic() < self._next_poll:
            # The client sends heartbeats by itself, and an answer that needs a poll makes it join again. A poll costs a
            # millisecond, and a thousand subscriptions are a thousand members.
            return []
        consumer.poll(_JOINING_MS if joining else _JOINED_MS)
        self._next_poll = time.monotonic() + self._poll_seconds
        self._give_back_what_was_lost(consumer)
        found: list[Move] = []
        while self._moves:
            try:
                move = self._looked_up(consumer, self._moves[0])
            except KafkaError:
                # This move stays first in the queue.
                if found:
                    break
                raise
            self._moves.popleft()
            if move is not None:
                found.append(move)
        self._quiet = 0 if found or self._joining(consumer) else self._quiet + 1
        return found

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
        """Whether these are committed. If not, the group must settle first, and the partitions may be lost.

        Raises:
            kafka.errors.KafkaError: it is unknown whether they are committed.
        """
        if not offsets:
            return True
        try:
            self._joined().commit(dict(offsets), timeout_ms=int(self._connection.timeout_seconds * 1000))
        except (CommitFailedError, RebalanceInProgressError):
            return False
        return True

    def leave(self) -> None:
        """Give up every partition and leave the group. Idempotent."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=1000)

    # --- called by the client's own thread, within a poll ---

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """See ``ConsumerRebalanceListener``."""
        if self._consumer is not None:
            self._consumer.pause(*assigned)
            self._owned |= dict.fromkeys(assigned, self._consumer.group_metadata().member_id)
        self._moves.extend(Move(topic, assigned=True) for topic in assigned)

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """See ``ConsumerRebalanceListener``."""
        self._give_up(revoked)

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        """See ``ConsumerRebalanceListener``."""
        self._give_up(lost)

    def _give_up(self, topics: Sequence[TopicPartition]) -> None:
        for topic in topics:
            self._owned.pop(topic, None)
        self._moves.extend(Move(topic, assigned=False) for topic in topics)

    def _give_back_what_was_lost(self, consumer: KafkaConsumer) -> None:
        """If the group had forgotten this member and took it in as another, note its partitions as assigned again.

        A member that is forgotten while it joins keeps its partitions in the library (kafka-python 3.0.12,
        join_group_async). But others may have had them meanwhile, and may have committed for them.
        """
        if self._joining(consumer):
            return
        member = consumer.group_metadata().member_id
        for topic in [topic for topic, owner in self._owned.items() if owner != member]:
            self._owned[topic] = member
            self._moves += [Move(topic, assigned=False), Move(topic, assigned=True)]

    def _joined(self) -> KafkaConsumer:
        if self._consumer is None:
            message = "the consumer group was left"
            raise LogUnavailable(message)
        return self._consumer

    def _joining(self, consumer: KafkaConsumer) -> bool:
        """Whether the member is joining the group, perhaps again. The library has no public method for this.

        The library drops an answer that comes while nobody polls (kafka-python 3.0.12, join_group_async). So polling
        must not pause. If a change of metadata made the member join, the library does not even ask again.
        """
        coordinator = consumer._coordinator  # noqa: SLF001
        if coordinator.rejoining and not coordinator.need_rejoin():
            coordinator.request_rejoin()
        return bool(coordinator.need_rejoin())

    def _looked_up(self, consumer: KafkaConsumer, move: Move) -> Move | None:
        if not move.assigned:
            return move
        if move.topic not in consumer.assignment():
            # It was taken away again before the caller saw it.
            return None
        timeout_ms = int(self._connection.timeout_seconds * 1000)
        return move._replace(committed=consumer.committed(move.topic, metadata=True, timeout_ms=timeout_ms))
