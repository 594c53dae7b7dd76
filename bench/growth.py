"""Measure what grows with a log: 100,000 and 1,000,000 entries, with one real broker on each. Linux only (/proc).

The logs are synthesised: the broker's own classes append the entries and sign their checkpoints, with a clock that puts
10,000 of them into each day. Real are the envelopes (1 KiB each, signed, of several kinds and recipients), the leaves
and the checkpoints. Not real is this: except in the last day, the entries repeat 2,000 envelopes under ids of their
own, and one in ten stands on the audit stream, with an envelope that is no audit record. No measurement here reads
either as what it is not. The last day's records are all different.

All logs are made first. Then each measurement goes over them by turns, several times, and the median counts: so a busy
machine slows down all of them. Costs for each record are the broker's processor time, which other processes hardly
change.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exchange import RECORD_BYTES, Bench
from processes import Meter, resident_mb, usage

from broker.client.auditor import Auditor
from broker.client.connection import ConnectionSettings
from broker.client.records import Draft, SectionDraft
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.body import Recipient
from broker.core.entry import NewEntry
from broker.core.streams import AUDIT, AUDIT_EVENTS, CASES, DNA, StreamPartition, partition_of
from broker.messagelog.sqlite import SoleFollower, SqliteCheckpointStore, SqliteLog
from broker.services.checkpointing import CheckpointFollower, CheckpointSettings
from broker.trust.signing import Ed25519NoteSigner
from broker.trust.system import SystemClock
from broker.wire.codec import ProtobufCodec
from certs import development

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DAY: Final = 10_000
DAY_MS: Final = 86_400_000
POOL: Final = 2_000
FEW: Final = 200
"""Records of a rare kind, spread over the whole log."""
APPEND: Final = 500
FOLLOWED: Final = 200_000
"""Entries between two checkpoints of a log that is made: few enough that the follower finds them in memory."""
CATCH_UPS: Final = 6
MEASURED: Final = 10_000
"""Records that a publisher sends, or a subscriber receives, in one turn."""
HEBEI: Final = "hebei-police"
LAB: Final = "national-dna-database"
# Kind, stream, recipients. The rare kind, the kind of the newest entry only, and what the rest of the log is made of.
RARE = ("Correction", CASES, (HEBEI,))
NEWEST = ("Closure", CASES, (HEBEI,))
USUAL = (
    ("SampleRequest", DNA, (LAB,)),
    ("CaseRecord", CASES, (HEBEI, "ministry", "child-aid-ngo")),
    ("SampleRequest", DNA, (LAB,)),
    ("CaseRecord", CASES, ("ministry",)),
)


class PastClock(SystemClock):
    """Each look at the time of day moves it on by one append's share of a day."""

    def __init__(self, begin_ms: int) -> None:
        self._now_ms = begin_ms

    def now_ms(self) -> int:
        self._now_ms += DAY_MS * APPEND // DAY
        return self._now_ms


class GrownLog:
    """One synthesised log and the broker on it."""

    def __init__(self, bench: Bench, entries: int) -> None:
        self.bench = bench
        self.entries = entries
        self.name = f"log-{entries}"
        self.folder = bench.root / self.name
        self.begin_ms = SystemClock().now_ms() - (entries // DAY * DAY_MS) - DAY_MS
        self.target = ""
        self.pid = 0
        self.found: dict[str, list[float]] = defaultdict(list)

    def note(self, what: str, value: float) -> None:
        self.found[what].append(value)
        print(f"  {self.entries:>10,}  {what}: {value:,.3f}", flush=True)

    # --- making it ---

    async def make(
        self, pool: Sequence[NewEntry], rare: Sequence[NewEntry], newest: NewEntry, day: Sequence[NewEntry]
    ) -> None:
        """Append everything, with checkpoints for all but the last day."""
        log = await SqliteLog.open(self.folder / "log.db", PastClock(self.begin_ms))
        begun = time.perf_counter()
        repeated = self._repeated(pool, rare, self.entries - DAY)
        while part := list(itertools.islice(repeated, FOLLOWED)):
            await self._append(log, part)
            await self._follow(log)
        await self._append(log, [*day[:-1], newest])
        await log.close()
        print(f"  {self.entries:,} entries made in {time.perf_counter() - begun:.0f} s", flush=True)
        self._disk()

    def _repeated(self, pool: Sequence[NewEntry], rare: Sequence[NewEntry], count: int) -> Iterator[NewEntry]:
        chance = random.Random(count)  # noqa: S311 - ids that only have to differ
        for number in range(count):
            at, beside = divmod(number, count // FEW)
            entry = rare[at] if beside == 0 and at < FEW else pool[number % POOL]
            # As in a UUIDv7 the time comes first, so the ids grow.
            yield entry._replace(record_id=(number << 80 | chance.getrandbits(80)).to_bytes(16))

    async def _append(self, log: SqliteLog, entries: Sequence[NewEntry]) -> None:
        for begin in range(0, len(entries), 20 * APPEND):
            part = entries[begin : begin + 20 * APPEND]
            await asyncio.gather(*(log.append(part[at : at + APPEND]) for at in range(0, len(part), APPEND)))

    async def _follow(self, log: SqliteLog) -> None:
        world = self.bench.world
        store = SqliteCheckpointStore(self.folder / "checkpoints.db")
        follower = CheckpointFollower(
            log=log,
            store=store,
            board=SoleFollower(),
            signer=Ed25519NoteSigner.load(development.CHECKPOINT_KEY_NAME, world.pki.checkpoint_key),
            trust_domain=world.directory.latest.trust_domain,
            clock=SystemClock(),
            settings=CheckpointSettings(),
            report=print,
        )
        await follower.first_pass()
        await store.close()

    def _disk(self) -> None:
        connection = sqlite3.connect(self.folder / "log.db")
        tables = dict(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall())
        (rows,) = connection.execute("SELECT count(*) FROM destinations").fetchone()
        connection.close()
        for what, size in (
            ("entries", tables["entries"]),
            ("index of record ids", tables["sqlite_autoindex_entries_1"]),
            ("index of destinations", tables["destinations"]),
            ("checkpoints", (self.folder / "checkpoints.db").stat().st_size),
        ):
            self.note(f"disk, {what}, bytes a record", size / self.entries)
        self.note("disk, index of destinations, bytes a row", tables["destinations"] / rows)

    # --- measuring it ---

    async def catch_up(self) -> None:
        """Measure how a follower catches up. The next time it begins with the same checkpoints."""
        checkpoints, kept = self.folder / "checkpoints.db", self.folder / "kept.db"
        if not kept.exists():
            shutil.copy(checkpoints, kept)
        shutil.copy(kept, checkpoints)
        log = await SqliteLog.open(self.folder / "log.db", SystemClock())
        begun, spent = time.perf_counter(), time.process_time()
        await self._follow(log)
        self.note(f"catch-up of {DAY:,} entries without a checkpoint, s", time.perf_counter() - begun)
        self.note("catch-up, us a record", 1e6 * (time.process_time() - spent) / DAY)
        await log.close()

    def start(self) -> None:
        begun = time.perf_counter()
        self.target = self.bench.world.start_broker(self.name)
        self.note("start, s", time.perf_counter() - begun)
        self.pid = self.bench.world.pid(self.target)
        self.note("start, broker processor time, s", usage(self.pid).cpu_microseconds / 1e6)
        self.note("memory after the start, MB", resident_mb(self.pid))

    def turn(self, number: int) -> None:
        # The newest record is the only one of its kind, so all the others are not wanted.
        self.note("open a subscription that wants the newest record only, s", self._subscribe(HEBEI, NEWEST, 1, number))
        self.note(f"subscribe to {FEW} spread records, s", self._subscribe(HEBEI, RARE, FEW, number))
        meter = Meter(self.pid)
        seconds = self._subscribe(LAB, USUAL[0], MEASURED, number)
        self.note("subscribe, records/s", MEASURED / seconds)
        self.note("subscribe, broker us a record", meter.spent().cpu_microseconds / MEASURED)
        meter = Meter(self.pid)
        begun = time.perf_counter()
        records = asyncio.run(self._replay())
        self.note("replay of a day, s", time.perf_counter() - begun)
        self.note("replay of a day, broker us a record", meter.spent().cpu_microseconds / records)
        rate = asyncio.run(self.bench.publish(self.target, 100, 4, MEASURED))
        self.note("publish 100 x 4, records/s", rate.per_second)
        self.note("publish 100 x 4, broker us a record", rate.cpu["broker"])
        self.note("memory after all this, MB", resident_mb(self.pid))

    def _subscribe(self, member: str, wanted: tuple[str, str, tuple[str, ...]], count: int, turn: int) -> float:
        return asyncio.run(self._receive(member, wanted[0], count, f"growth-{wanted[0].lower()}-{turn}"))

    async def _receive(self, member: str, kind: str, count: int, name: str) -> float:
        """Seconds until a new subscription has so many records."""
        options = SubscribeOptions(name, frozenset({kind}), 1000, 32 << 20)
        async with self.bench.world.channel(ConnectionSettings(self.target), member) as channel:
            await channel.channel_ready()
            begun, received = time.perf_counter(), 0
            acks = set()
            async with Subscriber(channel).subscribe(options) as stream:
                async for delivered in stream:
                    acks.add(asyncio.create_task(stream.ack([item.delivery_id for item in delivered])))
                    received += len(delivered)
                    if received >= count:
                        break
                seconds = time.perf_counter() - begun
                await asyncio.gather(*acks)
        return seconds

    async def _replay(self) -> int:
        begin_ms = self.begin_ms + (self.entries // DAY - 1) * DAY_MS
        records = 0
        async with self.bench.world.channel(ConnectionSettings(self.target), "national-audit") as channel:
            async for frame in Auditor(channel).replay(
                "growth", streams=(CASES, DNA), accepted_from_ms=begin_ms, accepted_until_ms=begin_ms + DAY_MS
            ):
                records += frame.records
        assert records > DAY // 2, records
        return records


class Growth(Bench):
    """Logs of several sizes."""

    def signed(self, kind: str, stream: str, recipients: tuple[str, ...], number: int) -> NewEntry:
        """A signed record as an entry."""
        case = f"01990000-0000-4000-8000-{number % 500:012d}"
        section = SectionDraft("case", f"caseexchange.records.v1.{kind}", os.urandom(RECORD_BYTES))
        to = tuple(Recipient(agency, number + 1) for agency in recipients)
        composed = self._composer.compose(Draft(kind, stream, case, to, "child-rescue", (section,)))
        partition = StreamPartition(stream, partition_of(case, 4))
        body, envelope = composed.body, composed.envelope
        value = ProtobufCodec().encode_envelope(envelope)
        return NewEntry(partition, body.record_id_bytes, kind, case, recipients, envelope.record_sha256, value)

    def mixed(self, count: int) -> list[NewEntry]:
        """Different records as a log has them, one in ten on the audit stream."""
        entries = [self.signed(*USUAL[number % len(USUAL)], number) for number in range(count)]
        audit = StreamPartition(AUDIT, 0)
        for number in range(0, count, 10):
            entries[number] = entries[number]._replace(partition=audit, kind=AUDIT_EVENTS, recipients=())
        return entries

    def measure(self, sizes: Sequence[int], turns: int) -> list[GrownLog]:
        logs = [GrownLog(self, size) for size in sizes]
        pool, newest = self.mixed(POOL), self.signed(*NEWEST, 0)
        # Each belongs to another case, so that none waits for the one before it.
        rare = [self.signed(*RARE, number) for number in range(FEW)]
        for log in logs:
            asyncio.run(log.make(pool, rare, newest, self.mixed(DAY)))
        for turn in range(CATCH_UPS):
            for log in logs[:: 1 if turn % 2 == 0 else -1]:
                asyncio.run(log.catch_up())
        for turn in range(turns):
            # Whoever comes first finds the machine in another state. So each is first as often as the other.
            order = logs if turn % 2 == 0 else logs[::-1]
            for log in order:
                log.start()
            for log in order:
                log.turn(turn)
            self.world.stop()
        return logs


def table(logs: Sequence[GrownLog]) -> None:
    """Medians, and how many times those of the smallest log they are."""
    print("\n| | " + " | ".join(f"{log.entries:,}" for log in logs) + " | ratio |")
    print("|---|" + "---|" * (len(logs) + 1))
    for what in logs[0].found:
        medians = [statistics.median(log.found[what]) for log in logs]
        cells = [f"{value:,.3f}" if value < 10 else f"{value:,.0f}" for value in medians]
        ratios = ", ".join(f"{value / medians[0]:.2f}" for value in medians[1:])
        print(f"| {what} | " + " | ".join(cells) + f" | {ratios} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, choices=(100_000, 1_000_000, 10_000_000), default=1_000_000)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where the logs are made: about 2 GB for a million entries")
    arguments = parser.parse_args()
    sizes = [size for size in (100_000, 1_000_000, 10_000_000) if size <= arguments.largest]
    print(f"growth: {os.cpu_count()} cores, Python {platform.python_version()}")
    folder = Path(tempfile.mkdtemp(prefix="case-exchange-growth-", dir=arguments.folder))
    growth = Growth(folder, MEASURED)
    try:
        table(growth.measure(sizes, arguments.turns))
    finally:
        growth.world.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
