"""The scrub of a broker's log, and its alarms in the operator's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker.bootstrap.log import KAFKA
from broker.bootstrap.opened import reporter
from broker.core.errors import LogCorrupt
from broker.services.scrub import Scrub, ScrubSettings
from broker.services.subscription_log import REPAIR

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.bootstrap.opened import OpenedLog
    from broker.config.broker import BrokerConfig
    from broker.core.streams import Position
    from broker.ports import Clock, RecordCodec
    from broker.services.soundness import Damage

_log = structlog.get_logger("broker")
_ANYBODY = "every agency"


def make_scrub(
    config: BrokerConfig, opened: OpenedLog, codec: RecordCodec, clock: Clock, unassigned: Callable[[Position], None]
) -> Scrub:
    """The scrub of [scrub]. ``unassigned`` is called with a damaged record that may have been anybody's."""

    def alarm(damage: Damage) -> None:
        _log.error(
            "a record is damaged in the log",
            position=str(damage.position),
            reason=LogCorrupt.reason,
            cause=damage.cause,
            agency=_ANYBODY if damage.recipients is None else " ".join(damage.recipients),
            remedy=REPAIR,
        )
        if damage.recipients is None:
            unassigned(damage.position)

    given = config.scrub
    days = config.kafka.retention_days if config.log.backend == KAFKA else 0
    return Scrub(
        log=opened.log,
        store=opened.store,
        codec=codec,
        orders=opened.orders,
        clock=clock,
        settings=ScrubSettings(
            given.bytes_per_second, given.new_bytes_per_second, given.hours * 3600, days * 86_400.0 or None
        ),
        alarm=alarm,
        report=reporter("scrub"),
    )
