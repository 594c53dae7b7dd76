"""Peers that connect and never finish TLS: they are capped and cut off, and the others and the log go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
import pytest

from broker.bootstrap.filelimit import OWN_FILES
from broker.client.connection import ConnectionSettings, open_channel
from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.core.errors import ConnectionFailed
from broker.trust.system import SystemClock
from broker.wire.tls import TlsFiles
from tests.support.exchange import Exchange, broker_tables, running_exchange
from tests.support.fakes import FixedDirectory
from tests.support.kafkaexchange import run
from tests.support.link import Link
from tests.support.process import COMMAND, BrokerProcess, edge_tables, write_toml
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.support.pki import SamplePki

STRANGERS: Final = 200
HANDSHAKE_SECONDS: Final = 2.0


class Stranger:
    """A connection that is not used as it should be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.began = asyncio.get_running_loop().time()

    async def closed(self) -> float:
        """Wait until the broker has closed it. Return after how many seconds."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(1 << 16):
                pass
        return asyncio.get_running_loop().time() - self.began


@contextlib.asynccontextmanager
async def strangers(port: int, count: int) -> AsyncIterator[list[Stranger]]:
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            stranger = Stranger(*await asyncio.open_connection("localhost", port))
            stack.callback(stranger.writer.close)
            opened.append(stranger)
        yield opened


async def test_connections_that_never_speak_tls_end_in_time_and_others_go_on(pki: SamplePki, tmp_path: Path) -> None:
    limits = {"handshake_seconds": HANDSHAKE_SECONDS}
    async with running_exchange(pki, tmp_path / "log", server=limits) as exchange, asyncio.timeout(60):
        publisher, maker = await exchange.publisher(), exchange.maker()
        await publisher.publish(maker.make())
        async with strangers(exchange.broker.port, STRANGERS) as opened:
            ending = asyncio.gather(*(stranger.closed() for stranger in opened))
            published = 0
            while not ending.done():
                await publisher.publish(maker.make(), timeout_seconds=5)
                published += 1
            # Others can connect anew meanwhile, too.
            await (await exchange.publisher("hebei-police")).publish(exchange.maker("hebei-police").make())
            seconds = await ending
        assert published > 0
        assert max(seconds) < HANDSHAKE_SECONDS + 5


async def test_a_connection_without_a_call_ends_and_its_peer_calls_again(pki: SamplePki, tmp_path: Path) -> None:
    limits = {"connection_idle_seconds": 1.0}
    async with running_exchange(pki, tmp_path / "log", server=limits) as exchange, asyncio.timeout(30):
        channel = await exchange.channel("shanxi-police")
        await channel.channel_ready()
        await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        await Publisher(channel, CODEC, exchange.receipts()).publish(exchange.maker().make())


async def dripping(exchange: Exchange) -> float:
    """The beginning of a TLS record, and then a byte now and then."""
    stranger = Stranger(*await asyncio.open_connection("localhost", exchange.broker.port))
    stranger.writer.write(b"\x16\x03\x01\x20\x00\x01")

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(0.1)
                stranger.writer.write(b"\0")
                await stranger.writer.drain()

    drips = asyncio.create_task(drip())
    try:
        return await stranger.closed()
    finally:
        drips.cancel()
        stranger.writer.close()


async def silent_after_tls(exchange: Exchange) -> float:
    """A handshake with the certificate of an agency, and then nothing."""
    context = ssl.create_default_context(cafile=str(exchange.pki.folder.trust / "tls-ca.pem"))
    context.load_cert_chain(*exchange.pki.tls_paths("shanxi-police"))
    context.set_alpn_protocols(["h2"])
    connection = await asyncio.open_connection("localhost", exchange.broker.port, ssl=context)
    stranger = Stranger(*connection)
    try:
        return await stranger.closed()
    finally:
        stranger.writer.close()


@pytest.mark.parametrize("behave", [dripping, silent_after_tls])
async def test_a_peer_that_does_not_come_to_the_point_is_cut_off(
    pki: SamplePki, tmp_path: Path, behave: Callable[[Exchange], Awaitable[float]]
) -> None:
    limits = {"handshake_seconds": HANDSHAKE_SECONDS}
    async with running_exchange(pki, tmp_path / "log", server=limits) as exchange, asyncio.timeout(60):
        assert await behave(exchange) < HANDSHAKE_SECONDS + 5


async def test_connections_are_capped_and_those_that_are_open_go_on(pki: SamplePki, tmp_path: Path) -> None:
    most = 20
    limits = {"address": "127.0.0.1:0", "connections": most, "handshake_seconds": 120}
    async with running_exchange(pki, tmp_path / "log", server=limits) as exchange, asyncio.timeout(60):
        publisher = await exchange.publisher()
        await publisher.publish(exchange.maker().make())
        late = await exchange.publisher("hebei-police")
        async with strangers(exchange.broker.port, STRANGERS) as opened:
            ends = [asyncio.ensure_future(stranger.closed()) for stranger in opened]
            # One is the publisher's. No other had to wait for the end of its handshake's time.
            turned_away = STRANGERS - (most - 1)
            while sum(end.done() for end in ends) < turned_away:
                await asyncio.wait([end for end in ends if not end.done()], return_when=asyncio.FIRST_COMPLETED)
            assert sum(end.done() for end in ends) == turned_away
            await publisher.publish(exchange.maker().make())
            with pytest.raises(ConnectionFailed):
                await late.publish(exchange.maker("hebei-police").make(), timeout_seconds=1)
            for end in ends:
                end.cancel()
        await published_at_last(late, exchange)


async def published_at_last(publisher: Publisher, exchange: Exchange) -> None:
    """The broker has no event for a connection that has ended, so it is asked repeatedly."""
    while True:
        try:
            await publisher.publish(exchange.maker("hebei-police").make(), timeout_seconds=5)
        except ConnectionFailed:
            await asyncio.sleep(0)
        else:
            return


# --- the limit for open files, in processes of their own ---


@pytest.fixture
def process(pki: SamplePki, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BrokerProcess]:
    started = BrokerProcess(pki, tmp_path, logging={"level": "warning"})
    started.files = request.param
    yield started
    started.end()


def warnings(process: BrokerProcess) -> list[dict[str, object]]:
    return [json.loads(line) for line in process.errors.read_text().splitlines()]


def open_files(process: BrokerProcess) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


@pytest.mark.parametrize("process", [(300, 4000)], indirect=True)
def test_the_soft_limit_is_raised_to_the_hard_one(process: BrokerProcess) -> None:
    process.start()
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if "open files" in line]
    assert line.split()[3:5] == ["4000", "4000"]
    assert warnings(process) == []
    assert open_files(process) < OWN_FILES / 2
    assert process.stop() == 0


@pytest.mark.parametrize("process", [(300, 300)], indirect=True)
async def test_with_few_files_fewer_connections_are_accepted_and_the_log_keeps_its_own(
    process: BrokerProcess, pki: SamplePki
) -> None:
    process.start()
    (warning,) = warnings(process)
    assert (warning["size"], warning["count"]) == (300, 300 - OWN_FILES)
    assert "ulimit" in str(warning["remedy"])
    certificate, key = pki.tls_paths("shanxi-police")
    files = TlsFiles(certificate, key, pki.folder.trust / "tls-ca.pem")
    async with open_channel(ConnectionSettings(process.target), files.read()) as channel, asyncio.timeout(60):
        publisher = Publisher(channel, CODEC, ReceiptVerifier(FixedDirectory(pki.directory), pki.keyring()))
        maker = RecordMaker(pki, SystemClock())
        await publisher.publish(maker.make())
        async with strangers(int(process.target.rpartition(":")[2]), 2 * STRANGERS) as opened:
            # The last one was turned away at once, and not for want of files.
            await opened[-1].closed()
            assert open_files(process) < 300 - OWN_FILES / 2
            await publisher.publish(maker.make(), timeout_seconds=5)
    assert process.stop() == 0
    assert warnings(process) == [warning]


def test_a_limit_with_which_nobody_could_be_served_is_refused_with_one_line(pki: SamplePki, tmp_path: Path) -> None:
    config = write_toml(tmp_path / "broker.toml", broker_tables(pki, tmp_path / "log"))
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 100; exec "$@"', "sh", COMMAND, "serve", "--config", config],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "may open only 100 files" in line


async def test_a_broker_at_the_end_of_a_slow_link_is_reached_at_once(pki: SamplePki, tmp_path: Path) -> None:
    """TLS alone needs two round trips. gRPC gave up each attempt after a tenth of a second."""
    async with running_exchange(pki, tmp_path / "log") as exchange, Link(delay_seconds=0.2) as link:
        link.mend(exchange.target)
        profile = write_toml(tmp_path / "edge.toml", edge_tables(pki, "shanxi-police", link.target))
        status = await run("status", "--profile", profile)
    assert (status.code, status.lines()) == (0, [])
    assert "accepts records" in status.output
