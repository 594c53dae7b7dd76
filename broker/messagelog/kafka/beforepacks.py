"""Topics of a development version before packs are refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import LogSchemaUnsupported
from broker.messagelog.kafka.judge import BEFORE_PACKS

if TYPE_CHECKING:
    from broker.messagelog.kafka.index import KafkaIndex
    from broker.messagelog.tail import Tail


async def refuse_the_format_before_packs(index: KafkaIndex, tail: Tail, prefix: str) -> None:
    """An exchange that has entries cannot be stopped in this way: then a record in that format is only a stray.

    Raises:
        LogSchemaUnsupported: there is a record in that format, and no entry.
        LogUnavailable
    """
    if any(tail.ends.values()):
        return
    for partition in tail.ends:
        if any(stray.reason == BEFORE_PACKS for stray in await index.strays(partition)):
            message = (
                f"the topics under the prefix {prefix} are of a development version before packs: choose another prefix"
            )
            raise LogSchemaUnsupported(message, partition=str(partition))
