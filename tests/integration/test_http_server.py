"""The bounds of the HTTPS server, and the client, over real sockets and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from broker.core.errors import CertificateInvalid, ConfigInvalid, Internal
from broker.core.webaddress import WebAddress
from broker.trust.certificates import der
from broker.web.client import HttpClient, HttpFailed
from broker.web.server import PEER_CERTIFICATE, HttpBounds, HttpServer
from broker.web.tls import ServerContext, client_context
from certs.authority import Authority
from certs.profiles import TLS_CLIENT, TLS_SERVER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

    from tests.support.pki import SamplePki

BOUNDS = HttpBounds(connections=3, request_seconds=0.5, idle_seconds=30, drain_seconds=2)
LARGEST = 1000


async def echo(request: Request) -> PlainTextResponse:
    certificate = getattr(request.state, PEER_CERTIFICATE)
    who = "nobody" if certificate is None else str(len(certificate))
    return PlainTextResponse((await request.body()).decode(), headers={"x-peer": who})


async def peer(request: Request) -> PlainTextResponse:
    certificate: bytes | None = getattr(request.state, PEER_CERTIFICATE)
    return PlainTextResponse("none" if certificate is None else certificate.hex())


async def much(request: Request) -> PlainTextResponse:
    return PlainTextResponse("a" * int(await request.body()))


APP = Starlette(routes=[Route(f"/w/{answer.__name__}", answer, methods=["POST"]) for answer in (echo, peer, much)])


@contextlib.asynccontextmanager
async def serving(
    context: ServerContext | None, bounds: HttpBounds = BOUNDS, send_buffer: int = 0
) -> AsyncIterator[WebAddress]:
    server = HttpServer(APP, "127.0.0.1:0", context, bounds)
    if send_buffer:
        # What is accepted inherits it: so little fills the system's buffer, and the rest waits in the server's.
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    await server.start()
    try:
        yield WebAddress(context is not None, "localhost", server.port, "/w")
    finally:
        await server.stop()


def own(pki: SamplePki) -> tuple[Path, Path]:
    return pki.tls_paths("exchange")


def trusting(pki: SamplePki) -> ssl.SSLContext:
    return client_context(pki.folder.trust / "tls-ca.pem")


async def test_one_connection_serves_many_requests(pki: SamplePki) -> None:
    async with serving(ServerContext(*own(pki))) as address:
        client = HttpClient(address, trusting(pki))
        for number in range(5):
            answer = await client.post("/echo", b"request %d" % number, LARGEST)
            assert (answer.status, answer.content_type, answer.body) == (200, "text/plain", b"request %d" % number)
        assert (await client.post("/unknown", b"", LARGEST)).status == 404
        await client.close()


async def test_a_client_without_a_certificate_is_refused_where_one_is_demanded(pki: SamplePki) -> None:
    authorities = pki.folder.trust / "tls-ca.pem"
    async with serving(ServerContext(*own(pki), authorities)) as address:
        with pytest.raises(HttpFailed):
            await HttpClient(address, trusting(pki)).post("/peer", b"", LARGEST)


async def test_the_application_learns_the_clients_certificate(pki: SamplePki) -> None:
    authorities = pki.folder.trust / "tls-ca.pem"
    async with serving(ServerContext(*own(pki), authorities)) as address:
        context = trusting(pki)
        context.load_cert_chain(*pki.tls_paths("shanxi-police"))
        client = HttpClient(address, context)
        answer = await client.post("/peer", b"", 10_000)
        assert answer.body == der(pki.tls_certificate("shanxi-police")).hex().encode()
        await client.close()


async def test_a_server_of_an_unknown_authority_is_not_asked(pki: SamplePki, tmp_path: Path) -> None:
    signing = tmp_path / "other-ca.pem"
    signing.write_bytes(pki.authority("signing").certificate.public_bytes(Encoding.PEM))
    async with serving(ServerContext(*own(pki))) as address:
        with pytest.raises(HttpFailed, match="SSL"):
            await HttpClient(address, client_context(signing)).post("/echo", b"", LARGEST)


async def test_tls_before_1_3_is_refused(pki: SamplePki) -> None:
    old = trusting(pki)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    async with serving(ServerContext(*own(pki))) as address:
        with pytest.raises(HttpFailed):
            await HttpClient(address, old).post("/echo", b"", LARGEST)


async def test_a_renewed_certificate_serves_the_next_connection(pki: SamplePki, tmp_path: Path) -> None:
    certificate, key = (tmp_path / path.name for path in own(pki))
    for path in own(pki):
        shutil.copy(path, tmp_path)
    context = ServerContext(certificate, key)
    async with serving(context) as address:
        client = HttpClient(address, trusting(pki))
        assert (await client.post("/echo", b"before", LARGEST)).body == b"before"
        credential = pki.credential(TLS_SERVER, agency="exchange", system="broker")
        new_certificate, new_key = credential.write(tmp_path, "renewed")
        # One after the other. Until they match, the former ones stay in use.
        new_key.replace(key)
        with pytest.raises(CertificateInvalid):
            context.refresh()
        assert (await client.post("/echo", b"still", LARGEST)).body == b"still"
        new_certificate.replace(certificate)
        context.refresh()
        reader, writer = await asyncio.open_connection("localhost", address.port, ssl=trusting(pki))
        assert writer.get_extra_info("ssl_object").getpeercert(binary_form=True) == credential.der
        writer.close()
        del reader
        await client.close()


async def test_a_client_of_a_removed_authority_comes_in_no_more_and_one_of_an_added_authority_does(
    pki: SamplePki, tmp_path: Path
) -> None:
    other, authorities = Authority.create("another authority", pki.now), tmp_path / "authorities.pem"
    files = {
        "ours": pki.tls_paths("shanxi-police"),
        "other": pki.credential(TLS_CLIENT, authority=other).write(tmp_path, "other"),
    }
    certificates = {"ours": pki.authority("tls").certificate, "other": other.certificate}

    def trust(*names: str) -> None:
        pems = (certificates[name].public_bytes(Encoding.PEM) for name in names)
        authorities.write_bytes(b"".join(pems))

    async def comes_in(name: str) -> bool:
        asking = trusting(pki)
        asking.load_cert_chain(*files[name])
        client = HttpClient(address, asking)
        try:
            return (await client.post("/peer", b"", 10_000)).status == 200
        except HttpFailed:
            return False
        finally:
            await client.close()

    trust("ours", "other")
    context = ServerContext(*own(pki), authorities)
    async with serving(context) as address, asyncio.timeout(60):
        assert await comes_in("ours")
        assert await comes_in("other")
        trust("ours")
        context.refresh()
        assert await comes_in("ours")
        assert not await comes_in("other")
        # A file that cannot be used changes nothing.
        authorities.write_bytes(b"no certificate")
        with pytest.raises(CertificateInvalid):
            context.refresh()
        assert await comes_in("ours")
        assert not await comes_in("other")
        trust("other")
        context.refresh()
        assert await comes_in("other")
        assert not await comes_in("ours")


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"POST /w/ec",
        b"POST /w/echo HTTP/1.1\r\nhost: a\r\n",
        b"POST /w/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab",
    ],
    ids=["nothing", "half a line", "half the headers", "half the body"],
)
async def test_a_request_that_does_not_arrive_whole_loses_its_connection(part: bytes) -> None:
    async with serving(None) as address, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(part)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


async def test_a_second_request_that_does_not_arrive_loses_the_connection_too() -> None:
    whole = b"POST /w/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab"
    async with serving(None) as address, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(whole)
        assert (await reader.readuntil(b"ab")).startswith(b"HTTP/1.1 200")
        writer.write(whole[:20])
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


HALVES = [
    pytest.param(b"POST /w/ec", id="half the headers"),
    pytest.param(b"POST /w/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab", id="half the body"),
]


@pytest.mark.parametrize("half", HALVES)
async def test_half_a_request_that_came_with_a_whole_one_loses_the_connection(half: bytes) -> None:
    whole = b"POST /w/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab"
    async with serving(None) as address, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(whole + half)
        assert (await reader.readuntil(b"ab")).startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("half", HALVES)
async def test_a_request_whose_first_half_came_with_another_is_answered_and_the_connection_lives_on(
    half: bytes,
) -> None:
    whole = b"POST /w/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab-------"
    async with serving(None) as address, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(whole + half)
        assert (await reader.readuntil(b"ab-------")).startswith(b"HTTP/1.1 200")
        writer.write(whole.removeprefix(half))
        assert (await reader.readuntil(b"ab-------")).startswith(b"HTTP/1.1 200")
        # Longer than a request may take, shorter than a connection may be idle.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3 * BOUNDS.request_seconds):
                await reader.read()
        writer.write(whole)
        assert (await reader.readuntil(b"ab-------")).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize("last", [b"", b"connection: close\r\n"], ids=["kept open", "to be closed"])
@pytest.mark.parametrize("size", [50_000, 40_000_000])
async def test_answers_that_nobody_reads_lose_the_connection(size: int, last: bytes) -> None:
    """In the server's buffers are few or many of them, and the connection may be about to close."""
    bounds = replace(BOUNDS, connections=1, idle_seconds=1)
    async with serving(None, bounds, send_buffer=4096) as address, asyncio.timeout(60):
        with socket.socket() as greedy:
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            greedy.connect(("127.0.0.1", address.port))
            greedy.settimeout(0)
            loop = asyncio.get_running_loop()
            request = b"POST /w/much HTTP/1.1\r\nhost: a\r\n" + last + b"content-length: %d\r\n\r\n%d"
            await loop.sock_sendall(greedy, request % (len(str(size)), size))
            # The only place is free again when the connection is gone.
            while True:
                reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
                writer.write(b"POST /w/peer HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
                with contextlib.suppress(ConnectionError):
                    if await reader.read(12) == b"HTTP/1.1 200":
                        break
                writer.close()
                await asyncio.sleep(0.05)
            writer.close()


async def test_connections_beyond_the_bound_are_closed_and_the_others_are_answered() -> None:
    async with serving(None, replace(BOUNDS, request_seconds=30)) as address, asyncio.timeout(60):
        held = [await asyncio.open_connection("127.0.0.1", address.port) for _ in range(BOUNDS.connections)]
        reader, writer = held[0]
        writer.write(b"POST /w/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab")
        assert (await reader.readuntil(b"ab")).startswith(b"HTTP/1.1 200")
        beyond, more = await asyncio.open_connection("127.0.0.1", address.port)
        with contextlib.suppress(ConnectionError):
            assert await beyond.read() == b""
        for _, one in [*held, (beyond, more)]:
            one.close()


async def test_handshakes_that_do_not_end_are_bounded_in_number_and_time(pki: SamplePki) -> None:
    async with serving(ServerContext(*own(pki))) as address, asyncio.timeout(60):
        silent = [await asyncio.open_connection("127.0.0.1", address.port) for _ in range(3 * BOUNDS.connections)]
        begun = asyncio.get_running_loop().time()
        client = HttpClient(address, trusting(pki))
        # It waits behind them, and comes in when the time of all three rounds is over.
        assert (await client.post("/echo", b"at last", LARGEST)).body == b"at last"
        assert asyncio.get_running_loop().time() - begun > 2 * BOUNDS.request_seconds
        for reader, writer in silent:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        await client.close()


async def test_a_connection_ends_at_its_age_and_the_next_one_is_answered() -> None:
    async with serving(None, replace(BOUNDS, age_seconds=0.3)) as address, asyncio.timeout(60):
        client = HttpClient(address, ssl.create_default_context())
        assert (await client.post("/echo", b"first", LARGEST)).body == b"first"
        assert client._open is not None
        _, reader, _ = client._open
        while not reader.at_eof():  # noqa: ASYNC110 - a stream has no event for its end
            await asyncio.sleep(0.05)
        assert (await client.post("/echo", b"second", LARGEST)).body == b"second"
        await client.close()


async def test_a_client_with_a_certificate_gets_no_session_to_resume(pki: SamplePki) -> None:
    authorities = pki.folder.trust / "tls-ca.pem"
    async with serving(ServerContext(*own(pki), authorities)) as address:
        context = trusting(pki)
        context.load_cert_chain(*pki.tls_paths("shanxi-police"))
        client = HttpClient(address, context)
        assert (await client.post("/peer", b"", 10_000)).status == 200
        assert client._open is not None
        session = client._open[2].get_extra_info("ssl_object").session
        assert session is None or not session.has_ticket
        await client.close()


async def test_headers_beyond_the_bound_are_refused() -> None:
    async with serving(None) as address, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(b"POST /w/echo HTTP/1.1\r\nx: " + b"a" * (64 << 10) + b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            answer = await reader.read()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        writer.close()


async def test_an_answer_beyond_the_bound_is_not_read() -> None:
    async with serving(None) as address:
        with pytest.raises(HttpFailed, match="too large"):
            await HttpClient(address, ssl.create_default_context()).post("/echo", b"a" * 200, 100)


async def test_a_connection_that_the_server_closed_while_idle_is_opened_again() -> None:
    async with serving(None, replace(BOUNDS, idle_seconds=1)) as address, asyncio.timeout(60):
        client = HttpClient(address, ssl.create_default_context())
        await client.post("/echo", b"first", LARGEST)
        assert client._open is not None
        _, reader, _ = client._open
        while not reader.at_eof():  # noqa: ASYNC110 - a stream has no event for its end
            await asyncio.sleep(0.05)
        assert (await client.post("/echo", b"second", LARGEST)).body == b"second"
        await client.close()


async def test_a_deadline_ends_a_request_to_a_server_that_says_nothing() -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        address = WebAddress(tls=False, host="127.0.0.1", port=server.sockets[0].getsockname()[1], prefix="")
        client = HttpClient(address, ssl.create_default_context())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.post("/echo", b"", LARGEST)
        assert client._open is None
        async with asyncio.timeout(60):
            await ended.wait()


@pytest.mark.parametrize("host", ["a..b", ".example", "a" * 64 + ".example"])
async def test_a_host_that_can_be_no_name_is_nobody_who_answers(host: str) -> None:
    address = WebAddress(tls=True, host=host, port=443, prefix="")
    with pytest.raises(HttpFailed):
        await HttpClient(address, ssl.create_default_context()).get("/", LARGEST)


async def test_a_name_server_that_says_nothing_holds_one_thread_and_none_that_others_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer, asked, known = threading.Event(), list[object](), socket.getaddrinfo

    def silent(host: Any, *given: Any, **named: Any) -> Any:
        if host != "witness.example":
            return known(host, *given, **named)
        asked.append(host)
        answer.wait(60)
        return known("127.0.0.1", *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    async with serving(None) as address:
        client = HttpClient(address._replace(host="witness.example"), ssl.create_default_context())
        with ThreadPoolExecutor(1) as threads:
            asyncio.get_running_loop().set_default_executor(threads)
            try:
                for _ in range(3):
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.1):
                            await client.post("/echo", b"", LARGEST)
                async with asyncio.timeout(60):
                    await asyncio.to_thread(len, asked)
                assert asked == ["witness.example"]
            finally:
                answer.set()
            async with asyncio.timeout(60):
                assert (await client.post("/echo", b"at last", LARGEST)).body == b"at last"
        await client.close()


async def test_what_is_no_http_is_no_answer() -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\x01 what?\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(odd, "127.0.0.1", 0) as server:
        address = WebAddress(tls=False, host="127.0.0.1", port=server.sockets[0].getsockname()[1], prefix="")
        with pytest.raises(HttpFailed):
            await HttpClient(address, ssl.create_default_context()).post("/echo", b"", LARGEST)


@pytest.mark.parametrize(("host", "named"), [("127.0.0.1", b"127.0.0.1"), ("::1", b"[::1]")])
async def test_a_request_names_its_host_as_an_address_does(host: str, named: bytes) -> None:
    asked: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(note, host, 0) as server, asyncio.timeout(60):
        port = server.sockets[0].getsockname()[1]
        client = HttpClient(WebAddress(tls=False, host=host, port=port, prefix=""), ssl.create_default_context())
        assert (await client.post("/echo", b"", LARGEST)).status == 200
        await client.close()
    assert b"\r\nhost: %s:%d\r\n" % (named, port) in asked[0].replace(b"Host:", b"host:")


async def test_a_server_that_an_error_ends_before_it_answers_does_not_keep_its_caller_waiting() -> None:
    def fails(*_: object) -> ssl.SSLContext:
        message = "an error of the library"
        raise ZeroDivisionError(message)

    server = HttpServer(APP, "127.0.0.1:0", None, BOUNDS)
    server._server.config.ssl_context_factory = fails
    port = server.port
    async with asyncio.timeout(60):
        with pytest.raises(Internal, match="the HTTP server ended: ZeroDivisionError"):
            await server.start()
        await server.stop()
    with pytest.raises(OSError, match=r".+"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_server_that_ends_later_says_so() -> None:
    server = HttpServer(APP, "127.0.0.1:0", None, BOUNDS)
    async with asyncio.timeout(60):
        await server.start()
        ended = asyncio.create_task(server.ended())
        await asyncio.sleep(0)
        assert not ended.done()
        server._server.should_exit = True
        with pytest.raises(Internal, match="no error"):
            await ended
        await server.stop()


@pytest.mark.parametrize("address", ["", "localhost", "localhost:http", "localhost:99999", "nowhere.invalid:0"])
def test_an_address_that_cannot_be_used_is_named(address: str) -> None:
    with pytest.raises(ConfigInvalid, match="cannot listen on"):
        HttpServer(APP, address, None, BOUNDS)
