"""Records are kept after their receipts, for some days, and can go again in their order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from adapters.edge.sent import sweep
from adapters.edge.spool import Spool
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DAY_MS = 86_400_000


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.db")
    yield opened
    opened.close()


def sent(spool: Spool, record_id: str, case_id: str, at_ms: int) -> None:
    with spool.transaction():
        spool.add_outgoing(record_id, case_id, record_id.encode())
    settled(spool, record_id, at_ms)


def settled(spool: Spool, record_id: str, at_ms: int) -> None:
    with spool.transaction():
        spool.sent.keep(record_id, at_ms)
        spool.add_receipt(record_id, b"receipt %d" % at_ms)


def with_receipt(envelope: bytes, receipts: Sequence[bytes]) -> bytes:
    return b" with ".join([envelope, *receipts])


def ready(spool: Spool) -> list[str]:
    return [item.record_id for item in spool.holds.ready(100, 1 << 20, 0, 0)]


def test_what_is_sent_again_goes_before_what_waits_and_one_of_a_case_at_a_time(spool: Spool) -> None:
    for at, (record_id, case_id) in enumerate((("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a"))):
        sent(spool, record_id, case_id, at)
    with spool.transaction():
        for record_id, case_id in (("a4", "a"), ("c1", "c")):
            spool.add_outgoing(record_id, case_id, b"new")
    spool.sent.send_again(["b1", "a2", "a3"], with_receipt)
    assert [item.record_id for item in spool.outgoing(10)] == ["b1", "a2", "a3", "a4", "c1"]
    assert [item.envelope for item in spool.outgoing(2)] == [b"b1 with receipt 1", b"a2 with receipt 2"]
    order = []
    while batch := ready(spool):
        order.append(batch)
        for record_id in batch:
            settled(spool, record_id, 99)
    assert order == [["b1", "a2", "c1"], ["a3"], ["a4"]]
    assert spool.receipt("a2") == b"receipt 99"
    assert spool.sent.former_receipts("a2") == [b"receipt 2"]
    assert spool.sent.former_receipts("a4") == []
    # It is kept as it was first, for the next loss, and goes with every receipt that it had.
    spool.sent.send_again(["a2"], with_receipt)
    assert [item.envelope for item in spool.outgoing(1)] == [b"a2 with receipt 2 with receipt 99"]


def test_what_is_asked_to_go_twice_goes_once(spool: Spool) -> None:
    sent(spool, "a1", "a", 1)
    spool.sent.send_again(["a1"], with_receipt)
    spool.sent.send_again(["a1", "unknown"], with_receipt)
    assert ready(spool) == ["a1"]


def test_records_are_kept_for_their_time_and_listed_in_the_order_of_their_receipts(spool: Spool) -> None:
    for at in range(250):
        sent(spool, f"r{at}", f"case-{at}", at)
    assert spool.sent.after(0, 2) == [(1, "r0"), (2, "r1")]
    assert spool.sent.after(249, 2) == [(250, "r249")]
    spool.sent.expire(248)
    assert [record_id for _, record_id in spool.sent.after(0, 1000)] == ["r248", "r249"]
    assert spool.receipt("r0") is not None


def test_a_record_that_is_refused_when_it_goes_again_is_kept(spool: Spool) -> None:
    sent(spool, "a1", "a", 1)
    spool.sent.send_again(["a1"], with_receipt)
    with spool.transaction():
        spool.drop_refused("a1")
    assert not spool.outgoing_count()
    assert [record_id for _, record_id in spool.sent.after(0, 10)] == ["a1"]
    assert spool.sent.former_receipts("a1") == [b"receipt 1"]


async def test_what_was_kept_long_enough_goes_at_the_start(spool: Spool) -> None:
    clock = ManualClock(40 * DAY_MS)
    for day in (5, 9, 11, 39):
        sent(spool, f"r{day}", f"case-{day}", day * DAY_MS)
    sweeping = asyncio.create_task(sweep(spool.sent, clock, keep_days=30))
    async with asyncio.timeout(60):
        while len(left := spool.sent.after(0, 10)) > 2:  # noqa: ASYNC110 - a database has no event to wait on
            await asyncio.sleep(0.01)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    assert [record_id for _, record_id in left] == ["r11", "r39"]
