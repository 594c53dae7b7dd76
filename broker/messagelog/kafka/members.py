"""Who is a member of the exchange's consumer groups: brokers, and nobody else.

A member that is no broker takes partitions and delivers nothing. Kafka names a member by the id that it chose, by its
client id and by its host, and not by its principal. So a broker signs the ids of its members
(broker/core/groupseal.py), and looks now and then whether the other members of its groups have such ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka.errors import GroupIdNotFoundError, KafkaError, TopicAuthorizationFailedError, for_code
from kafka.protocol.api_message import ApiMessage

from broker.core.errors import CaseExchangeError, LogIntruder
from broker.messagelog.kafka.connection import translate
from broker.messagelog.kafka.memberids import is_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from broker.messagelog.kafka.groups import Groups
    from broker.messagelog.kafka.links import Address
    from broker.ports import LogKeys

VERSION: Final = 0
_LOOK_SECONDS: Final = 10.0
_LANE: Final = 1
_AT_ONCE: Final = 50
"""So many groups are asked for at once. To read the answer holds up the event loop."""
_NAMED: Final = 5
_SHOWN: Final = 64
"""The limit for each text that a stranger chose, in characters."""
_FILES: Final = __package__


class ConsumerGroupDescribeRequest(ApiMessage, load_json=_FILES):  # type: ignore[misc,call-arg] # no types
    """Ask who is in some groups."""


class ConsumerGroupDescribeResponse(ApiMessage, load_json=_FILES):  # type: ignore[misc,call-arg] # no types
    """The members of each group."""


class Member(NamedTuple):
    """A member as Kafka describes it: its id, and the client id and the host of its connection."""

    member_id: str
    client_id: str
    host: str


class MembersWatch:
    """Looks every ten seconds at the groups of this process. For one event loop.

    Args:
        groups: the groups.
        keys: the checkpoint keys that the directory lists.
        report: called once for each group and set of strangers in it, and each time that something cannot be judged.
    """

    def __init__(self, groups: Groups, keys: LogKeys, report: Callable[[CaseExchangeError], None]) -> None:
        self._groups = groups
        self._keys = keys
        self._report = report
        self._known: set[tuple[str, str]] = set()
        self._intruders: dict[str, LogIntruder] = {}
        self._task: asyncio.Task[None] | None = None
        self.looks = 0
        """How often it has looked."""

    @property
    def intruder(self) -> LogIntruder | None:
        """The first group that has members who are no brokers, or None if there is none."""
        return next(iter(self._intruders.values()), None)

    def open(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="kafka members")

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - a watch that ends says of nobody any more that he is a stranger
                self._report(translate(error))
            self.looks += 1
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        groups = self._groups.coordinated()
        for group in self._intruders.keys() - groups.keys():
            del self._intruders[group]
        self._known = {(group, member) for group, member in self._known if group in groups}
        for address, named in _by_address(groups):
            # A coordinator that does not answer is looked for anew by the members. Then this asks again.
            with contextlib.suppress(KafkaError):
                request = ConsumerGroupDescribeRequest(group_ids=named, include_authorized_operations=False)
                answer = await self._groups.links.ask_in_time(address, _LANE, request, VERSION)
                for described in answer.groups:
                    try:
                        self._judge(described)
                    except Exception as error:  # noqa: BLE001 - the other groups are looked at all the same
                        self._report(translate(error))

    def _judge(self, described: Any) -> None:
        group, refusal = described.group_id, for_code(described.error_code)
        if refusal is GroupIdNotFoundError:
            told = f"the group {group} is in use with another protocol than that of brokers"
        elif refusal is TopicAuthorizationFailedError:
            told = f"a member of the group {group} wants a topic that is none of the exchange's"
        elif described.error_code:
            return
        else:
            members = [Member(each.member_id, each.client_id, each.client_host) for each in described.members]
            strangers = [each for each in members if not self._is_known(group, each.member_id)]
            told = strangers_named(group, strangers) if strangers else ""
        before = self._intruders.pop(group, None)
        if told:
            self._intruders[group] = LogIntruder(told)
            if before is None or before.message != told:
                self._report(self._intruders[group])

    def _is_known(self, group: str, member_id: str) -> bool:
        if (group, member_id) not in self._known:
            try:
                known = is_broker(group, member_id, self._keys)
            except CaseExchangeError:
                raise
            except Exception:  # noqa: BLE001 - an id that cannot be judged is a stranger's, and the others are judged
                known = False
            if not known:
                return False
            self._known.add((group, member_id))
        return True


def strangers_named(group: str, strangers: Sequence[Member]) -> str:
    """What an operator needs to know of members that are no brokers."""
    named = [
        f"{_shown(each.member_id)} of the client {_shown(each.client_id)} at {_shown(each.host)}"
        for each in sorted(strangers)[:_NAMED]
    ]
    more = f" and {len(strangers) - _NAMED} more" if len(strangers) > _NAMED else ""
    return f"members of the group {group} are no brokers of this exchange: {', '.join(named)}{more}"


def _shown(text: str) -> str:
    """Printable ASCII: a stranger chose it, and it goes to logs and terminals."""
    return ascii(text[:_SHOWN])


def _by_address(groups: Mapping[str, Address]) -> Iterable[tuple[Address, list[str]]]:
    ordered = sorted(groups, key=lambda group: (groups[group], group))
    for address, named in itertools.groupby(ordered, key=lambda group: groups[group]):
        every = list(named)
        for at in range(0, len(every), _AT_ONCE):
            yield address, every[at : at + _AT_ONCE]
