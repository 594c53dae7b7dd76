"""A gateway is killed while it takes a file in and publishes it: every record goes out once, no number is skipped."""

from __future__ import annotations

import sqlite3
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.process import COMMAND, BrokerProcess, edge_tables, write_toml

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pki import SamplePki

ROWS = 400
KILLS = 6


def profile(pki: SamplePki, folder: Path, target: str) -> dict[str, Any]:
    return {
        **edge_tables(pki, "shanxi-police", target),
        "gateway": {
            "folder": str(folder / "edge"),
            "formats": ["provincial-police-csv"],
            "outbox_format": "provincial-police-csv",
            "poll_seconds": 0.05,
        },
        "routes.CaseRecord": {"recipients": ["ministry"], "purpose": "child-rescue"},
    }


def receipts(spool: Path) -> int:
    if not spool.exists():
        return 0
    try:
        # A copy is looked at: the gateway holds its own file.
        copy = spool.with_suffix(".copy")
        for suffix in ("", "-wal"):
            source = spool.with_name(spool.name + suffix)
            copy.with_name(copy.name + suffix).write_bytes(source.read_bytes() if source.exists() else b"")
        with sqlite3.connect(copy) as connection:
            return int(connection.execute("SELECT count(*) FROM receipts").fetchone()[0])
    except (sqlite3.Error, OSError):
        return 0


@pytest.mark.crash
def test_every_record_of_a_file_goes_out_once_over_killed_gateways(pki: SamplePki, tmp_path: Path) -> None:
    broker = BrokerProcess(pki, tmp_path)
    broker.start()
    config = write_toml(tmp_path / "gateway.toml", profile(pki, tmp_path, broker.target))
    inbox, spool = tmp_path / "edge" / "inbox", tmp_path / "edge" / "spool.db"
    inbox.mkdir(parents=True)
    rows = "".join(f"SYN-{number},1,测试{number}\r\n" for number in range(ROWS))
    (inbox / "cases.csv").write_bytes(("AJBH,AJLB,XM\r\n" + rows).encode("gb18030"))
    for kill in range(KILLS + 1):
        gateway = subprocess.Popen([COMMAND, "gateway", "--profile", config], stdout=subprocess.PIPE, text=True)
        assert gateway.stdout is not None
        gateway.stdout.readline()
        # Dies later each time; the last one is let finish.
        goal = ROWS if kill == KILLS else ROWS * kill // KILLS
        while receipts(spool) < goal:
            assert gateway.poll() is None
        gateway.kill()
        gateway.wait()
        gateway.stdout.close()
    assert receipts(spool) == ROWS
    assert not list(inbox.glob("*.csv"))
    assert broker.stop() == 0
    with sqlite3.connect(tmp_path / "log" / "log.db") as log:
        (stored,) = log.execute("SELECT count(*) FROM entries WHERE kind = 'CaseRecord'").fetchone()
    assert stored == ROWS
    with sqlite3.connect(spool.with_suffix(".copy")) as copy:
        assert copy.execute("SELECT last FROM sequences").fetchall() == [(ROWS,)]
