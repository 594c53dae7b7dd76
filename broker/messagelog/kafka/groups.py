"""What all members of a process share: the connections, the nodes that coordinate their groups, and when each speaks.

So a thousand idle members cost one task and a few connections.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, Protocol

from kafka.errors import CoordinatorNotAvailableError, NoError, for_code
from kafka.protocol.metadata import FindCoordinatorRequest, MetadataRequest

from broker.messagelog.kafka.links import Address, Links
from broker.messagelog.kafka.memberids import sealed_member_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.messagelog.kafka.connection import KafkaConnection
    from broker.ports import NoteSigner

HEARTBEATS: Final = 0
"""The lane of requests that Kafka answers at once. Members must never wait behind others' commits."""
LANES: Final = 4
"""The other lanes, from 1 on. Kafka has one request of a connection in hand at a time."""
FIND_VERSION: Final = 4
_METADATA_VERSION: Final = 12
_TICK_SECONDS: Final = 0.1


class _Member(Protocol):
    """What the groups need to know of a member."""

    group: str
    topics: tuple[str, ...]
    address: Address | None
    due: float

    def beat(self) -> None:
        """Say to the coordinator that the member is there."""

    def missed(self, error: Exception) -> None:
        """Kafka did not answer, or refused, or the answer could not be read."""


class Groups:
    """See the module. For one event loop.

    Args:
        connection: how to reach the cluster.
        signer: the checkpoint key, which signs the ids of members, or None for a process that joins no group.
    """

    def __init__(self, connection: KafkaConnection, signer: NoteSigner | None) -> None:
        self.connection = connection
        self._signer = signer
        self.links = Links(connection)
        self.topics: dict[uuid.UUID, str] = {}
        self._topics_change = False
        self._members: dict[_Member, None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._finding: asyncio.Task[None] | None = None

    def new_member_id(self, group: str) -> str:
        """An id that no member ever had, and that shows that a broker made it."""
        random = uuid.uuid4().hex
        return random if self._signer is None else sealed_member_id(group, random, self._signer)

    def coordinated(self) -> dict[str, Address]:
        """The groups that this process has members in, each with its coordinator."""
        return {member.group: member.address for member in self._members if member.address is not None}

    def add(self, member: _Member) -> None:
        """Let a member speak when it is due."""
        self._members[member] = None
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="kafka groups")
        self._wake.set()

    def remove(self, member: _Member) -> None:
        """Let a member be silent. Idempotent."""
        self._members.pop(member, None)

    def wake(self) -> None:
        """A member is due earlier than it was."""
        self._wake.set()

    def topics_changed(self) -> None:
        """A member was assigned a topic whose name is not known."""
        self._topics_change = True

    async def close(self) -> None:
        """Close the connections. A member that has not left stays in its group until its session ends. Idempotent."""
        tasks = [task for task in (self._task, self._finding) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.links.close()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            self.links.end_silent()
            now = time.monotonic()
            due = [member for member in self._members if member.due <= now]
            lost = [member for member in due if member.address is None]
            if lost and (self._finding is None or self._finding.done()):
                self._finding = asyncio.create_task(self._find(lost), name="kafka coordinators")
            for member in due:
                if member.address is None:
                    continue
                try:
                    member.beat()
                except Exception as error:  # noqa: BLE001 - the other members must go on speaking
                    member.missed(error)
            if self._members:
                asyncio.get_running_loop().call_later(_TICK_SECONDS, self._wake.set)
            await self._wake.wait()

    async def _find(self, lost: Sequence[_Member]) -> None:
        """Find the coordinators of these members' groups."""
        try:
            await self._know_topics(member.topics for member in lost)
            request = FindCoordinatorRequest(key_type=0, coordinator_keys=list({member.group for member in lost}))
            answer = await self.links.ask_any(1, request, FIND_VERSION)
            found = {each.key: each for each in answer.coordinators}
        except Exception as error:  # noqa: BLE001 - the members must learn of any error
            for member in lost:
                member.missed(error)
            return
        for member in lost:
            if member.group not in found:
                member.missed(CoordinatorNotAvailableError())
                continue
            each = found[member.group]
            refusal = for_code(each.error_code)
            if refusal is NoError:
                member.address = Address(each.host, each.port)
            else:
                member.missed(refusal())
        self._wake.set()

    async def _know_topics(self, wanted: Iterable[Sequence[str]]) -> None:
        known = set(self.topics.values())
        names = {name for topics in wanted for name in topics}
        if names <= known and not self._topics_change:
            return
        topic: Any = MetadataRequest.MetadataRequestTopic
        asked = [topic(name=name) for name in names | known]
        request = MetadataRequest(topics=asked, allow_auto_topic_creation=False)
        answer = await self.links.ask_any(1, request, _METADATA_VERSION)
        self.topics = {each.topic_id: each.name for each in answer.topics if each.error_code == 0}
        self._topics_change = False
