"""Commands whose output, terminal or broker goes away: one line, or nothing, and never a defect."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synthetic.dna import TABLE_FILE
from synthetic.police import police_csv
from tests.integration.test_ending import silent_listener, tables, wait_for
from tests.support.process import COMMAND, BrokerProcess, edge_tables, write_toml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.pki import SamplePki

INPUT = Path(__file__).parents[2] / "deploy" / "demo" / "input"
TABLE = ("--frequencies", TABLE_FILE)
CASES = INPUT / "rescued-children.csv"


CONVERTED = ("--from", "provincial-police-csv", "--to", "record-json")
UNUSABLE = "case-exchange: SETUP_INVALID: a file or the output cannot be used: "
PRINTING = [("inspect", str(CASES)), ("--help",), ("--version",), ("inspect", "--help"), ("certs", "init", "--help")]


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_full_disk_at_the_output_is_one_line(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{UNUSABLE}No space left")


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_pipe_that_nobody_reads_is_one_line(arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{UNUSABLE}Broken pipe")


@pytest.mark.parametrize("arguments", [("inspect", str(CASES)), ("no-such-command",)], ids=" ".join)
def test_a_full_disk_at_both_outputs_ends_the_command(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([COMMAND, *arguments], stdout=full, stderr=full, check=False).returncode == 2


# ASCII is nearly always a setting that was forgotten: click, and Python itself, then write UTF-8.
@pytest.mark.parametrize(
    ("encoding", "written"), [("ascii", "utf-8"), ("latin-1", "latin-1"), ("gbk", "gbk"), ("utf-8", "utf-8")]
)
def test_a_terminal_of_another_encoding_gets_what_it_can_show(tmp_path: Path, encoding: str, written: str) -> None:
    (tmp_path / "a.csv").write_bytes(CASES.read_bytes())
    out = tmp_path / "儿童é𠮷.json"
    done = subprocess.run(
        [COMMAND, "convert", *CONVERTED, tmp_path / "a.csv", "--out", out],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C.UTF-8"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(written).strip()
    # What is escaped is right in a JSON text too.
    assert json.loads(f'"{shown}"') == f"4 records written to {out}"


@contextlib.contextmanager
def running(
    *arguments: str | Path, errors: Path | None = None, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A command that is killed at the end. ``errors``: where its standard error goes, if it is too much for a pipe."""
    with contextlib.ExitStack() as stack:
        where = subprocess.PIPE if errors is None else stack.enter_context(errors.open("w"))
        process = subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=where, text=True, env=env)
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
        arguments: dict[str, tuple[str | Path, ...]] = {
            "gateway": ("--profile", profile),
            "subscribe": ("--profile", profile, "--kind", "MatchNotification"),
            "status": ("--profile", plain),
            "replay": ("--profile", plain, "--purpose", "a test", "--out", tmp_path / "a.bundle"),
            "inspect": (large,),
            "serve": ("--config", tmp_path / "broker.toml"),
            "dna": ("watch", "--database", tmp_path / "lab.db", *TABLE, "--results", tmp_path, tmp_path),
        }
        ready = {"inspect": str(large), "serve": str(tmp_path / "log"), "dna": str(tmp_path / "lab.db")}
        if command == "inspect":
            with large.open("wb") as file:
                file.writelines(police_csv(30_000_000))
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


# A class that is being made, too: Python turns what is raised there into another error.
STANDING_STILL = (
    "class Half:\n    def __set_name__(self, owner, name): open({pipe!r}).read()\nclass Whole: half = Half()\n"
)


@pytest.mark.parametrize("part", ["click", "grpc"], ids=["the program", "the command"])
def test_ctrl_c_while_a_command_is_loaded_ends_it_with_130_and_without_a_word(tmp_path: Path, part: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / f"{part}.py").write_text(STANDING_STILL.format(pipe=str(pipe)))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with running("status", "--help", env=os.environ | {"PYTHONPATH": path}) as process:
        wait_for(process, lambda: read_by_somebody(pipe))
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


def read_by_somebody(pipe: Path) -> bool:
    """Whether somebody has a pipe open, or waits to have it open, and reads on."""
    with contextlib.suppress(OSError):
        # It stays open, so that the reader goes on waiting.
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        return True
    return False


@pytest.mark.parametrize("receipts", [1, 99, 100, 101, 150])
def test_a_broker_that_dies_in_the_middle_of_a_call_is_a_failed_connection(
    pki: SamplePki, tmp_path: Path, receipts: int
) -> None:
    broker = BrokerProcess(pki, tmp_path)
    large, errors = tmp_path / "large.csv", tmp_path / "errors"
    with large.open("wb") as file:
        file.writelines(police_csv(200_000))
    broker.start()
    try:
        profile = write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, broker.target))
        with running("publish", "--profile", profile, large, errors=errors) as process:
            assert process.stdout is not None
            # There are receipts, and records without one: the call is under way.
            for _ in range(receipts):
                assert process.stdout.readline()
            broker.kill()
            process.communicate(timeout=60)
    finally:
        broker.end()
    assert process.returncode == 1
    lines = [line for line in errors.read_text().splitlines() if line.startswith("case-exchange:")]
    assert [line.split(":")[1].strip() for line in lines] == ["CONNECTION_FAILED"]
