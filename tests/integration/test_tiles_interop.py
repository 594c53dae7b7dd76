"""Our tiles, checked by a program that this project did not write: fsck of transparency-dev/tessera."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker.core.tree.origin import checkpoint_origin, parse_log_path
from broker.web.tls import client_context, load_certificate
from tests.support.tiles import AUDITOR, address, check, covered, profile, serving_tiles

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from tests.support.pki import SamplePki

TESSERA = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4"
LEAVES = 300


@pytest.fixture
def tessera() -> str:
    found = shutil.which("fsck", path=str(Path.home() / "go" / "bin"))
    if found is None:
        pytest.skip(f"no fsck of tessera in go/bin: go install {TESSERA}")
    return found


@contextlib.asynccontextmanager
async def with_certificate(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A port of this machine from which bytes go to another one, over TLS with a client certificate.

    Tessera's fsck can show none itself.
    """

    under_way: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
            await writer.wait_closed()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection("localhost", port, ssl=context)
        copies = [asyncio.create_task(copy(*pair)) for pair in ((reader, back), (onward, writer))]
        under_way.update(copies)
        # Either side may end a connection at any time.
        await asyncio.gather(*copies, return_exceptions=True)

    server = await asyncio.start_server(forward, "localhost", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def ran(program: str, url: str, origin: str, key: Path) -> str:
    """What tessera's fsck says. It always ends with 0, and with one worker (-N 1) it may not end on a fault."""
    command = [program, "-storage_url", url, "-origin", origin, "-public_key", str(key), "-ui=false", "-N", "4"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stderr


async def test_tessera_accepts_what_a_broker_serves_and_refuses_any_flipped_bit(
    tessera: str, pki: SamplePki, tmp_path: Path
) -> None:
    key = tmp_path / "log.vkey"
    key.write_text(pki.directory.log_keys[0])
    async with serving_tiles(pki, tmp_path / "log") as exchange:
        publisher, maker = await exchange.publisher(), exchange.maker()
        for _ in range(3):
            await asyncio.gather(*(publisher.publish(maker.make()) for _ in range(LEAVES // 3)))
        path = await covered(exchange)
        origin = checkpoint_origin(pki.directory.trust_domain, *parse_log_path(path))
        context = client_context(pki.folder.trust / "tls-ca.pem")
        load_certificate(context, *pki.tls_paths(AUDITOR))
        tiles = address(exchange)
        async with with_certificate(tiles.port, context) as port:
            said = await asyncio.to_thread(ran, tessera, f"http://localhost:{port}/{path}/", origin, key)
        assert f"Successfully fsck'd log with size {LEAVES} " in said
        url = f"https://localhost:{tiles.port}/{path}"
        options = ("--profile", profile(pki, tmp_path, AUDITOR), "--mirror", tmp_path / "copy")
        mirrored = await asyncio.to_thread(check, pki, "--from", url, *options)
        assert mirrored.exit_code == 0, mirrored.output
    log = tmp_path / "copy" / path
    assert "Successfully" in ran(tessera, f"file://{log}/", origin, key)
    for name, at in (
        ("checkpoint", 100),
        ("tile/0/000", 100),
        ("tile/0/001.p/44", 100),
        ("tile/1/000.p/1", 0),
        ("tile/entries/000", 100),
        ("tile/entries/001.p/44", 100),
    ):
        whole = (log / name).read_bytes()
        (log / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        said = ran(tessera, f"file://{log}/", origin, key)
        assert "fsck failed" in said, name
        assert "Successfully" not in said, name
        ours = await asyncio.to_thread(check, pki, "--from", log, "--directory", pki.folder.directory)
        assert ours.exit_code == 1, name
        (log / name).write_bytes(whole)
