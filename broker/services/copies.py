"""The copies of leased records that one subscription may have. A damaged record stops no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import LogCorrupt
from broker.core.policy import visible_sections
from broker.services.accepted import accepted, publisher_of
from broker.services.deliveries import DeliveredCopy

if TYPE_CHECKING:
    from broker.core.entry import LogEntry
    from broker.core.leasing.terms import Lease
    from broker.core.policy import Directory
    from broker.ports import RecordCodec
    from broker.services.erasureorders import ErasureOrders
    from broker.services.subscription_log import SubscriptionLog

MOST_DAMAGED: Final = 100
"""If more records in a row are damaged, it is the log, and no more of them are set aside."""


class Copying(NamedTuple):
    """What copies are made with. ``orders``: what was ordered to be erased."""

    codec: RecordCodec
    orders: ErasureOrders


class Copies:
    """For one subscription of an agency.

    Args:
        agency: the agency.
        copying: what copies are made with.
        log: is told of each damaged record.
    """

    def __init__(self, agency: str, copying: Copying, log: SubscriptionLog) -> None:
        self._codec, self._orders = copying
        self._agency = agency
        self._log = log
        self._damaged_in_a_row = 0

    def of(self, lease: Lease, entry: LogEntry, directory: Directory) -> DeliveredCopy | LogCorrupt | None:
        """The copy of a leased entry that the agency may have.

        Returns:
            None if the agency may not have the record. LogCorrupt if the entry is not what was accepted: the record is
            to be set aside.

        Raises:
            LogCorrupt: the log is damaged, and not one record in it.
        """
        try:
            envelope, routing = accepted(entry, self._codec, self._orders)
        except LogCorrupt as damage:
            self._damaged_in_a_row += 1
            if self._damaged_in_a_row > MOST_DAMAGED:
                raise
            self._log.damaged(damage)
            return damage
        self._damaged_in_a_row = 0
        visible = visible_sections(directory, self._agency, routing)
        if visible is None:
            return None
        here = visible.difference(envelope.erased)
        withheld = tuple([section.name for section in routing.sections if section.name not in here])
        copy = envelope.with_sections(visible)
        return DeliveredCopy(lease.delivery_id, entry.position, entry.accepted_at_ms, lease.attempt, copy, withheld)

    def publisher(self, entry: LogEntry) -> str:
        """The agency that published the record of an entry. Empty if it is damaged."""
        return publisher_of(entry, self._codec, self._orders)
