"""An opened log, with any backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from broker.core.errors import CaseExchangeError, LogError, LogIntruder
from broker.core.streams import AUDIT, CASES, DNA, NOTICES, every_partition
from broker.core.tree.origin import checkpoint_origin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from broker.config.broker import BrokerConfig
    from broker.core.streams import StreamPartition
    from broker.ports import CheckpointBoard, CheckpointStore, LogErasure, LogRepair, MessageLog, NoteSigner
    from broker.services.erasureorders import ErasureOrders

_log = structlog.get_logger("broker")


async def _nothing() -> None:
    """Do nothing: the embedded log has one process, which begins when it opens the log."""


class OpenedLog(NamedTuple):
    """A log and what belongs to it.

    ``orders``: what was ordered to be erased, as soon as that was read from the log.
    ``erasure``: removes bytes of a record. None: the log cannot.
    ``lag_seconds``: how long this process may be behind others on the same log. 0: there are no others.
    ``begun``: to be called when the directory in force is in the log, and before anything else is written.
    LogOfAnotherExchange: another exchange was there first.
    """

    log: MessageLog
    store: CheckpointStore
    board: CheckpointBoard
    signer: NoteSigner
    orders: ErasureOrders
    repair: LogRepair | None = None
    erasure: LogErasure | None = None
    lag_seconds: float = 0.0
    begun: Callable[[], Awaitable[None]] = _nothing

    def origins(self, trust_domain: str) -> dict[StreamPartition, str]:
        """The origin of each partition's checkpoints."""
        log = self.log
        return {
            one: checkpoint_origin(trust_domain, one, log.log_id(one.stream)) for one in every_partition(log.partitions)
        }


def reporter(what: str) -> Callable[[CaseExchangeError], None]:
    """Return a function that logs errors. An error after which nothing is tried again is critical."""

    def report(error: CaseExchangeError) -> None:
        write = _log.critical if isinstance(error, LogError) else _log.error
        happened = f"{what}: an intruder" if isinstance(error, LogIntruder) else f"{what} failed"
        write(happened, reason=error.reason, cause=error.message, remedy=error.remedy)

    return report


def tell_partitions(log: MessageLog, promised: Mapping[str, int]) -> None:
    """Log an error if the directory says that a stream has another number of partitions than the log.

    Records go on: it is a mistake in the directory. But auditors would find that partitions are missing.
    """
    for stream, number in promised.items():
        if number != log.partitions(stream):
            cause = f"the log has {log.partitions(stream)} partitions of {stream}, and {number} by the directory"
            _log.error("auditors will miss partitions that there are not, or the other way round", cause=cause)


def partitions(config: BrokerConfig) -> dict[str, int]:
    """The number of partitions of each stream."""
    return {
        CASES: config.log.cases_partitions,
        DNA: config.log.dna_partitions,
        NOTICES: config.log.notices_partitions,
        AUDIT: 1,
    }
