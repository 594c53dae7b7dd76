"""Who was handed what, as the audit stream records it: check (6) of broker/core/audit.py, and the list of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.findings import error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from broker.core.findings import Finding, RecordedDelivery
    from broker.core.streams import Position

MAX_LISTED: Final = 1000
"""The limit for the deliveries that a report lists one by one. All are counted."""


class HandedOver(NamedTuple):
    """Copies of one record that left the broker for one agency.

    ``record_id`` is empty if the bundle does not have the record. ``times`` counts the deliveries, ``told_at`` is the
    audit record of the first one, and ``withheld_sections`` were left out of it.
    """

    agency: str
    position: Position
    record_id: str
    withheld_sections: tuple[str, ...]
    told_at: Position
    times: int


class AgencyShare(NamedTuple):
    """What one agency got: deliveries, and how many of them were without some section."""

    agency: str
    deliveries: int
    with_withheld: int


class Handovers(NamedTuple):
    """Every agency's share, and the first records in the order of the audit stream, up to ``MAX_LISTED``."""

    shares: tuple[AgencyShare, ...] = ()
    listed: tuple[HandedOver, ...] = ()
    left_out: int = 0
    """Deliveries of records that are not listed."""


class RecordedDeliveries:
    """Takes the deliveries of a bundle, in its order."""

    def __init__(self) -> None:
        self._all: list[RecordedDelivery] = []

    def __len__(self) -> int:
        return len(self._all)

    def take(self, deliveries: Iterable[RecordedDelivery]) -> None:
        """Take the next ones."""
        self._all.extend(deliveries)

    def findings(self, addressed: Mapping[Position, tuple[str, ...]]) -> Iterator[Finding]:
        """Deliveries to agencies that the record at the position is not addressed to."""
        for delivery in self._all:
            recipients = addressed.get(delivery.position)
            # A record outside the bundle cannot be judged. That is no fault of the delivery.
            if recipients is not None and delivery.agency not in recipients:
                message = f"the record at {delivery.position} was delivered to {delivery.agency}, not addressed by it"
                yield error("DELIVERY_ASTRAY", message, position=delivery.told_at)

    def handovers(self, records: Mapping[bytes, Position]) -> Handovers:
        """Who got what. ``records`` has the position of each record id (16 bytes) in the bundle."""
        shares: dict[str, AgencyShare] = {}
        first: dict[tuple[str, Position], RecordedDelivery] = {}
        times: dict[tuple[str, Position], int] = {}
        left_out = 0
        for delivery in self._all:
            share = shares.get(delivery.agency, AgencyShare(delivery.agency, 0, 0))
            withheld = share.with_withheld + bool(delivery.withheld_sections)
            shares[delivery.agency] = AgencyShare(delivery.agency, share.deliveries + 1, withheld)
            key = (delivery.agency, delivery.position)
            if key in first or len(first) < MAX_LISTED:
                first.setdefault(key, delivery)
                times[key] = times.get(key, 0) + 1
            else:
                left_out += 1
        wanted = {position for _, position in first}
        ids = {position: record_id for record_id, position in records.items() if position in wanted}
        listed = (
            HandedOver(agency, at, _text(ids.get(at)), made.withheld_sections, made.told_at, times[agency, at])
            for (agency, at), made in first.items()
        )
        return Handovers(tuple(share for _, share in sorted(shares.items())), tuple(listed), left_out)


def _text(record_id: bytes | None) -> str:
    """The usual form of a record id."""
    if record_id is None:
        return ""
    digits = record_id.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
