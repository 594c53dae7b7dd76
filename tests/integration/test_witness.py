"""A witness over HTTPS, as C2SP tlog-witness says, in this process and in one of its own that is killed."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from broker.bootstrap.witness import open_witness, serve_witness
from broker.config.loader import parse
from broker.config.witness import WitnessConfig
from broker.core.errors import ConfigInvalid, Internal, KeyInvalid, LogInUse, SetupInvalid
from broker.core.tree.addcheckpoint import MAX_REQUEST_BYTES
from broker.core.tree.checkpoint import parse_note
from broker.core.tree.cosignature import WitnessKey, cosignature_check, cosigners
from broker.core.webaddress import WebAddress
from broker.telemetry import ALLOWED_FIELDS
from broker.trust.signing import note_verifier
from broker.web.client import HttpClient, HttpFailed
from broker.web.tls import client_context
from certs.profiles import TLS_SERVER
from tests.support.process import COMMAND, write_toml
from tests.support.trees import GrownTree
from tests.support.witnesses import (
    TORCHWOOD_KEY,
    TORCHWOOD_ORIGIN,
    SampleLog,
    SampleWitness,
    WitnessProcess,
    torchwood_request,
    witness_tables,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from broker.core.tree.addcheckpoint import AddCheckpoint
    from broker.web.client import HttpAnswer
    from tests.support.pki import SamplePki

TREE = GrownTree(f"sample leaf {index}".encode() for index in range(40))
FORK = GrownTree(f"sample leaf {index}{' of a fork' * (index > 4)}".encode() for index in range(40))
LOG, FORKED = SampleLog(TREE), SampleLog(FORK)
OTHER = SampleLog(TREE, origin="case-exchange.example/cases/1/a-log")
WITNESS = SampleWitness("witness.example/ministry")
CHECKS = {WITNESS.key: cosignature_check(note_verifier(WITNESS.key.public_key))}
LARGEST = 100_000


def tables(pki: SamplePki, folder: Path) -> dict[str, Any]:
    return witness_tables(pki, folder, WITNESS, {LOG.origin: LOG.key, TORCHWOOD_ORIGIN: TORCHWOOD_KEY})


def config(pki: SamplePki, folder: Path) -> WitnessConfig:
    return parse(WitnessConfig, tables(pki, folder), folder)


@pytest.fixture
async def client(pki: SamplePki, tmp_path: Path) -> AsyncIterator[HttpClient]:
    async with open_witness(config(pki, tmp_path), new=True) as server:
        address = WebAddress(tls=True, host="localhost", port=server.port, prefix="")
        opened = HttpClient(address, client_context(pki.folder.trust / "tls-ca.pem"))
        yield opened
        await opened.close()


async def ask(client: HttpClient, request: AddCheckpoint | bytes) -> HttpAnswer:
    body = request if isinstance(request, bytes) else request.marshal()
    return await client.post("/add-checkpoint", body, LARGEST)


def cosigned(request: AddCheckpoint, answer: HttpAnswer) -> bool:
    assert answer.status == 200
    return WITNESS.key in cosigners(parse_note(parse_note(request.note).text + b"\n" + answer.body), CHECKS)


async def test_the_answers_are_those_of_the_specification(client: HttpClient) -> None:
    first = LOG.request(0, 7)
    assert cosigned(first, await ask(client, first))
    statuses: dict[str, tuple[AddCheckpoint | bytes, int]] = {
        "no request": (b"old 7\n", 400),
        "no checkpoint": (b"old 7\n\nwhat?\n", 400),
        "old beyond the checkpoint": (LOG.request(7, 7)._replace(old_size=8), 400),
        "unknown origin": (OTHER.request(0, 7), 404),
        "another text than was signed": (LOG.request(7, 8).marshal().replace(b"\n8\n", b"\n9\n"), 403),
        "a bad proof": (LOG.request(7, 9)._replace(proof=(bytes(32),) * 4), 422),
        "another history": (FORKED.request(7, 9), 422),
        "another root of the same size": (FORKED.request(7, 7), 422),
        "another root of the empty tree": (OTHER.request(0, 0, bytes(32)), 404),
    }
    found = {what: (await ask(client, request)).status for what, (request, _) in statuses.items()}
    assert found == {what: status for what, (_, status) in statuses.items()}
    second = LOG.request(7, 20)
    assert cosigned(second, await ask(client, second))


async def test_another_old_size_is_answered_with_the_size_that_was_cosigned(client: HttpClient) -> None:
    await ask(client, LOG.request(0, 7))
    for request in (LOG.request(0, 9), LOG.request(6, 9), LOG.request(8, 9), FORKED.request(0, 9)):
        answer = await ask(client, request)
        assert (answer.status, answer.content_type, answer.body) == (409, "text/x.tlog.size", b"7\n")


async def test_an_empty_tree_with_another_root_is_unprocessable(client: HttpClient) -> None:
    assert (await ask(client, LOG.request(0, 0, bytes(32)))).status == 422
    request = LOG.request(0, 0)
    assert cosigned(request, await ask(client, request))


async def test_another_project_s_log_is_cosigned(client: HttpClient) -> None:
    for request in (torchwood_request(0, 1), torchwood_request(1, 5)):
        assert cosigned(request, await ask(client, request))
    assert (await ask(client, torchwood_request(1, 3))).body == b"5\n"


async def test_a_refusal_says_what_to_do(client: HttpClient) -> None:
    answer = await ask(client, OTHER.request(0, 7))

    assert answer.content_type == "text/plain"
    assert answer.body.startswith(b"ORIGIN_UNKNOWN: ")
    assert b"[[logs]]" in answer.body


async def test_a_body_beyond_the_bound_is_not_read(client: HttpClient) -> None:
    assert (await ask(client, b"o" * (MAX_REQUEST_BYTES + 1))).status == 413


async def test_only_what_the_specification_names_is_served(client: HttpClient) -> None:
    assert (await client.post("/", b"", LARGEST)).status == 404
    assert (await client.post("/sign-subtree", b"", LARGEST)).status == 404
    assert (await client.post("/" + "0" * 64 + "/checkpoint", b"", LARGEST)).status == 405


async def test_monitors_get_the_checkpoint_that_was_cosigned_last(client: HttpClient) -> None:
    path = f"/{sha256(LOG.origin.encode()).hexdigest()}/checkpoint"
    assert (await client.get(path, LARGEST)).status == 404
    assert (await client.get("/nothing/checkpoint", LARGEST)).status == 404
    await ask(client, LOG.request(0, 7))
    await ask(client, LOG.request(7, 8))

    note = parse_note((await client.get(path, LARGEST)).body)
    assert note.text == parse_note(LOG.note(8)).text
    assert [line.name for line in note.signatures] == [LOG.key.name, WITNESS.key.name]


async def test_only_a_second_signed_root_is_an_error_in_the_log_of_a_witness(client: HttpClient) -> None:
    await ask(client, LOG.request(0, 7))
    with capture_logs() as logs:
        for request in (LOG.request(7, 9)._replace(proof=(bytes(32),) * 4), FORKED.request(7, 9)):
            assert (await ask(client, request)).status == 422
        assert logs == []
        for _ in range(2):
            assert (await ask(client, FORKED.request(7, 7))).status == 422
    (line,) = logs
    assert (line["log_level"], line["event"]) == ("error", "the log has signed two trees of one size")
    assert (line["size"], line["cause"]) == (
        7,
        f"roots {FORK.roots[7].hex()} and {TREE.roots[7].hex()} of {LOG.origin}",
    )
    assert line.keys() - {"log_level"} <= ALLOWED_FIELDS


# --- what a witness is started with ---


async def test_a_witness_does_not_begin_anew_unless_told(pki: SamplePki, tmp_path: Path) -> None:
    with pytest.raises(SetupInvalid, match=r"does not exist.*new key"):
        async with open_witness(config(pki, tmp_path), new=False):
            pass
    async with open_witness(config(pki, tmp_path), new=True):
        with pytest.raises(LogInUse):
            async with open_witness(config(pki, tmp_path), new=False):
                pass
    with pytest.raises(SetupInvalid, match="exists already"):
        async with open_witness(config(pki, tmp_path), new=True):
            pass


async def test_an_empty_file_is_no_memory(pki: SamplePki, tmp_path: Path) -> None:
    """A full disk, or a copy that failed, leaves one. With it the witness would cosign a second history."""
    given = config(pki, tmp_path)
    given.witness.state.touch()
    with pytest.raises(SetupInvalid, match=r"holds nothing: delete it.*--new.*new key"):
        async with open_witness(given, new=False):
            pass
    assert given.witness.state.stat().st_size == 0
    given.witness.state.unlink()
    async with open_witness(given, new=True):
        pass
    async with open_witness(given, new=False):
        pass


@pytest.mark.parametrize(
    ("section", "change", "error"),
    [
        ("logs", [], ConfigInvalid),
        ("logs", [{"origins": ["a"], "keys": ["b"]}], ConfigInvalid),
        ("logs", [{"origins": ["a"], "keys": [str(WITNESS.key)]}], ConfigInvalid),
        ("logs", [{"origins": ["a", "a"], "keys": [str(LOG.key)]}], ConfigInvalid),
        ("witness", {"name": "two words"}, KeyInvalid),
        ("witness", {"key": "absent.key"}, KeyInvalid),
        ("server", {"address": "nowhere"}, ConfigInvalid),
        ("server", {"certificate": "absent.pem"}, SetupInvalid),
    ],
)
async def test_a_wrong_setting_is_named(
    pki: SamplePki, tmp_path: Path, section: str, change: Any, error: type[Exception]
) -> None:
    given = tables(pki, tmp_path)
    given[section] = change if isinstance(change, list) else {**given[section], **change}

    with pytest.raises(error):
        async with open_witness(parse(WitnessConfig, given, tmp_path), new=True):
            pass


def test_the_command_shows_the_key_for_the_directory(pki: SamplePki, tmp_path: Path) -> None:
    path = write_toml(tmp_path / "witness.toml", tables(pki, tmp_path))
    shown = subprocess.run(
        [COMMAND, "witness", path, "--show-key"], capture_output=True, text=True, check=True, timeout=60
    )

    assert WitnessKey.parse(shown.stdout.strip()) == WITNESS.key


# --- the process ---


@pytest.fixture
def process(pki: SamplePki, tmp_path: Path) -> Iterator[WitnessProcess]:
    made = WitnessProcess(tables(pki, tmp_path), tmp_path)
    yield made
    made.end()


async def test_the_command_serves_until_it_is_told_to_stop(pki: SamplePki, process: WitnessProcess) -> None:
    process.start()
    client = process.client(pki)
    request = LOG.request(0, 7)
    assert cosigned(request, await ask(client, request))
    await client.close()
    assert process.stop() == 0
    process.start()
    assert process.stop(signal.SIGINT) == 130


async def test_a_witness_whose_server_ends_does_not_wait_for_a_signal(
    pki: SamplePki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: object) -> None:
        message = "an error of the library"
        raise ZeroDivisionError(message)

    monkeypatch.setattr("uvicorn.Server.main_loop", fails)
    async with asyncio.timeout(60):
        with pytest.raises(Internal, match="the HTTP server ended: ZeroDivisionError"):
            await serve_witness(config(pki, tmp_path), lambda _: None, new=True)


async def test_renewed_tls_files_are_used_without_a_restart(pki: SamplePki, tmp_path: Path) -> None:
    given = tables(pki, tmp_path)
    credential = pki.credential(TLS_SERVER, agency="exchange", system="broker")
    first, second = (tmp_path / name for name in ("first", "second"))
    first.mkdir()
    second.mkdir()
    certificate, key = credential.write(first, "tls")
    given["server"] |= {"certificate": str(certificate), "key": str(key), "reload_seconds": 0.1}
    renewed = pki.credential(TLS_SERVER, agency="exchange", system="broker")
    context = client_context(pki.folder.trust / "tls-ca.pem")
    async with open_witness(parse(WitnessConfig, given, tmp_path), new=True) as server, asyncio.timeout(60):
        for new, old in zip(renewed.write(second, "tls"), (certificate, key), strict=True):
            new.replace(old)
        seen = b""
        while seen != renewed.der:
            _, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
            seen = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            assert seen in {credential.der, renewed.der}
            writer.close()
            await writer.wait_closed()


STEPS = [
    *(("fdatasync", number) for number in (1, 2)),
    *(("pwrite64", number) for number in range(1, 5)),
    *(("sendto", number) for number in (1, 2, 3)),
]
"""The system calls in which the witness is killed: syncs and writes of its file, and its answers."""


def disturbed(process: WitnessProcess, inject: str) -> subprocess.Popen[bytes]:
    """A tracer that does this to the system calls of the process (strace, "inject")."""
    if shutil.which("strace") is None:
        pytest.skip("no strace on the path: apt-get install strace")
    tracer = subprocess.Popen(
        ["strace", "-f", "-q", "-o", "/dev/null", "-p", str(process.pid), "-e", f"inject={inject}"]
    )
    process.wait_until_traced(20)
    return tracer


async def remembered(client: HttpClient) -> int:
    """The size of the checkpoint that the witness cosigned last: at least 1."""
    answer = await ask(client, LOG.request(0, 1))
    assert answer.status == 409
    return int(answer.body)


@pytest.mark.parametrize(("call", "number"), STEPS)
async def test_a_witness_that_is_killed_in_any_step_remembers_everything_that_it_has_answered(
    pki: SamplePki, process: WitnessProcess, call: str, number: int
) -> None:
    """So it never cosigns N after it gave out N+K, and never a second root of one size."""
    process.start()
    client = process.client(pki)
    first = LOG.request(0, 7)
    assert cosigned(first, await ask(client, first))
    tracer = disturbed(process, f"{call}:signal=KILL:when={number}")
    answered = 7
    with pytest.raises((HttpFailed, TimeoutError)):  # noqa: PT012 - it is not known which request is the last
        for size in range(8, 20):
            async with asyncio.timeout(60):
                request = LOG.request(answered, size)
                assert cosigned(request, await ask(client, request))
            answered = size
    await client.close()
    assert await asyncio.to_thread(process.ended, 20)
    tracer.wait(20)
    process.end()

    process.start()
    client = process.client(pki)
    size = await remembered(client)
    assert size in {answered, answered + 1}
    assert (await ask(client, FORKED.request(answered, 30))).status in {409, 422}
    assert (await ask(client, FORKED.request(size, size))).status == 422
    assert (await ask(client, FORKED.request(size, 30))).status == 422
    honest = LOG.request(size, 30)
    assert cosigned(honest, await ask(client, honest))
    await client.close()


async def test_a_witness_answers_only_after_what_it_cosigned_is_in_its_file(
    pki: SamplePki, process: WitnessProcess
) -> None:
    """Every write of its file takes long, and it is killed with its answer."""
    process.start()
    client = process.client(pki)
    first, second = LOG.request(0, 7), LOG.request(7, 8)
    assert cosigned(first, await ask(client, first))
    tracer = disturbed(process, "pwrite64:delay_enter=300000")
    async with asyncio.timeout(30):
        assert cosigned(second, await ask(client, second))
    process.end()
    tracer.wait(20)
    await client.close()

    process.start()
    client = process.client(pki)
    assert await remembered(client) == 8
    await client.close()
