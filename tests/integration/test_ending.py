"""SIGTERM and Ctrl-C end every program of an edge in bounded time, in whatever state it is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synthetic.police import police_csv
from tests.support.exchange import broker_tables
from tests.support.process import COMMAND, BrokerProcess, edge_tables, write_toml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.pki import SamplePki

INPUT = Path(__file__).parents[2] / "deploy" / "demo" / "input"
DRAIN_SECONDS = 1.0
LONGEST_SECONDS = DRAIN_SECONDS + 40
"""This machine may have much else to do. Without a bound the states below last for minutes or for ever."""


def tables(pki: SamplePki, folder: Path, target: str) -> dict[str, Any]:
    found = edge_tables(pki, "shanxi-police", target)
    found["gateway"] = {
        "folder": str(folder / "edge"),
        "formats": ["provincial-police-csv"],
        "outbox_format": "record-json",
        "subscribe": ["MatchNotification"],
        "retry_seconds": 0.5,
        "drain_seconds": DRAIN_SECONDS,
    }
    found["routes"] = {
        "CaseRecord": {"recipients": ["ministry"], "purpose": "child-rescue"},
        "SampleRequest": {"recipients": ["national-dna-database"], "purpose": "dna-matching"},
    }
    return found


@contextlib.contextmanager
def silent_listener(backlog: int = 5) -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("localhost", 0), backlog=backlog) as server:
        yield f"localhost:{server.getsockname()[1]}"


@contextlib.contextmanager
def started(command: str, profile: Path, *more: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [COMMAND, command, "--profile", profile, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def ends(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(number)
    _, errors = process.communicate(timeout=LONGEST_SECONDS)
    assert "Traceback" not in errors
    assert "INTERNAL" not in errors
    return process.returncode, errors


def handles_signals(process: subprocess.Popen[str]) -> bool:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.fixture
def broker(pki: SamplePki, tmp_path: Path) -> Iterator[BrokerProcess]:
    process = BrokerProcess(pki, tmp_path)
    process.start()
    yield process
    process.end()


def test_a_gateway_that_still_reads_its_files_of_trust_ends(pki: SamplePki, tmp_path: Path) -> None:
    # Nobody writes into the pipe, as on a disk that has failed: the main thread waits in the system.
    pipe = tmp_path / "directory.json"
    os.mkfifo(pipe)
    found = tables(pki, tmp_path, "localhost:1")
    found["trust"]["directory"] = str(pipe)
    with started("gateway", write_toml(tmp_path / "edge.toml", found)) as gateway:
        wait_for(gateway, lambda: handles_signals(gateway))
        assert ends(gateway)[0] == 0


@pytest.mark.parametrize("command", ["gateway", "subscribe"])
def test_a_program_whose_broker_takes_the_connection_and_says_nothing_ends(
    pki: SamplePki, tmp_path: Path, command: str
) -> None:
    more = {"gateway": (), "subscribe": ("--kind", "MatchNotification")}[command]
    with silent_listener() as target:
        profile = write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, target))
        with started(command, profile, *more) as process:
            wait_for(process, (tmp_path / "edge" / "spool.db").exists)
            assert ends(process)[0] == (0 if command == "gateway" else 143)


def test_a_gateway_whose_broker_is_away_ends(pki: SamplePki, tmp_path: Path) -> None:
    with started("gateway", write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, "localhost:1"))) as gateway:
        assert line_of(gateway)
        assert ends(gateway)[0] == 0


def test_a_gateway_that_is_idle_ends(pki: SamplePki, tmp_path: Path, broker: BrokerProcess) -> None:
    with started("gateway", write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, broker.target))) as gateway:
        assert line_of(gateway)
        assert ends(gateway)[0] == 0


def test_a_gateway_whose_broker_stands_still_while_it_publishes_ends(
    pki: SamplePki, tmp_path: Path, broker: BrokerProcess
) -> None:
    with started("gateway", write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, broker.target))) as gateway:
        assert line_of(gateway)
        os.kill(broker.pid, signal.SIGSTOP)
        (tmp_path / "edge" / "inbox" / "cases.csv").write_bytes((INPUT / "rescued-children.csv").read_bytes())
        wait_for(gateway, lambda: any((tmp_path / "edge" / "done").iterdir()))
        assert ends(gateway)[0] == 0
        os.kill(broker.pid, signal.SIGCONT)


def write_large(path: Path, times: int) -> None:
    """A police table with the same rows again and again: a header and 8 MB, then as much so many times more."""
    pieces = list(police_csv(8_000_000))
    with path.open("wb") as file:
        file.writelines(pieces)
        for _ in range(times):
            file.writelines(pieces[1:])


def test_a_gateway_that_looks_through_a_large_file_before_its_first_record_ends(pki: SamplePki, tmp_path: Path) -> None:
    inbox = tmp_path / "edge" / "inbox"
    inbox.mkdir(parents=True)
    write_large(inbox / "export.csv", 60)
    with started("gateway", write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, "localhost:1"))) as gateway:
        assert line_of(gateway)
        assert ends(gateway)[0] == 0
    assert (inbox / "export.csv").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_publish_that_waits_for_the_broker_ends_quietly(
    pki: SamplePki, tmp_path: Path, number: signal.Signals
) -> None:
    with silent_listener() as target:
        profile = write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, target))
        with started("publish", profile, INPUT / "rescued-children.csv") as process:
            wait_for(process, (tmp_path / "edge" / "spool.db").exists)
            code, errors = ends(process, number)
            assert code == 128 + number
            assert "case-exchange:" not in errors


@pytest.mark.parametrize("kind", ["SampleReqest", "Closures"])
def test_a_misspelt_kind_is_named_with_the_right_one_and_ends_the_gateway_at_once(
    pki: SamplePki, tmp_path: Path, kind: str
) -> None:
    found = tables(pki, tmp_path, "localhost:1")
    found["gateway"]["subscribe"] = [kind]
    with started("gateway", write_toml(tmp_path / "edge.toml", found)) as gateway:
        _, errors = gateway.communicate(timeout=LONGEST_SECONDS)
    assert gateway.returncode == 2
    right = {"SampleReqest": "SampleRequest", "Closures": "Closure"}[kind]
    assert f"gateway.subscribe: there is no kind of record {kind}; did you mean {right}?" in errors


def test_a_misspelt_kind_on_the_command_line_is_named_with_the_right_one(pki: SamplePki, tmp_path: Path) -> None:
    profile = write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, "localhost:1"))
    with started("subscribe", profile, "--kind", "SampleReqest") as process:
        _, errors = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == 2
    assert "there is no kind of record SampleReqest; did you mean SampleRequest?" in errors


def test_a_gateway_that_the_broker_refuses_ends_while_it_looks_through_a_large_file(
    pki: SamplePki, tmp_path: Path, broker: BrokerProcess
) -> None:
    inbox = tmp_path / "edge" / "inbox"
    inbox.mkdir(parents=True)
    write_large(inbox / "export.csv", 100)
    found = tables(pki, tmp_path, broker.target)
    # The directory does not let police receive this kind.
    found["gateway"]["subscribe"] = ["SampleRequest"]
    with started("gateway", write_toml(tmp_path / "edge.toml", found)) as gateway:
        _, errors = gateway.communicate(timeout=LONGEST_SECONDS + 20)
    assert gateway.returncode == 1
    assert "case-exchange: RIGHT_DENIED" in errors


BROKER_WITH_A_THREAD = """
import asyncio, sys, threading
from pathlib import Path
from broker.bootstrap import serving
from broker.config.broker import BrokerConfig
from broker.config.loader import load

serving.CLOSING_SECONDS = 0.5
threading.Thread(target=threading.Event().wait).start()
asyncio.run(serving.serve(load(BrokerConfig, Path(sys.argv[1])), print))
"""
"""A broker in whose process a thread waits for ever, like one of a Kafka client whose nodes do not answer."""


def test_a_broker_that_an_error_ends_does_not_wait_for_threads(pki: SamplePki, tmp_path: Path) -> None:
    config = broker_tables(pki, tmp_path / "log")
    config["trust"]["directory"] = str(tmp_path / "none.json")
    written = write_toml(tmp_path / "broker.toml", config)
    done = subprocess.run(
        [sys.executable, "-c", BROKER_WITH_A_THREAD, written], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "none.json" in done.stderr
    assert "was cut off" in done.stdout + done.stderr
