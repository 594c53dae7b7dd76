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
import os
import platform
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exchange import RECORD_BYTES, Bench
from grown import DAY, FEW, MEASURED, NEWEST, RARE, USUAL, GrownLog

from broker.client.composing import Draft, SectionDraft
from broker.core.body import Recipient
from broker.core.entry import NewEntry
from broker.core.streams import AUDIT, AUDIT_EVENTS, StreamPartition, partition_of
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Sequence

POOL: Final = 2_000
CATCH_UPS: Final = 6


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
