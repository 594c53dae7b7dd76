"""A broker serves checkpoints and tiles to members over HTTPS, and entries to auditors; fsck checks them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.core.tree.cosignature import cosigners
from broker.core.tree.leaf import Leaf
from broker.core.tree.merkle import root_of
from broker.core.tree.tiles import ENTRIES, Tile, read_entries, tile_hashes
from broker.core.tree.witnesspolicy import parse_policy
from broker.trust.logkeys import log_verifiers
from broker.trust.witnesskeys import witness_checks
from broker.web.client import HttpClient, HttpFailed
from broker.web.server import HttpServer
from broker.web.tls import client_context, load_certificate
from certs import profiles
from certs.authority import Authority
from certs.operations import LIST_LIFETIME
from deploy.kafka.ports import free_ports
from tests.support.pki import SamplePki
from tests.support.tiles import (
    AUDITOR,
    LARGEST,
    MEMBER,
    PARTITION,
    TILES,
    address,
    covered,
    get,
    member,
    names,
    serving_tiles,
)
from tests.support.witnessing import ALPHA, QUICK, cosigned_sizes, eventually, everything, govern, publish, witnessing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.exchange import Exchange


@pytest.fixture
async def exchange(pki: SamplePki, tmp_path: Path) -> AsyncIterator[Exchange]:
    async with serving_tiles(pki, tmp_path / "log") as running:
        yield running


async def newest(exchange: Exchange, path: str) -> Checkpoint:
    answer = await get(exchange, f"/{path}/checkpoint")
    assert (answer.status, answer.content_type) == (200, "text/plain")
    note = parse_note(answer.body)
    verify_note(note, log_verifiers([exchange.pki.directory]))
    return Checkpoint.parse(note.text)


# --- who gets what ---


async def test_a_member_gets_checkpoints_and_hash_tiles_of_every_log_and_no_entries(exchange: Exchange) -> None:
    await publish(exchange, 3)
    path = await covered(exchange)
    for name in (await names(exchange)).values():
        assert (await newest(exchange, name)).origin == f"{exchange.pki.directory.trust_domain}/{name}"
    checkpoint = await newest(exchange, path)
    assert checkpoint.size == 3
    tile = Tile(0, 0, 3)
    answer = await get(exchange, f"/{path}/{tile.path}")
    assert (answer.status, answer.content_type) == (200, "application/octet-stream")
    assert root_of(3, 0, [], tile_hashes(tile, answer.body), []) == checkpoint.root
    refused = await get(exchange, f"/{path}/tile/entries/000.p/3")
    assert (refused.status, refused.body.partition(b":")[0]) == (403, b"RIGHT_DENIED")
    # Nobody but an auditor learns from the answer whether there is such a bundle.
    assert (await get(exchange, f"/{path}/tile/entries/000.p/99")).body == refused.body


async def test_an_auditor_gets_entries_that_hash_to_the_leaves(exchange: Exchange) -> None:
    maker, publisher = exchange.maker(), await exchange.publisher()
    records = [maker.make() for _ in range(3)]
    for record in records:
        await publisher.publish(record)
    path = await covered(exchange)
    answer = await get(exchange, f"/{path}/tile/entries/000.p/3", AUDITOR)
    assert answer.status == 200
    leaves = [Leaf.parse(entry) for entry in read_entries(Tile(ENTRIES, 0, 3), answer.body)]
    assert [str(leaf.position) for leaf in leaves] == [f"{PARTITION}/{offset}" for offset in range(3)]
    assert [leaf.record_sha256 for leaf in leaves] == [record.record_sha256 for record in records]


async def test_tiles_of_every_earlier_checkpoint_stay(exchange: Exchange) -> None:
    earlier, path = [], (await names(exchange))[PARTITION]
    for _ in range(4):
        await publish(exchange, 3)
        await covered(exchange)
        earlier.append(await newest(exchange, path))
    assert earlier[0].size < earlier[-1].size
    for checkpoint in earlier:
        tile = Tile(0, 0, checkpoint.size)
        answer = await get(exchange, f"/{path}/{tile.path}")
        assert root_of(checkpoint.size, 0, [], tile_hashes(tile, answer.body), []) == checkpoint.root


async def raw(exchange: Exchange, request: bytes, files: tuple[Path, Path] | None = None) -> bytes:
    """The head of the answer to a request as it is."""
    context = client_context(exchange.pki.folder.trust / "tls-ca.pem")
    load_certificate(context, *(files or exchange.pki.tls_paths(AUDITOR)))
    reader, writer = await asyncio.open_connection("localhost", address(exchange).port, ssl=context)
    writer.write(request)
    try:
        async with asyncio.timeout(60):
            return (await reader.readuntil(b"\r\n\r\n")).lower()
    finally:
        writer.close()


async def test_tiles_may_be_kept_for_ever_and_checkpoints_for_a_second(exchange: Exchange) -> None:
    await publish(exchange, 1)
    path = (await covered(exchange)).encode()
    for name, kept in ((b"tile/0/000.p/1", b"max-age=31536000, immutable"), (b"checkpoint", b"max-age=1\r\n")):
        head = await raw(exchange, b"GET /" + path + b"/" + name + b" HTTP/1.1\r\nhost: a\r\n\r\n")
        assert head.startswith(b"http/1.1 200 ")
        assert b"cache-control: private, " + kept in head
    assert b"no-store" in await raw(exchange, b"GET /no/0/such HTTP/1.1\r\nhost: a\r\n\r\n")


NOTHING = [
    "tile/0/000.p/2",
    "tile/0/000",
    "tile/1/000.p/1",
    "tile/0/001.p/1",
    "tile/63/000",
    "tile/0/x036/x028/x797/x018/x963/967.p/1",
    "tile/entries/x036/x028/x797/x018/x963/967",
    "tile/0/" + 500 * "x999/" + "999",
    "tile/0/000.p/0",
    "tile/0/000.p/256",
    "tile/0/x000/000",
    "tile/0/../0/000.p/1",
    "tile/0/%2e%2e/0/000.p/1",
    "tile/0/000.p/1%00",
    "tile/0/000.p/1/",
    "Checkpoint",
    "checkpoint/",
    "",
    "../../../../../etc/passwd",
]
NO_LOGS = ["/no/0/such", "/dna/9/x", "/..", "//", "/%00", "/cosigned", "/dna/0", "/\N{EM DASH}"]


async def test_where_there_is_nothing_there_is_nothing(exchange: Exchange) -> None:
    await publish(exchange, 1)
    log = await covered(exchange)
    async with member(exchange, AUDITOR) as client:
        for path in NOTHING:
            answer = await client.get(f"/{log}/{path}", LARGEST)
            assert (answer.status, answer.body.partition(b":")[0]) == (404, b"POSITION_UNKNOWN"), path
    for path in NO_LOGS:
        head = await raw(exchange, b"GET " + path.encode() + b" HTTP/1.1\r\nhost: a\r\n\r\n")
        assert head.split()[1] in {b"404", b"400"}, path


OTHER_METHODS = ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"]


@pytest.mark.parametrize("method", OTHER_METHODS)
async def test_every_method_but_get_and_head_is_refused_to_a_member(exchange: Exchange, method: str) -> None:
    head = await raw(exchange, f"{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n".encode())
    assert head.split()[1] == b"400"


# --- who is refused ---


@pytest.mark.parametrize("request_line", [*(f"{method} /" for method in ["GET", "HEAD", *OTHER_METHODS]), "OPTIONS *"])
async def test_the_gate_is_asked_whatever_the_method(exchange: Exchange, tmp_path: Path, request_line: str) -> None:
    revoked = exchange.pki.revoked["tls"].write(tmp_path, "peer")
    request = f"{request_line} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n".encode()
    assert (await raw(exchange, request, revoked)).split()[1] == b"403"


async def test_whoever_may_not_call_over_grpc_gets_nothing(exchange: Exchange, tmp_path: Path) -> None:
    pki = exchange.pki
    for credential, reason in (
        (pki.revoked["tls"], b"PEER_REVOKED"),
        (pki.with_uris(), b"PEER_IDENTITY_MISSING"),
        (pki.credential(profiles.TLS_CLIENT, agency="stranger"), b"PEER_UNKNOWN"),
    ):
        async with member(exchange, files=credential.write(tmp_path, "peer")) as client:
            for path in ("/", f"/{(await names(exchange))[PARTITION]}/checkpoint", "/no/0/such"):
                answer = await client.get(path, LARGEST)
                assert (answer.status, answer.body.partition(b":")[0]) == (403, reason)


async def test_a_stranger_does_not_get_as_far_as_a_request(exchange: Exchange, tmp_path: Path) -> None:
    pki = exchange.pki
    for credential in (
        pki.of_another_authority(profiles.TLS_CLIENT),
        pki.expired(profiles.TLS_CLIENT),
        pki.credential(profiles.TLS_SERVER),
        None,
    ):
        files = None if credential is None else credential.write(tmp_path, "peer")
        async with member(exchange, "", files=files) as client:
            with pytest.raises(HttpFailed):
                await client.get("/", LARGEST)


async def test_strangers_are_refused_more_slowly_the_more_they_ask(pki: SamplePki, tmp_path: Path) -> None:
    files = pki.revoked["tls"].write(tmp_path, "peer")
    quotas = {"refusals_per_second": 2}
    async with serving_tiles(pki, tmp_path / "log", quotas=quotas) as exchange, member(exchange, files=files) as client:
        begun = time.monotonic()
        for _ in range(12):
            assert (await client.get("/", LARGEST)).status == 403
            assert client._open is None
        # 8 at once, and then 2 in a second.
        assert time.monotonic() - begun > 1.4
        # Members do not wait for this.
        begun = time.monotonic()
        assert (await get(exchange, "/")).status == 200
        assert time.monotonic() - begun < 1.4


async def test_what_is_over_the_quota_of_calls_is_refused_more_slowly(pki: SamplePki, tmp_path: Path) -> None:
    # One request a second, and one at a time: of those that come together, one waits.
    sections: dict[str, dict[str, Any]] = {
        "tiles": {**TILES, "requests_per_second": 1.0},
        "quotas": {"calls": 1, "refusals_per_second": 2},
    }
    async with serving_tiles(pki, tmp_path / "log", **sections) as exchange, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(member(exchange)) for _ in range(14)]

        async def refused(client: HttpClient) -> float:
            begun = time.monotonic()
            answer = await client.get("/", LARGEST)
            return time.monotonic() - begun if answer.status == 429 else 0.0

        waits = await asyncio.gather(*map(refused, clients))
        # 8 at once, and then 2 in a second.
        assert sum(wait > 0 for wait in waits) >= 10
        assert max(waits) > 0.9


async def test_a_certificate_that_is_revoked_gets_nothing_more_on_its_open_connection(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    async with serving_tiles(pki, tmp_path / "log") as exchange, member(exchange) as client:
        assert (await client.get("/", LARGEST)).status == 200
        opened = client._open
        authority, now = pki.authority("tls"), datetime.now(UTC)
        authority.revoke(pki.tls_certificate(MEMBER).serial_number, now, "keyCompromise")
        pki.folder.publish_revocation_list("tls", authority, now, LIST_LIFETIME)

        async def refused() -> bool:
            assert client._open is opened
            return (await client.get("/", LARGEST)).status == 403

        await eventually(refused)
        assert client._open is None, "the server keeps the connection of a stranger"


async def test_a_start_that_is_cancelled_leaves_no_server(
    pki: SamplePki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[HttpServer] = []
    start = HttpServer.start

    async def cancelled(self: HttpServer) -> None:
        await start(self)
        begun.append(self)
        raise asyncio.CancelledError

    monkeypatch.setattr(HttpServer, "start", cancelled)
    with pytest.raises(asyncio.CancelledError):
        async with serving_tiles(pki, tmp_path / "log"):
            pytest.fail("the start was cancelled")
    (server,) = begun
    assert server._task is not None
    assert server._task.done()


# --- how much a member may use ---


async def test_an_agency_has_so_many_connections_and_others_have_theirs(pki: SamplePki, tmp_path: Path) -> None:
    async with (
        serving_tiles(pki, tmp_path / "log", tiles={**TILES, "connections_per_agency": 2}) as exchange,
        member(exchange) as first,
        member(exchange) as second,
        member(exchange) as third,
        member(exchange, AUDITOR) as other,
    ):
        for client in (first, second, other):
            assert (await client.get("/", LARGEST)).status == 200
        with pytest.raises(HttpFailed):
            await third.get("/", LARGEST)
        await first.close()

        async def has_a_place() -> bool:
            with contextlib.suppress(HttpFailed):
                return (await third.get("/", LARGEST)).status == 200
            return False

        await eventually(has_a_place)


async def test_requests_above_the_rate_wait_and_none_is_refused(pki: SamplePki, tmp_path: Path) -> None:
    tiles = {**TILES, "requests_per_second": 20.0}
    async with serving_tiles(pki, tmp_path / "log", tiles=tiles) as exchange, member(exchange) as client:
        begun = time.monotonic()
        answers = [(await client.get("/", LARGEST)).status for _ in range(30)]
        # 20 at once, and then 20 in a second.
        assert time.monotonic() - begun > 0.4
        assert set(answers) == {200}


async def test_an_entry_bundle_counts_as_ten_requests(pki: SamplePki, tmp_path: Path) -> None:
    tiles = {**TILES, "requests_per_second": 20.0}
    async with serving_tiles(pki, tmp_path / "log", tiles=tiles) as exchange, member(exchange, AUDITOR) as client:
        await publish(exchange, 1)
        path = await covered(exchange)
        begun = time.monotonic()
        for _ in range(4):
            assert (await client.get(f"/{path}/tile/entries/000.p/1", LARGEST)).status == 200
        # Two at once, one more on credit, and then two in a second.
        assert time.monotonic() - begun > 0.4


async def test_an_authority_that_is_removed_lets_nobody_in_and_needs_no_restart(pki: SamplePki, tmp_path: Path) -> None:
    ours, authorities = pki.folder.trust / "tls-ca.pem", tmp_path / "authorities.pem"
    other = Authority.create("another authority", pki.now).certificate.public_bytes(Encoding.PEM)
    shutil.copy(ours, authorities)

    async with serving_tiles(pki, tmp_path / "log", tls={"authorities": str(authorities)}) as running:

        async def comes_in() -> bool:
            try:
                return (await get(running, "/")).status == 200
            except HttpFailed:
                return False

        async def is_shut_out() -> bool:
            return not await comes_in()

        assert await comes_in()
        authorities.write_bytes(other)
        await eventually(is_shut_out)
        shutil.copy(ours, authorities)
        await eventually(comes_in)


async def test_a_member_that_does_not_read_loses_its_connection_and_holds_up_nobody(
    pki: SamplePki, tmp_path: Path
) -> None:
    tiles = {**TILES, "request_seconds": 1.0, "requests_per_second": 100_000.0}
    async with serving_tiles(pki, tmp_path / "log", tiles=tiles) as exchange:
        await publish(exchange, 30)
        path = await covered(exchange)
        context = client_context(pki.folder.trust / "tls-ca.pem")
        load_certificate(context, *pki.tls_paths(MEMBER))
        # Little room in the buffers of the system. What is accepted inherits the server's.
        server, greedy = exchange.broker.tiles._server, socket.socket()
        assert server is not None
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        greedy.connect(("127.0.0.1", server.port))
        _, writer = await asyncio.open_connection(sock=greedy, ssl=context, server_hostname="localhost")
        writer.transport.pause_reading()  # type: ignore[attr-defined] # of a socket
        request = f"GET /{path}/tile/0/000.p/30 HTTP/1.1\r\nhost: a\r\n\r\n".encode()
        lost = asyncio.ensure_future(gone(writer, request))
        while not lost.done():
            async with asyncio.timeout(60):
                assert (await get(exchange, f"/{path}/checkpoint", AUDITOR)).status == 200
        assert await lost


async def gone(writer: asyncio.StreamWriter, request: bytes) -> bool:
    """Ask and never read, until the server ends the connection."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            while True:
                writer.write(100 * request)
                await writer.drain()
                await asyncio.sleep(0)
    writer.transport.abort()
    return True


# --- witnesses ---


async def test_the_second_prefix_has_the_newest_checkpoint_with_enough_cosignatures(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    (port,) = free_ports(1)
    policy = govern(pki, (ALPHA, f"https://localhost:{port}"))
    parsed = parse_policy(policy.encode())
    async with serving_tiles(pki, tmp_path / "log", witnesses=QUICK) as exchange:
        await publish(exchange, 2)
        path = await covered(exchange)
        assert (await get(exchange, f"/cosigned/{path}/checkpoint")).status == 404
        async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):

            async def cosigned() -> bool:
                return everything(await cosigned_sizes(exchange, policy))

            await eventually(cosigned)
            for prefix in ("cosigned/", ""):
                # That of everybody is the same one, so it comes with the cosignatures.
                note = parse_note((await get(exchange, f"/{prefix}{path}/checkpoint")).body)
                assert parsed.satisfied_by(list(cosigners(note, witness_checks(parsed))))
                assert Checkpoint.parse(note.text).size == 2
        await publish(exchange, 2)
        await covered(exchange)
        assert (await newest(exchange, path)).size == 4
        note = parse_note((await get(exchange, f"/cosigned/{path}/checkpoint")).body)
        assert Checkpoint.parse(note.text).size == 2
        assert (await get(exchange, f"/cosigned/{path}/tile/0/000.p/2")).status == 200
