"""Measure the memory of a gateway with 100,000 records in its spool, while the broker is away and while they drain.

Linux only (/proc). The number of records can be given: ``PYTHONPATH=. python bench/spooled.py 100000``.
"""

from __future__ import annotations

import asyncio
import csv
import socket
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import tomli_w
from processes import peak_mb
from world import COMMAND, World

from broker.client.auditor import Auditor
from broker.client.connection import ConnectionSettings
from broker.core.errors import PositionUnknown
from broker.core.streams import StreamPartition
from synthetic.police import COLUMNS, police_row

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDS = 100_000
POLICE = "shanxi-police"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return int(listener.getsockname()[1])


def start_gateway(world: World, target: str, folder: Path) -> str:
    own, trust = world.pki.member(POLICE), world.pki.trust
    profile = world.root / "gateway.toml"
    tables = {
        "broker": {"address": target},
        "agency": {
            "certificate": f"{own}/tls.pem",
            "key": f"{own}/tls.key",
            "authorities": f"{trust}/tls-ca.pem",
            "signing_certificate": f"{own}/signing.pem",
            "signing_key": f"{own}/signing.key",
        },
        "trust": {
            "governance_key": f"{trust}/governance.pem",
            "directory": str(world.pki.directory),
            "signing_revocations": str(world.pki.revocation_list("signing")),
        },
        "gateway": {
            "folder": str(folder),
            "formats": ["provincial-police-csv"],
            "outbox_format": "provincial-police-csv",
        },
        "routes": {"CaseRecord": {"recipients": ["ministry"], "purpose": "child-rescue"}},
        "logging": {"level": "error"},
    }
    profile.write_text(tomli_w.dumps(tables))
    return world.start(str(COMMAND), "gateway", "--profile", str(profile))


def write_file(inbox: Path, records: int) -> None:
    random, path = Random(1), inbox / ".export.csv"  # noqa: S311 - synthetic
    with path.open("w", encoding="gb18030", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows(police_row(number, random) for number in range(1, records + 1))
    path.rename(inbox / "export.csv")


async def drained(world: World, target: str, records: int) -> None:
    """Wait until the log has so many records."""
    async with world.channel(ConnectionSettings(target), "national-audit") as channel:
        while await _in_log(Auditor(channel)) < records:  # noqa: ASYNC110 - the log has no event for it
            await asyncio.sleep(0.5)


async def _in_log(auditor: Auditor) -> int:
    size = number = 0
    while True:
        try:
            note = await auditor.checkpoint(StreamPartition("cases", number))
        except PositionUnknown:
            return size
        size, number = size + int(note.split(b"\n")[1]), number + 1


def main(arguments: Sequence[str]) -> None:
    records = int(arguments[0]) if arguments else RECORDS
    with tempfile.TemporaryDirectory(prefix="case-exchange-spooled-") as name:
        world = World(Path(name))
        try:
            target, folder = f"localhost:{free_port()}", Path(name) / "police"
            gateway = world.pid(start_gateway(world, target, folder))
            print(f"peak memory of the gateway: {peak_mb(gateway):.0f} MB at its start")
            write_file(folder / "inbox", records)
            began = time.monotonic()
            while not any((folder / "done").iterdir()):
                time.sleep(0.2)
            seconds = time.monotonic() - began
            print(f"{peak_mb(gateway):.0f} MB with {records} records in its spool, taken in within {seconds:.0f} s")
            began = time.monotonic()
            world.start_broker("broker", server={"address": target})
            asyncio.run(drained(world, target, records))
            print(f"{peak_mb(gateway):.0f} MB when all were published, after {time.monotonic() - began:.0f} s")
        finally:
            world.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
