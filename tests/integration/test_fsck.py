"""``case-exchange fsck`` over HTTPS, on a copy, and on the log itself: what it accepts, and what it names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from starlette.responses import PlainTextResponse, Response
from structlog.testing import capture_logs

from broker.web.server import HttpBounds, HttpServer
from broker.web.tls import ServerContext
from deploy.kafka.ports import free_ports
from tests.support.exchange import broker_tables, running_exchange
from tests.support.pki import SamplePki
from tests.support.process import write_toml
from tests.support.rows import damage, flip, set_to
from tests.support.tiles import (
    AUDITOR,
    MEMBER,
    address,
    check,
    covered,
    get,
    profile,
    serving_tiles,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

    from tests.support.exchange import Exchange


async def fsck(exchange: Exchange, tmp_path: Path, agency: str, *options: object, path: str = "") -> tuple[int, str]:
    """What the command says over HTTPS: its exit code and its output."""
    url = f"https://localhost:{address(exchange).port}{path}"
    given = ("--from", url, "--profile", profile(exchange.pki, tmp_path, agency), *options)
    result = await asyncio.to_thread(check, exchange.pki, *given)
    return result.exit_code, result.output


async def test_fsck_accepts_what_the_broker_serves_from_each_source(
    mirror: Path, pki: SamplePki, tmp_path: Path
) -> None:
    shutil.copytree(mirror / "log", tmp_path / "log")
    async with serving_tiles(pki, tmp_path / "log") as exchange:
        await accepted_from_each_source(exchange, tmp_path)


async def accepted_from_each_source(exchange: Exchange, tmp_path: Path) -> None:
    path = await covered(exchange)
    refusals = await exchange.broker.log.end_offset(exchange.broker.follower._partitions[-1])
    code, said = await fsck(exchange, tmp_path, MEMBER, "--mirror", tmp_path / "member")
    assert code == 0, said
    assert f"{path}: 300 leaves" in said
    assert "3 tiles, without entries" in said
    # A member that asks only for what it may have is no news for auditors.
    assert await exchange.broker.log.end_offset(exchange.broker.follower._partitions[-1]) == refusals
    code, said = await fsck(exchange, tmp_path, AUDITOR, "--mirror", tmp_path / "auditor")
    assert code == 0, said
    assert "5 tiles, with all entries" in said
    assert "give the roots that were signed" in said
    code, said = await fsck(exchange, tmp_path, AUDITOR, "--json", path=f"/{path}")
    assert code == 0, said
    (facts,) = json.loads(said)
    assert (facts["name"], facts["size"], facts["entries"], facts["fault"]) == (path, 300, True, None)
    config = write_toml(tmp_path / "broker.toml", broker_tables(exchange.pki, exchange.log_folder))
    for source in (
        ("--config", config),
        ("--from", tmp_path / "member", "--directory", exchange.pki.folder.directory),
        ("--from", tmp_path / "auditor" / path, "--directory", exchange.pki.folder.directory),
    ):
        result = await asyncio.to_thread(check, exchange.pki, *source)
        assert result.exit_code == 0, result.output
        assert f"{path}: 300 leaves" in result.output


@pytest.fixture(scope="module")
def mirror(pki: SamplePki, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all tiles and entries, and beside it the log that a broker has closed."""
    folder = tmp_path_factory.mktemp("mirror")

    async def make() -> None:
        async with serving_tiles(pki, folder / "log") as exchange:
            publisher, maker = await exchange.publisher(), exchange.maker()
            for _ in range(3):
                await asyncio.gather(*(publisher.publish(maker.make()) for _ in range(100)))
            path = await covered(exchange)
            code, said = await fsck(exchange, folder, AUDITOR, "--mirror", folder / "copy")
            assert code == 0, said
            (folder / "path").write_text(path)

    asyncio.run(make())
    return folder


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("tile/0/000", 40), "WRONG at tile/0/000"),
        (("tile/0/001.p/44", 40), "WRONG at tile/0/001.p/44, number 257"),
        (("tile/1/000.p/1", 0), "WRONG at tile/1/000.p/1, number 0"),
        (("tile/entries/000", 100), "WRONG at tile/entries/000, number 0"),
        (("checkpoint", 70), "WRONG at checkpoint"),
        (("checkpoint", -5), "WRONG at checkpoint"),
    ],
)
def test_a_flipped_bit_in_a_copy_is_named(
    mirror: Path, pki: SamplePki, tmp_path: Path, place: tuple[str, int], said: str
) -> None:
    file, at = place
    copy, path = tmp_path / "copy", (mirror / "path").read_text()
    shutil.copytree(mirror / "copy", copy)
    changed = bytearray((copy / path / file).read_bytes())
    changed[at] ^= 1
    (copy / path / file).write_bytes(changed)
    result = check(pki, "--from", copy, "--directory", pki.folder.directory)
    assert result.exit_code == 1
    assert f"{path}: {said}" in result.output
    assert "1 of 10 logs are wrong" in result.output


def test_a_copy_that_lacks_a_tile_or_is_of_another_log_is_wrong(mirror: Path, pki: SamplePki, tmp_path: Path) -> None:
    copy, path = tmp_path / "copy", (mirror / "path").read_text()
    shutil.copytree(mirror / "copy", copy)
    (copy / path / "tile/0/000").unlink()
    audit = next((copy / "audit/0").iterdir())
    shutil.rmtree(audit)
    shutil.copytree(mirror / "copy" / path, audit)
    result = check(pki, "--from", copy, "--directory", pki.folder.directory)
    assert result.exit_code == 1
    assert f"{path}: WRONG at tile/0/000: there is no tile/0/000" in result.output
    assert "WRONG at checkpoint: it is the checkpoint of another log" in result.output


def test_a_partial_tile_may_be_replaced_by_the_full_one(mirror: Path, pki: SamplePki, tmp_path: Path) -> None:
    """As tlog-tiles allows to those who keep tiles."""
    copy, path = tmp_path / "copy", (mirror / "path").read_text()
    shutil.copytree(mirror / "copy", copy)
    for level in ("0", "entries"):
        partial = copy / path / "tile" / level / "001.p" / "44"
        more = 212 * (bytes(32) if level == "0" else b"\x00\x00")
        (copy / path / "tile" / level / "001").write_bytes(partial.read_bytes() + more)
        partial.unlink()
    result = check(pki, "--from", copy / path, "--directory", pki.folder.directory)
    assert result.exit_code == 0, result.output


def test_nothing_is_believed_that_the_pinned_key_did_not_sign(mirror: Path, tmp_path: Path) -> None:
    stranger = SamplePki.build(tmp_path / "pki")
    result = check(stranger, "--from", mirror / "copy", "--directory", stranger.folder.directory)
    assert result.exit_code == 1
    assert "10 of 10 logs are wrong" in result.output


async def test_what_the_log_has_lost_or_changed_is_named_by_its_position(
    mirror: Path, pki: SamplePki, tmp_path: Path
) -> None:
    log, path = tmp_path / "log", (mirror / "path").read_text()
    config = write_toml(tmp_path / "broker.toml", broker_tables(pki, log))

    def own() -> str:
        result = check(pki, "--config", config)
        assert result.exit_code == 1, result.output
        return next(line for line in result.output.splitlines() if "WRONG" in line)

    # Bytes that no leaf covers, and a column that hides the record: only who reads the records sees these.
    for do, cause in ((flip(7, b"\n", 1), "record"), (set_to(7, "recipients", ""), "recipients")):
        shutil.copytree(mirror / "log", log)
        (position,) = damage(log, do)
        line = await asyncio.to_thread(own)
        assert f"{path}: WRONG at tile/entries/000 ({position})" in line
        assert cause in line
        shutil.rmtree(log)
    shutil.copytree(mirror / "log", log)
    (position,) = damage(log, set_to(280, "record_sha256", bytes(32)))
    assert f"WRONG at tile/entries/001.p/44 ({position})" in await asyncio.to_thread(own)
    async with serving_tiles(pki, log) as exchange:
        answer = await get(exchange, f"/{path}/tile/entries/001.p/44", AUDITOR)
        assert (answer.status, answer.body.partition(b":")[0]) == (500, b"LOG_CORRUPT")
        code, said = await fsck(exchange, tmp_path, AUDITOR)
        assert code == 1
        assert f"WRONG at tile/entries/001.p/44: the log has lost or changed the entry at {position}" in said
        # The tree is as it was signed, and the other bundle is whole.
        assert (await get(exchange, f"/{path}/tile/entries/000", AUDITOR)).status == 200
        assert (await fsck(exchange, tmp_path, MEMBER))[0] == 0


async def test_a_log_that_cannot_be_read_is_not_judged(pki: SamplePki, tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    member_profile = profile(pki, tmp_path, MEMBER)
    for options, said in (
        (("--from", f"https://localhost:{closed}", "--profile", member_profile), "CONNECTION_FAILED"),
        (("--from", f"https://localhost:{closed}", "--directory", pki.folder.directory), "CONFIG_INVALID"),
        (("--from", tmp_path, "--profile", member_profile), "CONFIG_INVALID"),
        (("--from", tmp_path), "--directory"),
        ((), "--from or --config"),
    ):
        result = await asyncio.to_thread(check, pki, *options)
        assert result.exit_code == 2, (options, result.output)
        assert said in result.output


async def test_a_revoked_member_cannot_check(pki: SamplePki, tmp_path: Path) -> None:
    revoked = profile(pki, tmp_path, MEMBER, pki.revoked["tls"].write(tmp_path, "peer"))
    async with serving_tiles(pki, tmp_path / "log") as exchange:
        url = f"https://localhost:{address(exchange).port}"
        result = await asyncio.to_thread(check, pki, "--from", url, "--profile", revoked)
    assert result.exit_code == 2
    assert "PEER_REVOKED: the peer's certificate is revoked" in result.output


@contextlib.asynccontextmanager
async def lying_server(pki: SamplePki, app: ASGIApp) -> AsyncIterator[str]:
    """The address of a server with the exchange's certificate that answers as it likes."""
    context = ServerContext(*pki.tls_paths("exchange"), pki.folder.trust / "tls-ca.pem")
    server = HttpServer(app, "localhost:0", context, HttpBounds())
    await server.start()
    try:
        yield f"https://localhost:{server.port}"
    finally:
        await server.stop()


async def test_a_server_cannot_name_a_file_outside_of_the_copy(pki: SamplePki, tmp_path: Path) -> None:
    async with lying_server(pki, PlainTextResponse("../../outside\n")) as url:
        options = ("--profile", profile(pki, tmp_path, MEMBER), "--mirror", tmp_path / "deep" / "copy")
        result = await asyncio.to_thread(check, pki, "--from", url, *options)
        assert result.exit_code == 2
        assert "CHECKPOINT_INVALID: there can be no log of this name" in result.output
        assert not (tmp_path / "deep").exists()


def of_a_copy(copy: Path, shows: Callable[[str], bool] = lambda _: True, *, entries: bool = True) -> ASGIApp:
    """Serves a copy, but not every log in its index, or no entries."""
    logs = [str(found.parent.relative_to(copy)) for found in sorted(copy.glob("*/*/*/checkpoint"))]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path, answer = scope["path"].strip("/"), Response(status_code=404)
        if not path:
            answer = Response("".join(f"{name}\n" for name in logs if shows(name)))
        elif "entries" in path and not entries:
            answer = Response("RIGHT_DENIED: no entries for you.\n", 403)
        elif (copy / path).is_file():
            answer = Response((copy / path).read_bytes())
        await answer(scope, receive, send)

    return app


@pytest.mark.parametrize(
    ("shows", "missing"),
    [
        (lambda _: False, ["cases/0", "dna/0", "notices/0", "audit/0"]),
        (lambda name: not name.startswith("dna/1/"), ["dna/1"]),
        (lambda name: not name.startswith("notices/"), ["notices/0"]),
    ],
)
async def test_logs_that_the_server_does_not_show_are_named(
    mirror: Path, pki: SamplePki, tmp_path: Path, shows: Callable[[str], bool], missing: list[str]
) -> None:
    async with lying_server(pki, of_a_copy(mirror / "copy", shows)) as url:
        result = await asyncio.to_thread(check, pki, "--from", url, "--profile", profile(pki, tmp_path, AUDITOR))
    assert result.exit_code == 2, result.output
    named = [line.partition(":")[0] for line in result.output.splitlines() if "NOT SHOWN" in line]
    assert named == missing
    assert "nothing is wrong" not in result.output


async def test_the_last_logs_of_a_stream_are_missed_if_the_directory_says_how_many_it_has(
    mirror: Path, pki: SamplePki, tmp_path: Path
) -> None:
    directory = replace(pki.directory, version=pki.directory.version + 1, partitions={"dna": 4, "cases": 4})
    document = tmp_path / "directory.json"
    document.write_bytes(pki.sign(directory))

    async def shown(shows: Callable[[str], bool]) -> tuple[int, list[str]]:
        async with lying_server(pki, of_a_copy(mirror / "copy", shows)) as url:
            given = ("--profile", profile(pki, tmp_path, MEMBER), "--directory", document)
            result = await asyncio.to_thread(check, pki, "--from", url, *given)
        named = [line.partition(":")[0] for line in result.output.splitlines() if "NOT SHOWN" in line]
        return result.exit_code, named

    assert await shown(lambda _: True) == (0, [])
    assert await shown(lambda name: not name.startswith(("dna/2/", "dna/3/"))) == (2, ["dna/2", "dna/3"])
    assert await shown(lambda name: not name.startswith("cases/")) == (2, [f"cases/{number}" for number in range(4)])


async def test_a_broker_says_that_its_directory_has_another_number_of_partitions_and_goes_on(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    directory = replace(pki.directory, version=pki.directory.version + 1, partitions={"dna": 4, "cases": 5})
    pki.folder.directory.write_bytes(pki.sign(directory))
    with capture_logs() as logs:
        async with running_exchange(pki, tmp_path / "log") as exchange:
            await (await exchange.publisher()).publish(exchange.maker().make())
    (said,) = [line["cause"] for line in logs if "auditors will miss partitions" in line["event"]]
    assert said == "the log has 4 partitions of cases, and 5 by the directory"


async def test_a_server_that_refuses_an_auditor_the_entries_is_wrong(
    mirror: Path, pki: SamplePki, tmp_path: Path
) -> None:
    async with lying_server(pki, of_a_copy(mirror / "copy", entries=False)) as url:
        for agency, code in ((AUDITOR, 1), (MEMBER, 0)):
            own = profile(pki, tmp_path, agency)
            result = await asyncio.to_thread(check, pki, "--from", url, "--profile", own)
            assert result.exit_code == code, result.output
            said = "WRONG at tile/entries/000: the server refuses entries that the directory grants"
            assert (said in result.output) == (code == 1)
