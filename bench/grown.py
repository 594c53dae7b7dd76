"""One log of a given size, made with the broker's own classes, and what is measured on it. growth.py says more."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import sqlite3
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from processes import Meter, resident_mb, usage

from broker.client.auditor import Auditor
from broker.client.connection import ConnectionSettings
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.streams import CASES, DNA
from broker.messagelog.sqlite import SoleFollower, SqliteCheckpointStore, SqliteLog
from broker.services.checkpointing import CheckpointFollower, CheckpointSettings
from broker.trust.signing import Ed25519NoteSigner
from broker.trust.system import SystemClock
from certs import development

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exchange import Bench

    from broker.core.entry import NewEntry

DAY: Final = 10_000
DAY_MS: Final = 86_400_000
FEW: Final = 200
"""Records of a rare kind, spread over the whole log."""
APPEND: Final = 500
FOLLOWED: Final = 200_000
"""Entries between two checkpoints of a log that is made: few enough that the follower finds them in memory."""
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
            entry = rare[at] if beside == 0 and at < FEW else pool[number % len(pool)]
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
