"""Membership of a consumer group. The group says who has which partition, and stores small texts for it.

The member speaks Kafka 4's group protocol (KIP-848). The coordinator assigns, and takes a partition away from one
member before it gives it to another. No answer waits for other members, so many members share a connection. The older
protocol holds an answer back until every member of the group has joined. Then a connection for each member is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka.errors import (
    CoordinatorLoadInProgressError,
    FencedMemberEpochError,
    KafkaError,
    NodeNotReadyError,
    RetriableError,
    StaleMemberEpochError,
    UnknownMemberIdError,
    UnknownTopicIdError,
)

from broker.core.errors import LogUnavailable
from broker.messagelog.kafka import offsets
from broker.messagelog.kafka.connection import pause, translate
from broker.messagelog.kafka.groups import HEARTBEATS, LANES
from broker.messagelog.kafka.heartbeats import VERSION, Standing, heartbeat, partitions_of
from broker.messagelog.kafka.links import NUMBER_BYTES, framed, parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kafka import TopicPartition
    from kafka.structs import OffsetAndMetadata

    from broker.core.errors import CaseExchangeError
    from broker.messagelog.kafka.groups import Groups
    from broker.messagelog.kafka.links import Address

_JOINING: Final = 0
_LEAVING: Final = -1
_QUICK_SECONDS: Final = 0.05
"""After news a member asks again soon, then less and less often."""
_LEAVE_SECONDS: Final = 1.0
_OUT: Final = (FencedMemberEpochError, UnknownMemberIdError)
_SOON: Final = (*_OUT, StaleMemberEpochError, RetriableError)
_NOT_STORED: Final = (*_OUT, StaleMemberEpochError, CoordinatorLoadInProgressError, NodeNotReadyError)
"""Kafka refused a commit before it stored anything, or was not asked. After any other error it may be stored."""


class Move(NamedTuple):
    """A partition was assigned (with what was committed for it, if anything) or, if not ``assigned``, taken away.

    ``number`` is that of the assignment that begins or ends. A member never uses a number again.
    """

    topic: TopicPartition
    assigned: bool
    number: int
    committed: OffsetAndMetadata | None = None


class GroupMember:
    """One member. For one event loop.

    Args:
        groups: what the members of the process share.
        group: the group's name, without the exchange's prefix.
        topics: the topics whose partitions the group shares out.
        moved: called with what moved, in order.
        failed: called with every refusal that will not pass by itself. The member goes on trying.
    """

    def __init__(
        self,
        groups: Groups,
        group: str,
        topics: Sequence[str],
        *,
        moved: Callable[[Sequence[Move]], None],
        failed: Callable[[CaseExchangeError], None],
    ) -> None:
        self.group = f"{groups.connection.prefix}.{group}"
        self.topics = tuple(topics)
        self.address: Address | None = None
        self.due = 0.0
        self._groups = groups
        self._moved = moved
        self._failed = failed
        self._id = groups.new_member_id(self.group)
        self._lane = 1 + zlib.crc32(self.group.encode()) % LANES
        self._joined: asyncio.Future[None] | None = None
        self._epoch = _JOINING
        self._asking: Any = None
        # A heartbeat that says nothing new, as it goes onto the wire, and the answer that says nothing new.
        self._quiet: tuple[Any, bytes] | None = None
        self._no_news = b""
        # Whether the next heartbeat says everything that the coordinator must know.
        self._whole = True
        self._pause = self._interval = _QUICK_SECONDS
        self._numbers = 0
        self._owned: dict[TopicPartition, int] = {}
        self._told: set[TopicPartition] = set()
        self._telling: asyncio.Task[None] | None = None
        self._left = False

    async def join(self) -> None:
        """Become a member. The partitions are assigned later.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        self._joined = asyncio.get_running_loop().create_future()
        self._groups.add(self)
        try:
            async with asyncio.timeout(self._groups.connection.timeout_seconds):
                await self._joined
        except TimeoutError:
            message = "Kafka did not take this process into the consumer group in time"
            raise LogUnavailable(message) from None
        finally:
            self._joined = None

    async def commit(self, states: Mapping[TopicPartition, tuple[int, OffsetAndMetadata]]) -> offsets.Outcome:
        """Commit for partitions, each under the number of its assignment. An assignment that has ended is left out.

        Raises:
            kafka.errors.KafkaError: Kafka refuses.
        """
        held = {topic: stored for topic, (number, stored) in states.items() if self._owned.get(topic) == number}
        if not held:
            return offsets.Outcome()
        try:
            offsets.check_committed(await self._ask(offsets.commit_request(self.group, self._id, self._epoch, held)))
        except _SOON as error:
            self._hear(error)
            return offsets.Outcome(unknown=frozenset(() if isinstance(error, _NOT_STORED) else held), again=True)
        return offsets.Outcome(stored=frozenset(held))

    async def leave(self) -> None:
        """Give up every partition and leave the group. Idempotent."""
        if self._left:
            return
        self._left = True
        self._owned.clear()
        self._groups.remove(self)
        if self._telling is not None:
            self._telling.cancel()
        if self.address is not None and (self._epoch != _JOINING or self._asking is not None):
            self._epoch = _LEAVING
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await self._groups.links.ask(self.address, self._lane, self._heartbeat(whole=False), VERSION)

    # --- called by ``Groups`` ---

    def beat(self) -> None:
        """Say to the coordinator that the member is there."""
        if self.address is None or self._asking is not None:
            return
        # A request to join waits until the coordinator has stored it.
        lane = self._lane if self._epoch == _JOINING else HEARTBEATS
        if self._whole or self._quiet is None:
            self._asking = self._heartbeat(whole=self._whole)
            frame = framed(self._asking, VERSION)
            self._quiet = None if self._whole else (self._asking, frame)
        else:
            self._asking, frame = self._quiet
        self._groups.links.put(self.address, lane, frame, self._heard)

    def missed(self, error: Exception) -> None:
        """Kafka did not answer, or refused, or the answer could not be read."""
        if self._left:
            return
        self._whole = True
        if isinstance(error, _OUT):
            # Others may have the partitions by now.
            self._epoch = _JOINING
            self._own(set())
            self.due = time.monotonic() + _QUICK_SECONDS
            return
        self.due = time.monotonic() + pause()
        if isinstance(error, CoordinatorLoadInProgressError):
            return
        if isinstance(error, UnknownTopicIdError):
            self._groups.topics_changed()
        self.address = None
        if isinstance(error, RetriableError):
            return
        if self._joined is not None and not self._joined.done():
            self._joined.set_exception(translate(error))
        elif self._joined is None:
            self._failed(translate(error))

    # --- heartbeats ---

    def _heartbeat(self, *, whole: bool) -> Any:
        standing = Standing(self.topics, self._owned, self._groups.topics) if whole else None
        return heartbeat(self.group, self._id, self._epoch, standing)

    def _heard(self, answer: bytes | KafkaError) -> None:
        request, self._asking = self._asking, None
        if self._left:
            return
        if isinstance(answer, KafkaError):
            self.missed(answer)
            return
        try:
            self._take_in(request, answer)
        except Exception as error:  # noqa: BLE001 - an answer of any form must not end the member
            self.missed(error)
            return
        if self._whole:
            # The coordinator waits to hear that this member has given up, or taken, its partitions.
            self._speak_now()
        else:
            self.due = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, self._interval)
        if self._joined is not None and not self._joined.done():
            self._joined.set_result(None)

    def _take_in(self, request: Any, answer: bytes) -> None:
        quiet = self._quiet is not None and request is self._quiet[0]
        if quiet and answer[NUMBER_BYTES:] == self._no_news:
            return
        response = parsed(request, answer)
        offsets.check([response.error_code])
        self._whole = False
        self._interval = response.heartbeat_interval_ms / 1000
        if self._epoch != response.member_epoch:
            self._epoch, self._quiet = response.member_epoch, None
        if response.assignment is None:
            self._no_news = answer[NUMBER_BYTES:]
        else:
            self._own(partitions_of(response.assignment, self._groups.topics))

    # --- partitions ---

    def _own(self, assigned: set[TopicPartition]) -> None:
        lost = {topic: number for topic, number in self._owned.items() if topic not in assigned}
        new = assigned - self._owned.keys()
        if not lost and not new:
            return
        self._whole = True
        for topic in lost:
            del self._owned[topic]
        for topic in sorted(new):
            self._numbers += 1
            self._owned[topic] = self._numbers
        # What the caller has not been told yet is not taken away from it either.
        ended = [Move(topic, assigned=False, number=lost[topic]) for topic in sorted(lost) if topic in self._told]
        self._told -= lost.keys()
        if ended:
            self._moved(ended)
        if new and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell(), name=f"kafka offsets {self.group}")

    async def _tell(self) -> None:
        """Tell the caller what was assigned, as soon as it is known what was committed for it.

        If the caller cannot take it, it is told why, and no partition waits unseen.
        """
        while wanted := {topic: number for topic, number in self._owned.items() if topic not in self._told}:
            try:
                committed = offsets.fetched(await self._ask(offsets.fetch_request(self.group, wanted)))
            except Exception as error:  # noqa: BLE001 - whatever Kafka answered, the partitions are asked for again
                self._hear(error)
                await asyncio.sleep(pause())
                continue
            begun = [
                Move(topic, assigned=True, number=number, committed=committed.get(topic))
                for topic, number in wanted.items()
                if self._owned.get(topic) == number
            ]
            self._told |= {move.topic for move in begun}
            try:
                self._moved(begun)
            except Exception as error:  # noqa: BLE001 - the caller must learn of any error
                self._failed(translate(error))

    async def _ask(self, request: Any) -> Any:
        if self.address is None:
            raise NodeNotReadyError
        return await self._groups.links.ask(self.address, self._lane, request, offsets.VERSION)

    def _hear(self, error: Exception) -> None:
        """Ask the coordinator soon how things are, if a request shows that the member does not know it."""
        if not isinstance(error, _SOON):
            self._failed(translate(error))
        elif self._asking is None and self.address is not None:
            self._speak_now()

    def _speak_now(self) -> None:
        self._pause = _QUICK_SECONDS
        self.due = 0.0
        self._groups.wake()
