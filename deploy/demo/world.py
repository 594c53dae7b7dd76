"""The demo's world: a scratch folder with a development PKI, one broker, and a gateway process for every agency."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tomli_w

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND: Final = Path(sys.executable).with_name("case-exchange")
INPUT: Final = Path(__file__).with_name("input")
BOUND_SECONDS: Final = 30.0
EVIDENCE_BOUND_SECONDS: Final = 5.0
"""The demo's broker stops publishing when records wait longer for a checkpoint."""
_POLL_SECONDS: Final = 0.05

POLICE: Final = ("shanxi-police", "hebei-police")
LAB: Final = "national-dna-database"
NGO: Final = "child-aid-ngo"
MINISTRY: Final = "ministry"
AUDIT: Final = "national-audit"

GATEWAYS: Final[dict[str, dict[str, Any]]] = {
    "shanxi-police": {
        "formats": ["provincial-police-csv", "record-json"],
        "outbox": "provincial-police-csv",
        "subscribe": ["CaseRecord", "Tip", "MatchNotification", "NoMatchResult", "PublicNotice", "Closure"],
        "routes": {
            "CaseRecord": (["hebei-police", MINISTRY, NGO], "child-rescue"),
            "SampleRequest": ([LAB], "dna-matching"),
            "Closure": (["hebei-police", MINISTRY, LAB, NGO], "case-closure"),
            "Correction": (["hebei-police", MINISTRY, NGO], "correction", "cases"),
        },
    },
    "hebei-police": {
        "formats": ["provincial-police-csv", "record-json"],
        "outbox": "provincial-police-csv",
        "subscribe": ["CaseRecord", "Tip", "MatchNotification", "PublicNotice", "Closure", "Correction"],
        "routes": {
            "CaseRecord": (["shanxi-police", MINISTRY], "child-rescue"),
            "SampleRequest": ([LAB], "dna-matching"),
        },
    },
    LAB: {
        "formats": ["codis-cmf", "record-json"],
        "outbox": "codis-cmf",
        "subscribe": ["SampleRequest", "StrProfile", "Closure"],
        "routes": {
            "StrProfile": ([LAB], "dna-matching"),
            "MatchNotification": (list(POLICE), "dna-matching"),
            "NoMatchResult": (["shanxi-police", MINISTRY], "dna-matching"),
        },
    },
    MINISTRY: {
        "formats": ["record-json"],
        "outbox": "record-json",
        "subscribe": ["CaseRecord", "Tip", "NoMatchResult", "PublicNotice", "Closure", "Correction"],
        "routes": {"PublicNotice": ([*POLICE, NGO, MINISTRY], "public-appeal")},
    },
    NGO: {
        "formats": ["pfif"],
        "outbox": "pfif",
        "subscribe": ["CaseRecord", "PublicNotice", "Closure", "Correction"],
        "routes": {
            "CaseRecord": ([*POLICE, MINISTRY], "child-rescue"),
            "Tip": ([*POLICE, MINISTRY], "child-rescue"),
        },
    },
}


class DemoFailed(Exception):
    """A step or a check failed."""


class World:
    """All processes of the demo, and their folder. ``close`` leaves no process behind."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pki = root / "pki"
        self._processes: dict[str, subprocess.Popen[str]] = {}

    # --- processes ---

    def run(self, *arguments: object, expect: int = 0) -> str:
        """Run a command to its end and return what it printed.

        Raises:
            DemoFailed: it ended with another code than expected.
        """
        done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != expect:
            message = (
                f"case-exchange {arguments[0]} ended with {done.returncode}, not {expect}: {done.stderr.strip()[-300:]}"
            )
            raise DemoFailed(message)
        return done.stdout + done.stderr

    def start(self, name: str, *arguments: object) -> str:
        """Start a process and return the line that it prints when it is ready."""
        with (self.root / f"{name}.log").open("w") as log:
            process = subprocess.Popen([COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=log, text=True)
        self._processes[name] = process
        if process.stdout is None or not (line := process.stdout.readline()):
            message = f"{name} did not start: see {self.root / f'{name}.log'}"
            raise DemoFailed(message)
        return line.strip()

    def start_broker(self, name: str, log_tables: dict[str, Any]) -> str:
        """Start a broker with these tables for its log, and return its address."""
        return self.start(name, "serve", "--config", self.broker_config(name, log_tables)).split()[-1]

    def stop(self, name: str) -> None:
        """Stop a process normally.

        Raises:
            DemoFailed: it did not stop, or not normally.
        """
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        if process.wait(timeout=BOUND_SECONDS) != 0:
            message = f"{name} did not stop normally: see {self.root / f'{name}.log'}"
            raise DemoFailed(message)

    @contextlib.contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Hold processes where they are, so that a copy of their files is what a disk has at one moment."""
        for name in names:
            self._processes[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for name in names:
                self._processes[name].send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop all processes that still run."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    # --- files ---

    def broker_config(self, name: str, log_tables: dict[str, Any]) -> Path:
        """Write a broker's configuration, with these tables for its log. It listens on a free port."""
        own, trust = self.pki / "broker", self.pki / "trust"
        tables = {
            "server": {"address": "localhost:0"},
            "tls": {
                "certificate": f"{own}/tls.pem",
                "key": f"{own}/tls.key",
                "authorities": f"{trust}/tls-ca.pem",
            },
            "signing": {
                "certificate": f"{own}/signing.pem",
                "key": f"{own}/signing.key",
                "checkpoint_key": f"{own}/checkpoint.key",
                "checkpoint_key_name": "case-exchange.example/log",
            },
            "trust": {
                "governance_key": f"{trust}/governance.pem",
                "directory": f"{trust}/directory.json",
                "signing_revocations": f"{trust}/signing.crl",
                "tls_revocations": f"{trust}/tls.crl",
                "reload_seconds": 0.2,
            },
            "checkpoints": {"interval_seconds": 0.2, "evidence_bound_seconds": EVIDENCE_BOUND_SECONDS},
            "witnesses": {"interval_seconds": 0.5},
        }
        return self.write(name, tables | log_tables)

    def edge_profile(
        self,
        agency: str,
        address: str,
        name: str = "",
        more: dict[str, Any] | None = None,
        **routes: tuple[list[str], str],
    ) -> Path:
        """Write an agency's profile, with more tables, its gateway if it has one, and routes beside its own."""
        own, trust = self.pki / "agencies" / agency, self.pki / "trust"
        named = f"{agency}-{name}" if name else agency
        tables: dict[str, Any] = {
            "broker": {"address": address},
            "agency": {
                "certificate": f"{own}/tls.pem",
                "key": f"{own}/tls.key",
                "authorities": f"{trust}/tls-ca.pem",
                "signing_certificate": f"{own}/signing.pem",
                "signing_key": f"{own}/signing.key",
                "encryption_keys": f"{own}/encryption",
            },
            "trust": {
                "governance_key": f"{trust}/governance.pem",
                "directory": f"{trust}/directory.json",
                "signing_revocations": f"{trust}/signing.crl",
            },
            **(more or {}),
        }
        gateway = GATEWAYS.get(agency)
        if gateway is not None:
            tables["gateway"] = {
                "folder": str(self.root / named),
                "formats": gateway["formats"],
                "outbox_format": gateway["outbox"],
                "subscribe": gateway["subscribe"],
                "poll_seconds": 0.1,
            }
            keys = ("recipients", "purpose", "stream")
            tables["routes"] = {
                kind: dict(zip(keys, route, strict=False)) for kind, route in {**gateway["routes"], **routes}.items()
            }
        return self.write(named, tables)

    def write(self, name: str, tables: dict[str, Any]) -> Path:
        """Write a configuration file."""
        path = self.root / f"{name}.toml"
        path.write_text(tomli_w.dumps(tables))
        return path

    def drop(self, agency: str, *names: str) -> None:
        """Put input files into an agency's inbox, as its own system would. Pictures go first."""
        inbox = self.root / agency / "inbox"
        for name in names:
            self.put(inbox / "attachments" if name.endswith(".png") else inbox, name, (INPUT / name).read_bytes())

    def put(self, folder: Path, name: str, content: bytes) -> None:
        """Put a whole file into a folder that another process reads, by renaming it."""
        partial = folder / f".{name}"
        partial.write_bytes(content)
        partial.rename(folder / name)

    def outbox(self, agency: str, kind: str) -> list[Path]:
        """The records of a kind in an agency's outbox, oldest first."""
        found = (self.root / agency / "outbox").glob(f"{kind}-*")
        return sorted((path for path in found if not path.name.endswith(".about.json")), key=os.path.getmtime)

    def about(self, path: Path) -> dict[str, Any]:
        """What the gateway wrote about a record in its outbox."""
        about: dict[str, Any] = json.loads(path.with_suffix("").with_suffix(".about.json").read_text())
        return about

    def wait_for(self, agency: str, kind: str, count: int) -> list[Path]:
        """The first ``count`` records of a kind in an agency's outbox. Waits until they are there."""
        self.until(f"{count} {kind} at {agency}", lambda: len(self.outbox(agency, kind)) >= count)
        return self.outbox(agency, kind)[:count]

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until something is true. Files give no event to wait for, so it is checked again and again.

        Raises:
            DemoFailed: it is not true within the limit, or a process has ended.
        """
        end = time.monotonic() + BOUND_SECONDS
        while not holds():
            for name, process in self._processes.items():
                if process.poll() is not None:
                    message = f"{name} has ended: see {self.root / f'{name}.log'}"
                    raise DemoFailed(message)
            if time.monotonic() > end:
                message = f"still waiting for {what}"
                raise DemoFailed(message)
            time.sleep(_POLL_SECONDS)
