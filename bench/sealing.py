"""What sealing costs: records sealed for three recipients beside the same ones in plain, by turns on one broker.

Batches of 100. Then the edges: what making and opening a record takes, and which part of it goes where. The records
have three sections with 1 KB together, six with 3 KB, or three and a photograph of 60 KB.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from exchange import Bench

from broker.client.composing import Draft, RecordComposer, SectionDraft
from broker.client.opening import Opening
from broker.client.sealing import Sealing
from broker.client.verifying import InForce, RecordVerifier
from broker.core.body import Recipient
from broker.core.identity import Principal
from broker.core.inforce import DirectoryVersion
from broker.trust.hpke import HpkeWrapper
from broker.trust.keyfolder import FolderKeys
from broker.trust.sealing import AesGcmCipher
from broker.trust.system import SystemClock, SystemEntropy
from broker.wire.codec import ProtobufCodec
from certs.development import KEY_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.envelope import Envelope
    from broker.core.policy import Directory

PUBLISHER, RECIPIENTS = "shanxi-police", ("hebei-police", "ministry", "child-aid-ngo")
SMALL = {"case": 500, "identity": 324, "description": 200}
SIX = dict.fromkeys(("case", "identity", "description", "contact", "family", "places"), 512)
WITH_PHOTO = {**SMALL, "photos": 60 * 1024}
ROUNDS = 7


class SealingBench(Bench):
    """Records for three recipients, plain or sealed, as ``composer`` makes them."""

    def __init__(self, root: Path, records: int) -> None:
        super().__init__(root, records)
        self.sizes = SMALL
        self.plain = self._composing(None)
        self.sealed = self._composing(self.sealing)
        self.composer = self.plain

    @property
    def sealing(self) -> Sealing:
        return Sealing(lambda: without_plain(self.world.directory.latest), AesGcmCipher(), HpkeWrapper())

    def _composing(self, sealing: Sealing | None) -> RecordComposer:
        principal = Principal("case-exchange.example", PUBLISHER, "gateway")
        parts = (principal, self.world.signer(PUBLISHER), ProtobufCodec(), SystemEntropy(), SystemClock())
        return RecordComposer(*parts, sealing=sealing)

    def draft(self, number: int) -> Draft:
        self._sequence += 1
        sections = tuple(SectionDraft(name, "synthetic", os.urandom(size)) for name, size in self.sizes.items())
        recipients = tuple(Recipient(agency, self._sequence) for agency in RECIPIENTS)
        case = f"01990000-0000-4000-8000-{number % self.cases:012d}"
        return Draft("CaseRecord", "cases", case, recipients, "child-rescue", sections)

    def records_signed(self, count: int) -> list[Envelope]:
        return [self.composer.compose(self.draft(number)).envelope for number in range(count)]


def without_plain(directory: Directory) -> Directory:
    """The directory as a publisher reads it that must seal everything. The broker's own lets it do either."""
    agency = directory.agencies[PUBLISHER]
    publish = {kind: replace(right, plain=frozenset()) for kind, right in agency.publish.items()}
    return replace(directory, agencies={**directory.agencies, PUBLISHER: replace(agency, publish=publish)})


async def broker_cost(bench: SealingBench, target: str, records: int) -> None:
    spent: dict[str, list[float]] = {"plain": [], "sealed": []}
    rates: dict[str, list[float]] = {"plain": [], "sealed": []}
    composers = {"plain": bench.plain, "sealed": bench.sealed}
    for number in range(ROUNDS + 1):
        for name in ("plain", "sealed") if number % 2 else ("sealed", "plain"):
            bench.composer = composers[name]
            rate = await bench.publish(target, 100, 1, records)
            if number:  # the first is for warming up
                spent[name].append(rate.cpu["broker"])
                rates[name].append(rate.per_second)
    plain, sealed = (statistics.median(spent[name]) for name in composers)
    low, high = min(spent["sealed"]) / max(spent["plain"]), max(spent["sealed"]) / min(spent["plain"])
    print(f"  broker, us of processor time a record: plain {plain:.0f}, sealed {sealed:.0f}")
    print(f"  {sealed / plain:.3f} times (of single runs {low:.2f} to {high:.2f})", end="; ")
    fast = {name: statistics.median(each) for name, each in rates.items()}
    print(f"records a second: plain {fast['plain']:.0f}, sealed {fast['sealed']:.0f}")


def microseconds(call: Callable[[], object], times: int = 300) -> float:
    """The median."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(1e6 * (time.perf_counter() - started))
    return statistics.median(taken)


def edge_cost(bench: SealingBench) -> None:
    sizes = {}
    for name, composer in (("plain", bench.plain), ("sealed", bench.sealed)):
        drafts = iter([bench.draft(number) for number in range(300)])
        made = microseconds(lambda composer=composer, drafts=drafts: composer.compose(next(drafts)))
        bench.composer = composer
        (envelope,) = bench.records_signed(1)
        sizes[name] = (len(envelope.body), envelope.content_bytes - len(envelope.body))
        print(f"  publisher: {name} {made:.0f} us; body {sizes[name][0]} bytes, sections {sizes[name][1]} bytes")
        own = bench.world.pki.member("hebei-police") / KEY_FOLDER
        verifier = RecordVerifier("hebei-police", ProtobufCodec(), Opening(AesGcmCipher(), FolderKeys(own)))
        version = DirectoryVersion(0, bench.world.directory.latest, bench.world.keyring)
        now, in_force = SystemClock().now_ms(), InForce([version], [version])
        opened = microseconds(lambda e=envelope, v=verifier, n=now, f=in_force: v.verify(e, n, f))
        print(f"  recipient: {name} {opened:.0f} us")
    parts(bench)


def parts(bench: SealingBench) -> None:
    """Where the cost of sealing goes."""
    cipher, wrapper, key = (
        AesGcmCipher(),
        HpkeWrapper(),
        bench.world.directory.latest.agencies["ministry"].encryption_keys[0],
    )
    contents: Sequence[bytes] = [os.urandom(size) for size in bench.sizes.values()]
    sealed = [cipher.seal(bytes(32), bytes(12), bytes(32), content) for content in contents]
    keys = FolderKeys(bench.world.pki.member("ministry") / KEY_FOLDER)
    wrapped = wrapper.wrap(key, bytes(96), b"info")
    print(f"  one wrap {microseconds(lambda: wrapper.wrap(key, bytes(96), b'info')):.0f} us", end=", ")
    print(f"one unwrap {microseconds(lambda: keys.unwrap(key.key_id, wrapped, b'info')):.0f} us", end=", ")
    made = microseconds(lambda: [cipher.seal(bytes(32), bytes(12), bytes(32), content) for content in contents])
    opened = microseconds(lambda: [cipher.open(bytes(32), bytes(32), each) for each in sealed])
    print(f"sealing the sections {made:.0f} us, opening them {opened:.0f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=3000, help="records a run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="case-exchange-bench-") as made:
        bench = SealingBench(Path(made), arguments.records)
        target = bench.world.start_broker("sealing")
        try:
            for name, sizes, part in (("1 KB", SMALL, 1), ("3 KB", SIX, 1), ("61 KB", WITH_PHOTO, 10)):
                count = arguments.records // part
                bench.sizes = sizes
                print(f"records of {name} for three recipients, {count} a run, batches of 100")
                asyncio.run(broker_cost(bench, target, count))
                edge_cost(bench)
        finally:
            bench.world.stop()


if __name__ == "__main__":
    main()
