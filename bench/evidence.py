"""Measure what evidence costs: receipts with and without witnesses, and a bundle of a million records.

Two brokers, of two exchanges that are alike, publish by turns. One asks two witnesses every second, ten times as often
as usual. The other has none. Then a log is filled with as many records as asked for, copied by `case-exchange replay`
and checked by `case-exchange verify`, each in a process of its own. What counts is the most memory that each had. Linux
only (/proc).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from exchange import Bench
from latency import at_rates
from processes import family, peak_mb, resident_mb
from world import COMMAND

from broker.trust.keys import private_key_pem
from certs.storage import write_private

if TYPE_CHECKING:
    from collections.abc import Sequence

    from world import World

AUDITOR: Final = "national-audit"
WITNESSES: Final = ("north", "south")
ASKED_EVERY_SECONDS: Final = 1.0
PART: Final = 20_000
"""Records that are signed, then published: this process holds so many."""


def command(*arguments: object) -> str:
    done = subprocess.run([str(COMMAND), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Audited:
    """One exchange and its auditor."""

    def __init__(self, root: Path) -> None:
        self.bench = Bench(root, 0)
        self.world: World = self.bench.world
        self.target = self.world.start_broker("log", witnesses={"interval_seconds": ASKED_EVERY_SECONDS})
        self.profile = root / "auditor.toml"
        folder, trust = self.world.pki.member(AUDITOR), self.world.pki.trust
        self.profile.write_text(
            tomli_w.dumps(
                {
                    "broker": {"address": self.target},
                    "agency": {
                        "certificate": f"{folder}/tls.pem",
                        "key": f"{folder}/tls.key",
                        "authorities": f"{trust}/tls-ca.pem",
                        "signing_certificate": f"{folder}/signing.pem",
                        "signing_key": f"{folder}/signing.key",
                    },
                    "trust": {
                        "governance_key": f"{trust}/governance.pem",
                        "directory": str(self.world.pki.directory),
                        "signing_revocations": str(self.world.pki.revocation_list("signing")),
                    },
                }
            )
        )

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(command("status", "--profile", self.profile, "--json"))
        return found

    def start_witnesses(self) -> None:
        """Start both, and let governance name them."""
        pki, status = self.world.pki, self.status()
        root = pki.governance_public_key
        payload = json.loads(command("directory", "show", pki.directory, "--root", root, "--json"))
        lines = [self._witness(name, list(status["origins"].values()), payload["log_keys"]) for name in WITNESSES]
        policy = "\n".join([*lines, f"group both all {' '.join(WITNESSES)}", "quorum both", ""])
        changed = self.bench.root / "directory.json"
        changed.write_text(json.dumps(payload | {"version": payload["version"] + 1, "witness_policy": policy}))
        command("directory", "sign", changed, "--key", pki.governance_key, "--out", pki.directory)
        self.until(lambda: any((self.status()["witnesses"] or {"cosigned": {}})["cosigned"].values()))

    def _witness(self, name: str, origins: Sequence[str], keys: Sequence[str]) -> str:
        folder = self.bench.root / name
        issued = ("--agency", AUDITOR, "--system", f"witness-{name}", "--profile", "tls-server", "--out", folder)
        command("certs", "issue", *issued, "--pki", self.bench.root / "pki")
        write_private(folder / "witness.key", private_key_pem(Ed25519PrivateKey.generate()))
        config = self.bench.root / f"{name}.toml"
        config.write_text(
            tomli_w.dumps(
                {
                    "witness": {
                        "name": f"witness.example/{name}",
                        "key": f"{folder}/witness.key",
                        "state": f"{folder}/witness.db",
                    },
                    "server": {
                        "address": "localhost:0",
                        "certificate": f"{folder}/tls.pem",
                        "key": f"{folder}/tls.key",
                    },
                    "logs": [{"origins": list(origins), "keys": list(keys)}],
                    "logging": {"level": "error"},
                }
            )
        )
        key = command("witness", config, "--show-key").strip()
        return f"witness {name} {key} {self.world.start(str(COMMAND), 'witness', str(config), '--new')}"

    def until(self, reached: Any) -> None:
        end = time.monotonic() + 120
        while not reached():
            assert time.monotonic() < end
            time.sleep(0.5)

    def fill(self, records: int) -> None:
        for begin in range(0, records, PART):
            asyncio.run(self.bench.publish(self.target, 100, 4, min(PART, records - begin)))
        sizes = lambda: sum(self.status()["checkpoints"].values())  # noqa: E731 - read again each time
        self.until(lambda: sizes() >= records)


class Watched:
    """Runs a command, and remembers the most memory that it had with its children."""

    def __init__(self, *arguments: object) -> None:
        begun = time.perf_counter()
        process = subprocess.Popen([str(COMMAND), *map(str, arguments)], stdout=subprocess.PIPE, text=True)
        self.peak_mb = 0.0
        watching = threading.Thread(target=self._watch, args=(process,))
        watching.start()
        self.output, _ = process.communicate()
        watching.join()
        self.seconds = time.perf_counter() - begun
        self.code = process.returncode

    def _watch(self, process: subprocess.Popen[str]) -> None:
        while process.poll() is None:
            try:
                self.peak_mb = max(self.peak_mb, sum(map(resident_mb, family(process.pid))))
            except OSError:  # it ended meanwhile
                return
            time.sleep(0.2)


def witnesses(plain: Audited, witnessed: Audited, turns: int, records: int) -> None:
    """Publish to both by turns. Print the medians without and with witnesses."""
    found: dict[str, list[tuple[float, float]]] = {}

    def note(what: str, *values: float) -> None:
        found.setdefault(what, []).append((values[0], values[1]))

    for turn in range(turns):
        order = (plain, witnessed) if turn % 2 == 0 else (witnessed, plain)
        for batch, count in ((1, records // 10), (100, records)):
            rates = {each: asyncio.run(each.bench.publish(each.target, batch, 4, count)) for each in order}
            pair = rates[plain], rates[witnessed]
            note(f"publish, batches of {batch} x 4, records/s", *(rate.per_second for rate in pair))
            note(f"publish, batches of {batch} x 4, broker us a record", *(rate.cpu["broker"] for rate in pair))
        waits = {each: asyncio.run(at_rates(each.bench, each.target, 0))[100] for each in order}
        note("receipt at 100/s, p50, ms", waits[plain].receipt_p50, waits[witnessed].receipt_p50)
        note("receipt at 100/s, p99, ms", waits[plain].receipt_p99, waits[witnessed].receipt_p99)
    print("\n| | no witnesses | two witnesses | ratio by turns |\n|---|---|---|---|")
    for what, pairs in found.items():
        alone, beside = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"| {what} | {alone:,.1f} | {beside:,.1f} | {ratio:.2f} |", flush=True)


def bundle(audited: Audited, records: int) -> None:
    """Fill a log, copy it and check the copy."""
    begun = time.perf_counter()
    audited.fill(records)
    print(f"\n{records:,} records published in {time.perf_counter() - begun:.0f} s", flush=True)
    path = audited.bench.root / "all.bundle"
    broker = audited.world.pid(audited.target)
    copied = Watched("replay", "--profile", audited.profile, "--purpose", "measurement", "--out", path)
    assert copied.code == 0, copied.output
    print(
        f"replay: {copied.seconds:.0f} s, {path.stat().st_size / 1e6:,.0f} MB, "
        f"auditor at most {copied.peak_mb:.0f} MB, broker at most {peak_mb(broker):.0f} MB since its start",
        flush=True,
    )
    checked = Watched("verify", path, "--root", audited.world.pki.governance_public_key)
    assert checked.code == 0, checked.output
    print(f"verify: {checked.seconds:.0f} s, at most {checked.peak_mb:.0f} MB with its judges")
    print(checked.output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=1_000_000, help="records of the bundle")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--each-turn", type=int, default=10_000, help="records that each broker gets in a turn")
    arguments = parser.parse_args()
    print(f"evidence: {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="case-exchange-evidence-") as name:
        exchanges: list[Audited] = []
        try:
            exchanges += [Audited(Path(name) / "plain"), Audited(Path(name) / "witnessed")]
            exchanges[1].start_witnesses()
            if arguments.turns:
                witnesses(exchanges[0], exchanges[1], arguments.turns, arguments.each_turn)
            if arguments.records:
                bundle(exchanges[1], arguments.records)
        finally:
            for each in exchanges:
                each.world.stop()


if __name__ == "__main__":
    sys.exit(main())
