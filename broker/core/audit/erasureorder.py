"""What the audit stream says of an order of erasure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from broker.core.streams import Position


class ErasureOrder(NamedTuple):
    """An order of an agency to erase sections of a record, as the audit stream records it at ``told_at``."""

    agency: str
    record_id: str
    sections: tuple[str, ...]
    told_at: Position
