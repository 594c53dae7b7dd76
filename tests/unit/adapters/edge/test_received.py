"""What the spool keeps of the copies that an agency was handed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.edge.spool import Spool
from broker.core.audit.received import ReceivedCopy
from broker.core.streams import Position

if TYPE_CHECKING:
    from pathlib import Path

AT = Position("cases", 2, 7)


def copy(number: int, *sections: str, at_ms: int = 1000, digest: bytes = b"d" * 32) -> ReceivedCopy:
    return ReceivedCopy(f"01990000-0000-7000-8000-{number:012d}", digest, AT, at_ms, sections)


def test_each_copy_is_kept_once_in_its_order_over_restarts(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    # It comes again with other sections, or as another record; and a copy without a section is one too.
    kept = [copy(2, "case", "photos"), copy(1), copy(2, "case"), copy(2, "case", digest=b"e" * 32)]
    for each in kept:
        spool.received.add(each)
    spool.received.add(copy(2, "photos", "case", at_ms=2000))
    spool.close()
    spool = Spool(tmp_path / "spool.db")
    assert list(spool.received.all(at_once=3)) == [kept[:3], kept[3:]]
    spool.close()
