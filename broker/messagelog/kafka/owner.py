"""Whose topics these are: two exchanges must not share them.

The first thing that an exchange writes is the directory in force, in a pack that its checkpoint key seals. So the
topics belong to the exchange whose sealed directory version comes first in the audit stream. Nothing else counts:
another exchange's record that comes later is a stray, and so is what nobody sealed. A reader that does not know the
other exchange's keys takes them from that directory version itself: its seal proves that both are of one exchange
(docs/adr/0047-whose-topics.md).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from kafka.errors import KafkaError

from broker.core.errors import (
    CaseExchangeError,
    LogOfAnotherExchange,
    LogSchemaUnsupported,
    LogUnavailable,
    ProofInvalid,
)
from broker.core.incarnations import NONE_DECLARED
from broker.core.sections import unsalted
from broker.core.streams import AUDIT, DIRECTORY_VERSION, StreamPartition
from broker.messagelog.kafka.checkpointreader import CheckpointReader
from broker.messagelog.kafka.connection import translate
from broker.messagelog.kafka.fetcher import Fetcher
from broker.messagelog.kafka.judge import PackJudge, SealedPack
from broker.messagelog.kafka.leaders import BEGIN, END, Leaders
from broker.messagelog.kafka.packs import Packed, entries_of, parse_pack
from broker.messagelog.kafka.topics import topic_id_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from broker.messagelog.kafka.connection import KafkaConnection
    from broker.ports import DirectoryClaim, LogKeys, RecordCodec

_AUDIT: Final = StreamPartition(AUDIT, 0)


class TopicsOwner:
    """Looks whose the topics are. For one event loop.

    Args:
        connection: how to reach the cluster.
        partitions: the partitions of all streams, in the order of the checkpoints topic's partitions.
        trust_domain: this exchange's.
        keys: the checkpoint keys that this exchange's directory lists.
        codec: reads audit records.
        claim: reads what a directory says of its exchange. None: nothing.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        partitions: Sequence[StreamPartition],
        *,
        trust_domain: str,
        keys: LogKeys,
        codec: RecordCodec,
        claim: Callable[[bytes], DirectoryClaim | None],
    ) -> None:
        self._connection = connection
        self._partitions = partitions
        self._trust_domain = trust_domain
        self._keys = keys
        self._codec = codec
        self._claim = claim

    async def check(self) -> None:
        """Refuse topics of another exchange. Nothing is written. Topics that nobody owns yet are not refused.

        Time: it reads the audit stream up to the first directory version that somebody sealed.

        Raises:
            LogOfAnotherExchange: it names the prefix and the other exchange.
            LogUnavailable, LogAccessDenied
        """
        leaders = Leaders(self._connection, [_AUDIT])
        try:
            await leaders.refresh()
            topic_id = leaders.topic_id(_AUDIT)
            if topic_id is None:
                return
            log_id = topic_id_text(topic_id)
            begin, end = (await leaders.offsets(BEGIN))[_AUDIT], (await leaders.offsets(END))[_AUDIT]
            if begin:
                # Where records expire, what was first is gone. Checkpoints are kept for ever.
                await self._check_signed()
                return
            async for record in self._records(leaders, begin, end):
                # To read a large pack would hold up the event loop.
                owner = await asyncio.to_thread(self._owner, record, log_id)
                if owner is not None:
                    self._check_ours(owner)
                    return
        except KafkaError as error:
            raise translate(error) from error
        finally:
            await leaders.close()

    async def _records(self, leaders: Leaders, begin: int, end: int) -> AsyncIterator[Any]:
        """The Kafka records of the audit stream, up to the end that it had."""
        fetcher = Fetcher(leaders, {_AUDIT: begin})
        try:
            at = begin
            while at < end:
                async with asyncio.timeout(self._connection.timeout_seconds):
                    fetched = await fetcher.next()
                for each in fetched:
                    for record in each.records():
                        yield record
                    at = each.next_offset
        except TimeoutError:
            message = "the audit stream could not be read in time"
            raise LogUnavailable(message) from None
        finally:
            await fetcher.close()

    def _owner(self, record: Any, log_id: str) -> DirectoryClaim | Literal["ours"] | None:
        """What a Kafka record says of whose the topics are. None: nothing."""
        sealed = self._sealed(record, log_id, self._keys)
        packed = _listed(record) if sealed is None else [entry.packed for entry in sealed.entries if entry.sound]
        claim = next((found for one in packed if (found := self._claim_of(one)) is not None), None)
        if sealed is not None:
            # A checkpoint key can be a copy of another exchange's.
            return claim if claim is not None and claim.trust_domain != self._trust_domain else "ours"
        return claim if claim is not None and self._is_sealed(record, log_id, claim.keys) else None

    def _sealed(self, record: Any, log_id: str, keys: LogKeys) -> SealedPack | None:
        judged = PackJudge({AUDIT: log_id}, keys).judge(_AUDIT, record)
        return judged if isinstance(judged, SealedPack) else None

    def _is_sealed(self, record: Any, log_id: str, keys: LogKeys) -> bool:
        try:
            return self._sealed(record, log_id, keys) is not None
        except LogSchemaUnsupported:
            # Another exchange may be newer than this program.
            return True

    def _claim_of(self, packed: Packed) -> DirectoryClaim | None:
        if packed.entry.kind != DIRECTORY_VERSION:
            return None
        try:
            (section,) = self._codec.decode_envelope(packed.entry.value).sections
        except (CaseExchangeError, ValueError):
            return None
        return self._claim(unsalted(section))

    def _check_ours(self, owner: DirectoryClaim | Literal["ours"]) -> None:
        if owner == "ours" or owner.ours:
            return
        keys = ", ".join(owner.log_keys)
        self._refuse(f"the exchange {owner.exchange} of the trust domain {owner.trust_domain} (checkpoint keys {keys})")

    def _refuse(self, other: str) -> NoReturn:
        message = f"the topics with the prefix {self._connection.prefix} belong to {other}"
        raise LogOfAnotherExchange(message)

    async def _check_signed(self) -> None:
        """Refuse an audit stream without its beginning, if this exchange has signed no checkpoint of it."""
        reader = CheckpointReader(
            self._connection,
            self._partitions,
            trust_domain=self._trust_domain,
            keys=self._keys,
            # Also a checkpoint of a former incarnation shows whose the topics are.
            declared=lambda: NONE_DECLARED,
            # What others wrote there is reported when the board reads it.
            report=lambda _: None,
        )
        try:
            await reader.open()
            if not reader.largest[_AUDIT]:
                strangers = ", ".join(sorted(reader.strangers)) or "unknown"
                self._refuse(f"another exchange (the trust domain in its checkpoints: {strangers})")
        finally:
            await reader.close()


def _listed(record: Any) -> list[Packed]:
    """What a Kafka record lists, if it is a pack. Nobody has checked its seal."""
    pack = parse_pack(record.value or b"")
    if pack is None:
        return []
    try:
        return entries_of(pack, _AUDIT)
    except ProofInvalid:
        return []
