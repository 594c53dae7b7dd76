"""A broker's clock that leaps, or that is far ahead of the log: nothing is accepted at a wrong time."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from broker.bootstrap.broker import open_broker
from broker.config.broker import BrokerConfig
from broker.config.loader import parse
from broker.core.errors import ClockLeapt, ClockUnchecked
from broker.services.clockwatch import MOST_AHEAD_MS
from broker.trust.system import SteadyClock, SystemClock
from tests.support.exchange import Exchange, broker_tables, running_exchange
from tests.support.replays import covered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.pki import SamplePki


def age(log_folder: Path, ms: int) -> None:
    """Make the newest checkpoint of a log so much older. No signature covers this time."""
    (path,) = log_folder.glob("checkpoints*.db")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE heads SET signed_at_ms = signed_at_ms - ?", (ms,))


@contextlib.asynccontextmanager
async def clocked(
    pki: SamplePki, folder: Path, clock: SteadyClock, *, clock_checked: bool = False
) -> AsyncIterator[Exchange]:
    config = parse(BrokerConfig, broker_tables(pki, folder), folder)
    async with open_broker(config, clock=clock, clock_checked=clock_checked) as broker:
        exchange = Exchange(pki, broker, folder)
        try:
            yield exchange
        finally:
            await exchange.close()


async def test_while_the_clock_has_leapt_nothing_is_published_and_afterwards_times_go_on(
    pki: SamplePki, tmp_path: Path
) -> None:
    leap_ms = 0
    clock = SteadyClock(lambda: SystemClock().now_ms() + leap_ms)
    async with clocked(pki, tmp_path / "log", clock) as exchange:
        maker, publisher = exchange.maker(), await exchange.publisher()
        before = exchange.receipts().verify(await publisher.publish(maker.make()))
        leap_ms = 100 * MOST_AHEAD_MS
        record = maker.make()
        with pytest.raises(ClockLeapt) as caught:
            await publisher.publish(record)
        assert caught.value.details["seconds"] == str(leap_ms // 1000)
        leap_ms = 0
        after = exchange.receipts().verify(await publisher.publish(record))
        assert before.accepted_at_ms <= after.accepted_at_ms <= SystemClock().now_ms()


async def test_a_start_long_after_the_newest_checkpoint_needs_a_word(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        await (await exchange.publisher()).publish(exchange.maker().make())
        await covered(exchange)
    age(tmp_path / "log", MOST_AHEAD_MS - 3_600_000)
    async with running_exchange(pki, tmp_path / "log"):
        pass
    age(tmp_path / "log", MOST_AHEAD_MS)
    with pytest.raises(ClockUnchecked, match="ahead of the newest checkpoint"):
        async with running_exchange(pki, tmp_path / "log"):
            pass
    async with clocked(pki, tmp_path / "log", SteadyClock(), clock_checked=True) as exchange:
        await (await exchange.publisher()).publish(exchange.maker().make())
