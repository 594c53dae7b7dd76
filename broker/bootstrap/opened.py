"""What an opened log is, whichever backend it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from broker.core.errors import CaseExchangeError, LogError
from broker.core.streams import AUDIT, CASES, DNA, NOTICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.config.broker import BrokerConfig
    from broker.ports import CheckpointBoard, CheckpointStore, MessageLog, NoteSigner

_log = structlog.get_logger("broker")


class OpenedLog(NamedTuple):
    """A log and what belongs to it."""

    log: MessageLog
    store: CheckpointStore
    board: CheckpointBoard
    signer: NoteSigner


def reporter(what: str) -> Callable[[CaseExchangeError], None]:
    """Says in the log what failed; what will not be tried again is critical."""

    def report(error: CaseExchangeError) -> None:
        tell = _log.critical if isinstance(error, LogError) else _log.error
        tell(f"{what} failed", reason=error.reason, cause=error.message, remedy=error.remedy)

    return report


def partitions(config: BrokerConfig) -> dict[str, int]:
    """How many partitions each stream has."""
    return {
        CASES: config.log.cases_partitions,
        DNA: config.log.dna_partitions,
        NOTICES: config.log.notices_partitions,
        AUDIT: 1,
    }
