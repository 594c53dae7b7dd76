"""The link is cut when a gateway has begun to publish a large file. Then the broker is killed as the rest drains.

Real processes: a gateway, and a broker on the embedded log. Every record must reach its recipient once, in the order of
its case, and the gateway must stay small.

    python -m tests.scenarios.backlog 100000
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import click

from broker.client.connection import ConnectionSettings, open_channel
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.errors import CaseExchangeError
from broker.wire.tls import TlsFiles
from synthetic.police import COLUMNS, police_row
from tests.support.gateways import CASES
from tests.support.link import Link
from tests.support.pki import SamplePki
from tests.support.process import COMMAND, BrokerProcess, edge_tables, write_toml
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from broker.core.streams import Position

DISTINCT_CASES = 499
KILLS = 3
WANTED = SubscribeOptions("cases", frozenset({"CaseRecord"}), max_outstanding_records=1000)


class Outcome(NamedTuple):
    """What the recipient got.

    Attributes:
        records: how many records came. One that came again counts once.
        positions: at how many places of the log they stand.
        ordered: whether each case came in the order of its publisher's numbers.
        spooled: how many of them came after the link was mended.
        after: for each kill, how many of them the broker accepted after it.
        gateway_mb: the most memory that the gateway has held.
    """

    records: int
    positions: int
    ordered: bool
    spooled: int
    after: list[int]
    gateway_mb: float


def cases_file(rows: int) -> bytes:
    """A police export in which every case has many rows."""
    random, text = Random(1), io.StringIO(newline="")  # noqa: S311 - synthetic
    lines = [police_row(number, random) for number in range(1, rows + 1)]
    for number, line in enumerate(lines):
        line[0] = f"SYN{number % DISTINCT_CASES:012}"
    csv.writer(text).writerows([list(COLUMNS), *lines])
    return text.getvalue().encode("gb18030")


class Police:
    """The gateway's process, and what it has in its spool."""

    def __init__(self, pki: SamplePki, folder: Path, target: str) -> None:
        self._folder = folder / "police"
        tables = edge_tables(pki, "shanxi-police", target)
        tables["gateway"] = {
            "folder": str(self._folder),
            "formats": ["provincial-police-csv"],
            "outbox_format": "provincial-police-csv",
            "retry_seconds": 0.5,
        }
        tables["routes"] = {"CaseRecord": CASES}
        (self._folder / "inbox").mkdir(parents=True)
        self._profile = write_toml(folder / "police.toml", tables)
        self._errors = folder / "police.log"

    @contextlib.contextmanager
    def running(self, source: bytes) -> Iterator[None]:
        """The gateway, from its start to its end. The file lies in its inbox."""
        (self._folder / "inbox" / "export.csv").write_bytes(source)
        with (
            self._errors.open("w") as errors,
            subprocess.Popen([COMMAND, "gateway", "--profile", self._profile], stdout=errors, stderr=errors) as process,
        ):
            self._pid = process.pid
            try:
                yield
            finally:
                process.terminate()

    def has_taken(self) -> bool:
        """Whether the whole file is signed and in the spool."""
        done = self._folder / "done"
        return done.is_dir() and any(done.iterdir())

    def most_mb(self) -> float:
        """The most memory that it has held."""
        (line,) = (
            line for line in Path(f"/proc/{self._pid}/status").read_text().splitlines() if line.startswith("VmHWM")
        )
        return int(line.split()[1]) / 1024


class Ministry:
    """The recipient. It acknowledges what it gets, and subscribes again when the broker has died."""

    def __init__(self, pki: SamplePki) -> None:
        certificate, key = pki.tls_paths("ministry")
        self._files = TlsFiles(certificate, key, pki.folder.trust / "tls-ca.pem")
        self.positions: defaultdict[str, set[Position]] = defaultdict(set)
        self.numbers: defaultdict[str, list[int]] = defaultdict(list)
        self.accepted_ms: list[int] = []

    async def receives(self, records: int, target: str) -> None:
        """Until so many records have come."""
        while len(self.positions) < records:
            with contextlib.suppress(CaseExchangeError):
                await self._subscribe(records, target)
            await asyncio.sleep(0.1)

    async def _subscribe(self, records: int, target: str) -> None:
        channel = open_channel(ConnectionSettings(target), self._files.read())
        async with channel, Subscriber(channel).subscribe(WANTED) as stream:
            async for batch in stream:
                for delivered in batch:
                    body = CODEC.parse_body(delivered.envelope.body)
                    if body.record_id not in self.positions:
                        self.numbers[body.case_id].append(body.recipients[0].sequence)
                        self.accepted_ms.append(delivered.accepted_at_ms)
                    self.positions[body.record_id].add(delivered.position)
                await stream.ack([delivered.delivery_id for delivered in batch])
                if len(self.positions) >= records:
                    return


async def run(pki: SamplePki, folder: Path, records: int, say: Callable[[str], None]) -> Outcome:
    """See the module."""
    ministry, broker = Ministry(pki), BrokerProcess(pki, folder)
    broker.start()
    try:
        async with Link() as link:
            link.mend(broker.target)
            police = Police(pki, folder, link.target)
            with police.running(cases_file(records)):
                await ministry.receives(1, broker.target)
                await link.cut()
                while True:
                    if police.has_taken():
                        break
                    await asyncio.sleep(0.1)
                mended_ms, killed_ms = _now_ms(), []
                before = len(ministry.positions)
                say(f"the link was cut after {before} records; the gateway has held {police.most_mb():.0f} MB")
                link.mend(broker.target)
                for kill in range(1, KILLS + 1):
                    await ministry.receives(before + (records - before) * kill // (2 * KILLS), broker.target)
                    broker.kill()
                    killed_ms.append(_now_ms())
                    say(f"the broker was killed after {len(ministry.positions)} records")
                    broker.start()
                    link.mend(broker.target)
                await ministry.receives(records, broker.target)
                return Outcome(
                    len(ministry.positions),
                    len(set().union(*ministry.positions.values())),
                    all(numbers == sorted(numbers) for numbers in ministry.numbers.values()),
                    len([at for at in ministry.accepted_ms if at > mended_ms]),
                    [len([at for at in ministry.accepted_ms if at > killed]) for killed in killed_ms],
                    police.most_mb(),
                )
    finally:
        broker.end()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="case-exchange-backlog-") as made:
        there = Path(made)
        click.echo(asyncio.run(run(SamplePki.build(there / "pki"), there, int(sys.argv[1]), click.echo)))
