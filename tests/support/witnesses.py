"""Witnesses and logs of tests: keys that are plainly invented, and torchwood's published example of a growing log."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core.tree.addcheckpoint import AddCheckpoint
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, VerifierKey, marshal_note
from broker.core.tree.cosignature import WitnessKey, cosign
from broker.core.webaddress import WebAddress
from broker.trust.keys import private_key_pem
from broker.trust.signing import note_verifier
from broker.web.client import HttpClient
from broker.web.tls import client_context
from certs.storage import write_private
from tests.support.process import COMMAND, write_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.tree.checkpoint import SignatureCheck
    from tests.support.pki import SamplePki
    from tests.support.trees import GrownTree

# The log of torchwood's tests (cmd/litewitness/testdata/litewitness.txt and internal/witness/witness_test.go, v0.6.1).
# Its checkpoints of 1, 3 and 5 leaves are signed with a key that exists only there.
TORCHWOOD_ORIGIN = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
TORCHWOOD_KEY = VerifierKey(
    TORCHWOOD_ORIGIN, bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
)
_SIGNED = {
    1: (
        "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=",
    ),
    3: (
        "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=",
        "UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=",
    ),
    5: (
        "QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=",
        "UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=",
    ),
}
_PROOFS = {
    (0, 1): (),
    (1, 3): ("KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    (1, 5): (
        "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=",
        "KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ),
}


def torchwood_note(size: int) -> bytes:
    root, signature = _SIGNED[size]
    return f"{TORCHWOOD_ORIGIN}\n{size}\n{root}\n\n— {TORCHWOOD_ORIGIN} {signature}\n".encode()


def torchwood_request(old: int, size: int) -> AddCheckpoint:
    return AddCheckpoint(old, tuple(map(b64decode, _PROOFS[old, size])), torchwood_note(size))


class SampleLog:
    """A log with a tree, which signs checkpoints of it."""

    def __init__(self, tree: GrownTree, origin: str = "case-exchange.example/cases/0/a-log") -> None:
        self.tree = tree
        self.origin = origin
        self._key = Ed25519PrivateKey.from_private_bytes(b"a sample log's key, not a secret")
        self.key = VerifierKey("case-exchange.example/log", self._key.public_key().public_bytes_raw())

    @property
    def verifiers(self) -> dict[tuple[str, bytes], SignatureCheck]:
        return {(self.key.name, self.key.key_id): note_verifier(self.key.public_key)}

    def note(self, size: int, root: bytes | None = None) -> bytes:
        text = Checkpoint(self.origin, size, self.tree.roots[size] if root is None else root).marshal()
        return marshal_note(text, [NoteSignature(self.key.name, self.key.key_id, self._key.sign(text))])

    def request(self, old: int, size: int, root: bytes | None = None) -> AddCheckpoint:
        return AddCheckpoint(old, self.tree.consistency(old, size), self.note(size, root))


class SampleWitness:
    """A witness's key. Equal names have equal keys."""

    def __init__(self, name: str) -> None:
        self.private_key = Ed25519PrivateKey.from_private_bytes(sha256(f"sample {name}".encode()).digest())
        self.key = WitnessKey(name, self.private_key.public_key().public_bytes_raw())

    def cosign(self, text: bytes, time_s: int) -> NoteSignature:
        return cosign(text, time_s, self.key, self.private_key.sign)


def witness_tables(
    pki: SamplePki, folder: Path, witness: SampleWitness, logs: Mapping[str, VerifierKey]
) -> dict[str, Any]:
    """The tables of a witness's configuration on a free port, and its key in ``folder``. ``logs``: keys by origin."""
    folder.mkdir(exist_ok=True)
    key = folder / "witness.key"
    write_private(key, private_key_pem(witness.private_key))
    certificate, tls_key = pki.tls_paths("exchange")
    return {
        "witness": {"name": witness.key.name, "key": str(key), "state": str(folder / "witness.db")},
        "server": {"address": "localhost:0", "certificate": str(certificate), "key": str(tls_key)},
        "logs": [{"origins": [origin], "keys": [str(vkey)]} for origin, vkey in logs.items()],
        "logging": {"level": "error"},
    }


class WitnessProcess:
    """``case-exchange witness`` in its own process, which tests kill. Every start uses a new port."""

    def __init__(self, tables: dict[str, Any], folder: Path) -> None:
        self._config = write_toml(folder / "witness.toml", tables)
        self._state = folder / "witness.db"
        self.errors = folder / "witness.log"
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self, *before: str | Path) -> None:
        """Start it, under the command ``before`` if there is one."""
        new = [] if self._state.exists() else ["--new"]
        with self.errors.open("a") as errors:
            self._process = subprocess.Popen(
                [*before, COMMAND, "witness", self._config, *new], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.errors.read_text()[-2000:]
        self.port = int(line.rpartition(":")[2])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait_until_traced(self, seconds: float) -> None:
        """Return when every thread is under a tracer."""
        ends = time.monotonic() + seconds
        threads = Path(f"/proc/{self.pid}/task")
        while not all("TracerPid:\t0\n" not in (one / "status").read_text() for one in threads.iterdir()):
            assert time.monotonic() < ends, "the tracer does not come"
            time.sleep(0.02)

    def client(self, pki: SamplePki) -> HttpClient:
        address = WebAddress(tls=True, host="localhost", port=self.port, prefix="")
        return HttpClient(address, client_context(pki.folder.trust / "tls-ca.pem"))

    def ended(self, seconds: float) -> bool:
        """Whether it ends by itself within this time."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal. Return its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return code

    def end(self) -> None:
        """End it in any state."""
        if self._process is not None:
            self.stop(signal.SIGKILL)
