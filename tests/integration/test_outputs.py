"""Commands whose output, terminal or broker goes away: one line, or nothing, and never a defect."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synthetic.police import police_csv
from tests.integration.test_ending import silent_listener, tables, wait_for
from tests.support.process import COMMAND, BrokerProcess, edge_tables, write_toml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.pki import SamplePki

INPUT = Path(__file__).parents[2] / "deploy" / "demo" / "input"
CASES = INPUT / "rescued-children.csv"


def test_a_full_disk_at_the_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([COMMAND, "inspect", CASES], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("case-exchange: SETUP_INVALID: a file or the output cannot be used: No space left")


def test_a_pipe_that_nobody_reads_is_one_line() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([COMMAND, "inspect", CASES], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("case-exchange: SETUP_INVALID: a file or the output cannot be used: Broken pipe")


def test_a_full_disk_at_both_outputs_ends_the_command() -> None:
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([COMMAND, "inspect", CASES], stdout=full, stderr=full, check=False).returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_a_terminal_of_another_encoding_gets_what_it_can_show(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(CASES.read_bytes())
    out = tmp_path / "儿童é𠮷.json"
    done = subprocess.run(
        [
            COMMAND,
            "convert",
            "--from",
            "provincial-police-csv",
            "--to",
            "record-json",
            tmp_path / "a.csv",
            "--out",
            out,
        ],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C.UTF-8"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding).strip()
    # What is escaped is right in a JSON text too.
    assert json.loads(f'"{shown}"') == f"4 records written to {out}"


@contextlib.contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def uses(process: subprocess.Popen[str], *what: str) -> bool:
    """Whether the process has a file or socket with one of these names open."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        found = [os.readlink(entry) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]  # noqa: PTH115 - no file
    return any(name.startswith(what) for name in found)


@pytest.mark.parametrize("command", ["gateway", "subscribe", "status", "replay", "inspect", "serve", "dna"])
def test_ctrl_c_ends_every_command_with_130_and_says_nothing(pki: SamplePki, tmp_path: Path, command: str) -> None:
    large = tmp_path / "large.csv"
    with silent_listener() as target:
        profile = write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, target))
        plain = write_toml(tmp_path / "plain.toml", edge_tables(pki, "national-audit", target))
        BrokerProcess(pki, tmp_path)
        table = Path(__file__).parents[2] / "synthetic" / "frequencies.toml"
        arguments: dict[str, tuple[str | Path, ...]] = {
            "gateway": ("--profile", profile),
            "subscribe": ("--profile", profile, "--kind", "MatchNotification"),
            "status": ("--profile", plain),
            "replay": ("--profile", plain, "--purpose", "a test", "--out", tmp_path / "a.bundle"),
            "inspect": (large,),
            "serve": ("--config", tmp_path / "broker.toml"),
            "dna": (
                "watch",
                "--database",
                tmp_path / "lab.db",
                "--frequencies",
                table,
                "--results",
                tmp_path,
                tmp_path,
            ),
        }
        ready = {"inspect": str(large), "serve": str(tmp_path / "log"), "dna": str(tmp_path / "lab.db")}
        if command == "inspect":
            with large.open("wb") as file:
                pieces = list(police_csv(8_000_000))
                file.writelines(pieces)
                for _ in range(60):
                    file.writelines(pieces[1:])
        with running(command, *arguments[command]) as process:
            if command in {"gateway", "serve", "dna"}:
                assert process.stdout is not None
                assert process.stdout.readline()
            else:
                wait_for(process, lambda: uses(process, ready.get(command, "socket:")))
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 130, errors
        assert [line for line in errors.splitlines() if line.strip() and '"level": "info"' not in line] == []
        assert not (tmp_path / ".a.bundle.part").exists()


def test_a_broker_that_dies_in_the_middle_of_a_call_is_a_failed_connection(pki: SamplePki, tmp_path: Path) -> None:
    broker = BrokerProcess(pki, tmp_path)
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.writelines(police_csv(1_500_000))
    for number, delay in enumerate((0.0, 0.05, 0.3, 0.8)):
        broker.start()
        found = tables(pki, tmp_path / str(number), broker.target)
        (tmp_path / str(number)).mkdir()
        profile = write_toml(tmp_path / str(number) / "edge.toml", found)
        with running("publish", "--profile", profile, large) as process:
            assert process.stdout is not None
            # The first receipt is there, so the call is under way.
            assert process.stdout.readline()
            time.sleep(delay)
            broker.kill()
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        lines = [line for line in errors.splitlines() if line.startswith("case-exchange:")]
        assert [line.split(":")[1].strip() for line in lines] == ["CONNECTION_FAILED"]
