"""A broker asks witnesses over HTTPS, on its own log; and litewitness, a witness that this project did not write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from broker.cli.verify import verify
from broker.core.errors import CosignaturesLate, LogRolledBack
from broker.core.tree.checkpoint import VerifierKey
from broker.core.tree.merkle import EMPTY_ROOT
from deploy.kafka.ports import free_ports
from tests.support.exchange import Exchange, running_exchange
from tests.support.pki import SamplePki
from tests.support.process import COMMAND, edge_tables, write_toml
from tests.support.replays import Bundle, replayed
from tests.support.witnessing import (
    ALPHA,
    BETA,
    QUICK,
    cosigned_sizes,
    eventually,
    everything,
    govern,
    is_late,
    origins,
    publish,
    until,
    witnessing,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def pki(tmp_path: Path) -> SamplePki:
    """A PKI of its own, because the tests sign another directory."""
    return SamplePki.build(tmp_path / "pki")


async def test_two_witnesses_cosign_what_agencies_publish(pki: SamplePki, tmp_path: Path) -> None:
    first, second = free_ports(2)
    policy = govern(pki, (ALPHA, f"https://localhost:{first}"), (BETA, f"https://localhost:{second}"))
    async with running_exchange(pki, tmp_path / "log", witnesses=QUICK) as exchange:
        publisher, maker = await exchange.publisher(), exchange.maker()
        await publisher.publish(maker.make())
        assert all(cosigned == -1 for cosigned, _ in (await cosigned_sizes(exchange, policy)).values())
        async with (
            witnessing(exchange, tmp_path / "alpha", ALPHA, first),
            witnessing(exchange, tmp_path / "beta", BETA, second),
        ):
            await until(exchange, policy, everything)
            await publish(exchange, 5)
            await until(exchange, policy, lambda sizes: everything(sizes) and sum(one for one, _ in sizes.values()) > 6)
    # What was cosigned is served again after a restart, without any witness.
    async with running_exchange(pki, tmp_path / "log", witnesses=QUICK) as exchange:
        await until(exchange, policy, lambda sizes: all(cosigned >= 0 for cosigned, _ in sizes.values()))


@contextlib.asynccontextmanager
async def saying_nothing(port: int) -> AsyncIterator[asyncio.Event]:
    """Something that takes connections and never answers. The event: it was asked."""
    asked, writers = asyncio.Event(), []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        asked.set()

    async with await asyncio.start_server(take, "127.0.0.1", port):
        yield asked
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_dead_and_a_silent_witness_delay_no_receipt(pki: SamplePki, tmp_path: Path) -> None:
    """Neither answers. The bound of a second is long over, and every record gets its receipt."""
    dead, silent = free_ports(2)
    govern(pki, (ALPHA, f"https://localhost:{dead}"), (BETA, f"https://localhost:{silent}"))

    settings = QUICK | {"bound_seconds": 1, "timeout_seconds": 300.0}
    async with (
        saying_nothing(silent) as asked,
        running_exchange(pki, tmp_path / "log", witnesses=settings) as exchange,
    ):
        publisher, maker = await exchange.publisher(), exchange.maker()
        async with asyncio.timeout(30):
            await asked.wait()
            for _ in range(20):
                await publisher.publish(maker.make())
            await eventually(lambda: is_late(exchange))
            await publisher.publish(maker.make())


async def test_renewed_authorities_of_witnesses_are_used_without_a_restart(pki: SamplePki, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    policy = govern(pki, (ALPHA, f"https://localhost:{port}"))
    authorities, renewed = tmp_path / "authorities.pem", tmp_path / "renewed.pem"
    authorities.write_bytes(pki.authority("signing").certificate.public_bytes(Encoding.PEM))
    shutil.copy(pki.folder.trust / "tls-ca.pem", renewed)
    settings = QUICK | {"authorities": str(authorities)}
    with capture_logs() as logs:
        async with running_exchange(pki, tmp_path / "log", witnesses=settings) as exchange:
            await publish(exchange, 1)
            async with witnessing(exchange, tmp_path / "alpha", ALPHA, port), asyncio.timeout(30):
                await eventually(lambda: any("SSL" in line.get("cause", "") for line in logs))
                assert all(cosigned == -1 for cosigned, _ in (await cosigned_sizes(exchange, policy)).values())
                renewed.replace(authorities)
                await until(exchange, policy, everything)


async def test_publishing_stops_without_witnesses_only_if_the_operator_says_so(pki: SamplePki, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    policy = govern(pki, (ALPHA, f"https://localhost:{port}"))
    settings = QUICK | {"bound_seconds": 1, "stop_publishing": True}
    async with running_exchange(pki, tmp_path / "log", witnesses=settings) as exchange:
        publisher, maker = await exchange.publisher(), exchange.maker()
        await publisher.publish(maker.make())
        await eventually(lambda: is_late(exchange))
        with pytest.raises(CosignaturesLate):
            await publisher.publish(maker.make())
        async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
            await until(exchange, policy, everything)
            await eventually(lambda: not is_late(exchange))
            await publisher.publish(maker.make())


async def test_a_part_of_the_broker_that_a_defect_ends_is_told_at_once(pki: SamplePki, tmp_path: Path) -> None:
    """Such as the one that asks witnesses. Without a line in the log, nobody would miss it before it is needed."""

    async def fails() -> None:
        message = "a value that may be secret"
        raise UnicodeError(message)

    async with running_exchange(pki, tmp_path / "log") as exchange, asyncio.timeout(30):
        with capture_logs() as logs:
            exchange.broker._tasks.run(fails(), "a sample part")
            await eventually(lambda: any(line["log_level"] == "critical" for line in logs))
        (line,) = [line for line in logs if line["log_level"] == "critical"]
        assert (line["event"], line["cause"]) == ("a sample part: a defect ended it", "UnicodeError")
        assert "secret" not in str(line)


def status(pki: SamplePki, exchange: Exchange, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    profile = write_toml(folder / "profile.toml", edge_tables(pki, "shanxi-police", exchange.target))
    return subprocess.run(
        [COMMAND, "status", "--profile", profile, *options], capture_output=True, text=True, check=False, timeout=60
    )


async def test_status_tells_which_checkpoints_are_cosigned_and_the_origins_for_a_witness(
    pki: SamplePki, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    async with running_exchange(pki, tmp_path / "log", witnesses=QUICK) as exchange:
        told = await asyncio.to_thread(status, pki, exchange, tmp_path)
        assert "witnesses: the directory names none" in told.stdout, told.stderr
    policy = govern(pki, (ALPHA, f"https://localhost:{port}"))
    async with running_exchange(pki, tmp_path / "log", witnesses=QUICK) as exchange:
        told = await asyncio.to_thread(status, pki, exchange, tmp_path)
        assert "witnesses: 1 of 1 must cosign; NOT COSIGNED: cases/0, cases/1" in told.stdout
        async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
            await until(exchange, policy, everything)
        told = await asyncio.to_thread(status, pki, exchange, tmp_path)
        assert "every partition is cosigned, the oldest at 20" in told.stdout
        facts = json.loads((await asyncio.to_thread(status, pki, exchange, tmp_path, "--json")).stdout)
        assert list(facts["origins"].values()) == list(origins(exchange))
        assert facts["witnesses"]["needed"] == facts["witnesses"]["listed"] == 1
        assert facts["witnesses"]["cosigned"].keys() == facts["checkpoints"].keys()


async def test_a_log_that_went_back_is_found_by_what_a_witness_has_cosigned(pki: SamplePki, tmp_path: Path) -> None:
    """No edge has seen more of it. The witness stands at a larger tree, and shows what was signed."""
    (port,) = free_ports(1)
    policy = govern(pki, (ALPHA, f"https://localhost:{port}"))
    log, copy = tmp_path / "log", tmp_path / "copy"
    async with running_exchange(pki, log, witnesses=QUICK) as exchange:
        await publish(exchange, 1)
    shutil.copytree(log, copy)
    async with running_exchange(pki, log, witnesses=QUICK) as exchange:
        await publish(exchange, 9)
        async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
            await until(exchange, policy, everything)
    shutil.rmtree(log)
    copy.rename(log)
    async with running_exchange(pki, log, witnesses=QUICK) as exchange, asyncio.timeout(30):
        async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
            await eventually((log / "rolled-back").exists)
        with pytest.raises(LogRolledBack):
            await publish(exchange, 1)


# --- an auditor ---


def told(bundle: Bundle, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(verify, [str(bundle.path), "--root", str(bundle.root), *options])
    return result.exit_code, result.output


async def test_an_auditor_is_told_what_witnesses_have_cosigned(pki: SamplePki, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with running_exchange(pki, tmp_path / "log", witnesses=QUICK) as exchange:
        maker = exchange.maker()
        await publish(exchange, 3, maker)
        without = await replayed(exchange, tmp_path / "without.bundle")
    policy = govern(pki, (ALPHA, f"https://localhost:{port}"))
    async with running_exchange(pki, tmp_path / "log", witnesses=QUICK) as exchange:
        async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
            await until(exchange, policy, everything)
        # Some records more, which no witness has seen.
        await publish(exchange, 3, maker)
        whole = await replayed(exchange, tmp_path / "whole.bundle")
    log = VerifierKey.parse(pki.directory.log_keys[0])
    stranger = VerifierKey("case-exchange.example/log", bytes(32))
    mine, theirs, others = (tmp_path / name for name in ("mine", "theirs", "others"))
    mine.write_text(f"log {log}\n{policy}")
    theirs.write_text(f"log {stranger}\n{policy}")
    others.write_text(f"witness beta {BETA.key}\nquorum beta\n")

    assert "witnesses: none. Nothing here proves" in told(without)[1]
    code, text = told(whole)
    assert (code, text.count("are cosigned by witness.example/alpha at 20")) == (0, 10), text
    assert "witnesses: the directory's policy names 1, and at least 1 must cosign" in text
    code, text = told(whole, "--witness-policy", str(mine))
    assert code == 0
    assert "witnesses: your policy names 1" in text
    code, text = told(whole, "--witness-policy", str(others))
    assert (code, text.count("error: WITNESSES_MISSING"), text.count("NOT COSIGNED")) == (1, 10, 10)
    code, text = told(whole, "--witness-policy", str(theirs))
    assert (code, text.count("error: CHECKPOINT_INVALID")) == (1, 10)
    code, text = told(without, "--witness-policy", str(mine), "--json")
    facts = json.loads(text)
    assert (code, facts["clean"], len(facts["witnesses"]["missing"])) == (1, False, 10)
    others.write_text("quorum beta\n")
    assert "WITNESS_POLICY_INVALID: line 1" in told(whole, "--witness-policy", str(others))[1]


# --- litewitness ---

LITEWITNESS = "filippo.io/torchwood/cmd/litewitness@v0.6.1"
# From torchwood's internal/witness/witness.go, v0.6.1, which keeps these tables if they exist.
LITEWITNESS_TABLES = """
CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL);
CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));
"""


def introduce(database: Path, logs: dict[str, VerifierKey]) -> None:
    """Tell litewitness about logs, as its command witnessctl does."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(LITEWITNESS_TABLES)
        for origin, key in logs.items():
            connection.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, b64encode(EMPTY_ROOT).decode()))
            connection.execute("INSERT INTO key VALUES (?, ?)", (origin, str(key)))


def litewitness() -> str:
    found = shutil.which("litewitness") or shutil.which("litewitness", path=str(Path.home() / "go" / "bin"))
    if found is None:
        pytest.skip(f"no litewitness on the path: go install {LITEWITNESS}")
    return found


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """An ssh-agent with the key of the witness: litewitness takes its key from nowhere else."""
    if shutil.which("ssh-agent") is None or shutil.which("ssh-add") is None:
        pytest.skip("no ssh-agent on the path: apt-get install openssh-client")
    key = tmp_path / "witness"
    key.touch(0o600)
    key.write_bytes(ALPHA.private_key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    # The path of a socket is at most about 100 bytes long.
    socket = Path("/tmp") / f"witness-{os.getpid()}.sock"  # noqa: S108 - deleted below
    running = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        environment = os.environ | {"SSH_AUTH_SOCK": str(socket)}
        for _ in range(200):
            added = subprocess.run(["ssh-add", "-q", key], env=environment, check=False, timeout=60)
            if added.returncode == 0:
                break
        else:
            pytest.fail("the ssh-agent does not take the key")
        yield str(socket)
    finally:
        running.terminate()
        running.wait(20)
        socket.unlink(missing_ok=True)


def start_litewitness(database: Path, key: Path, agent: str, port: int) -> subprocess.Popen[bytes]:
    listed = subprocess.run(["ssh-keygen", "-lf", key], check=True, capture_output=True, text=True, timeout=60)
    options: list[Any] = ["-db", database, "-name", ALPHA.key.name, "-key", listed.stdout.split()[1]]
    return subprocess.Popen(
        [litewitness(), *options, "-ssh-agent", agent, "-listen", f"localhost:{port}"], stderr=subprocess.DEVNULL
    )


async def test_litewitness_cosigns_our_checkpoints(pki: SamplePki, tmp_path: Path, agent: str) -> None:
    (port,) = free_ports(1)
    policy = govern(pki, (ALPHA, f"http://localhost:{port}"))
    database = tmp_path / "litewitness.db"
    async with running_exchange(pki, tmp_path / "log", witnesses=QUICK) as exchange:
        await publish(exchange, 1)
        introduce(database, origins(exchange))
        running = await asyncio.to_thread(start_litewitness, database, tmp_path / "witness", agent, port)
        try:
            await until(exchange, policy, everything)
            await publish(exchange, 5)
            await until(exchange, policy, lambda sizes: everything(sizes) and sum(one for one, _ in sizes.values()) > 6)
        finally:
            running.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(running.wait, 20) == 0
