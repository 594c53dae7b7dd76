"""Where subscriptions begin and stand, and what agencies order about them: on the wire and in the commands."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from broker.client.subscriber import SubscribeOptions
from broker.client.subscriptions import SubscriptionsClient
from broker.core.audit.findings import Skipped
from broker.core.errors import InputRefused, RightDenied, SubscriptionInUse, SubscriptionUnknown
from broker.core.subscriptions import EARLIEST, StartPoint
from tests.support.exchange import Exchange, running_exchange
from tests.support.kafkaexchange import Ended, run
from tests.support.process import edge_tables, write_toml
from tests.support.replays import replayed

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.streams import Position
    from tests.support.pki import SamplePki
    from tests.support.records import RecordMaker

LAB = "national-dna-database"
AUDITOR = "national-audit"
NAME = "samples"
LATEST = StartPoint(latest=True)


async def published(exchange: Exchange, maker: RecordMaker, count: int) -> list[Position]:
    publisher, receipts = await exchange.publisher(), exchange.receipts()
    return [receipts.verify(await publisher.publish(maker.make())).position for _ in range(count)]


async def taken(exchange: Exchange, count: int, start: StartPoint = EARLIEST) -> list[Position]:
    """Open a stream, acknowledge so many records, and close it. None comes more than these."""
    found: list[Position] = []
    options = SubscribeOptions(NAME, frozenset({"SampleRequest"}), start=start)
    async with (await exchange.subscriber()).subscribe(options) as stream:
        async for batch in stream:
            for delivered in batch:
                found.append(delivered.position)
                await stream.ack([delivered.delivery_id])
            if len(found) >= count:
                break
    return found


async def client(exchange: Exchange, agency: str = LAB) -> SubscriptionsClient:
    return SubscriptionsClient(await exchange.channel(agency))


async def in_order(order: str, *more: Any, profile: Path) -> Ended:
    """Give an order with the command, as soon as the broker knows that the stream has ended."""
    async with asyncio.timeout(60):
        while True:
            done = await run("subscription", order, "--profile", profile, NAME, *more)
            if "SUBSCRIPTION_IN_USE" not in done.errors:
                return done


async def free(asking: SubscriptionsClient) -> None:
    """Return when nobody reads the subscription any more."""
    async with asyncio.timeout(60):
        while True:
            if not any([state.readers async for state in asking.listed()]):
                return
            await asyncio.sleep(0.02)


async def test_the_commands_list_seek_and_delete(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        profile = write_toml(tmp_path / "lab.toml", edge_tables(pki, LAB, exchange.target))
        maker = exchange.maker()
        positions = await published(exchange, maker, 2)
        assert await taken(exchange, 2) == positions
        positions += await published(exchange, maker, 3)
        found = await run("subscription", "list", "--profile", profile, "--json")
        (facts,) = json.loads(found.output)
        assert (facts["agency"], facts["name"], facts["kinds"]) == (LAB, NAME, ["SampleRequest"])
        assert (facts["behind"], facts["skipped"], facts["dead_letters"], facts["parked"]) == (3, 0, 0, 0)
        assert facts["oldest"] is not None
        moved = await in_order("seek", "--to", "latest", profile=profile)
        assert (moved.code, "3 records" in moved.output) == (0, True)
        plain = await run("subscription", "list", "--profile", profile)
        assert f"{LAB}/{NAME}: not open, 0 records behind" in plain.output
        assert "3 skipped by order" in plain.output
        later = await published(exchange, maker, 1)
        assert await taken(exchange, 1) == later
        assert (await in_order("seek", "--to", "earliest", profile=profile)).code == 0
        assert await taken(exchange, 6) == positions + later
        wrong = await run("subscription", "seek", "--profile", profile, NAME, "--to", "tomorrow")
        assert wrong.code == 2
        gone = await in_order("delete", profile=profile)
        assert (gone.code, "0 records, and 0 dead letters" in gone.output) == (0, True)
        unknown = await run("subscription", "delete", "--profile", profile, NAME)
        assert unknown.code == 1
        assert unknown.lines()[0].startswith("case-exchange: SUBSCRIPTION_UNKNOWN")
        assert (await run("subscription", "list", "--profile", profile)).output == "0 subscriptions\n"


async def test_an_agency_and_an_auditor_see_a_subscription_and_nobody_else(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        await published(exchange, exchange.maker(), 1)
        await taken(exchange, 1)
        (own,) = [state async for state in (await client(exchange)).listed()]
        assert (own.key.agency, own.key.name) == (LAB, NAME)
        auditor = await client(exchange, AUDITOR)
        assert [state.key async for state in auditor.listed()] == [own.key]
        assert [state.key async for state in auditor.listed(LAB)] == [own.key]
        stranger = await client(exchange, "shanxi-police")
        assert [state async for state in stranger.listed()] == []
        with pytest.raises(RightDenied):
            [state async for state in stranger.listed(LAB)]
        # A name that another agency has is answered as one that nobody has.
        refused = []
        for name in (NAME, "nothing"):
            for order in (stranger.seek(name, LATEST), stranger.delete(name)):
                with pytest.raises(SubscriptionUnknown) as error:
                    await order
                refused.append((error.value.message, error.value.details))
        assert refused == [refused[0]] * 4


async def test_an_open_subscription_takes_no_order_and_a_start_in_the_future_is_none(
    pki: SamplePki, tmp_path: Path
) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        asking = await client(exchange)
        options = SubscribeOptions(NAME, frozenset({"SampleRequest"}))
        async with (await exchange.subscriber()).subscribe(options):
            for order in (asking.seek(NAME, LATEST), asking.delete(NAME)):
                with pytest.raises(SubscriptionInUse, match=NAME):
                    await order
        await free(asking)
        to_come = StartPoint(time_ms=exchange.clock.now_ms() + 3_600_000)
        with pytest.raises(InputRefused):
            await asking.seek(NAME, to_come)
        stream = (await exchange.subscriber()).subscribe(SubscribeOptions("other", options.kinds, start=to_come))
        with pytest.raises(InputRefused):
            await stream.__aenter__()


async def test_a_start_is_kept_over_a_restart_and_verify_lists_what_it_skips(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        maker = exchange.maker()
        first, *_ = await published(exchange, maker, 2)
        options = SubscribeOptions(NAME, frozenset({"SampleRequest"}), start=LATEST)
        async with (await exchange.subscriber()).subscribe(options):
            later = await published(exchange, maker, 1)
    (tmp_path / "log" / "audit-index.db").unlink()
    async with running_exchange(pki, tmp_path / "log") as exchange:
        assert await taken(exchange, 1) == later
        report = (await replayed(exchange, tmp_path / "a.bundle")).report()
        (skipped,) = report.skipped
        told_at = skipped.told_at
        assert told_at.stream == "audit"
        assert skipped == Skipped(LAB, NAME, 0, "created", first.stream_partition, 0, 2, told_at)
        assert report.clean
