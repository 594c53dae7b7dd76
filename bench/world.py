"""The place of a measurement: a development PKI, broker processes with it, and the agencies' connections."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tomli_w

from broker.client.connection import open_channel
from broker.trust.directory_files import DirectoryFile
from broker.trust.governance import Governance
from broker.trust.keyring import LiveKeyring
from broker.trust.revocation_files import RevocationFiles
from broker.trust.signing import EcdsaSigner
from broker.trust.system import SystemClock
from broker.wire.tls import TlsFiles
from certs import development

if TYPE_CHECKING:
    import grpc

    from broker.client.connection import ConnectionSettings

COMMAND = Path(sys.executable).with_name("case-exchange")


MANY: Final = {"calls": 2000, "subscriptions": 1000}
"""The table ``quotas`` of a broker of which one agency opens a thousand subscriptions."""


class World:
    """All processes of a measurement. ``stop`` ends every one of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # What is measured here is the exchange. What sealing costs is measured beside it, under the same directory.
        self.pki = development.create(root / "pki", datetime.now(UTC).replace(microsecond=0), plain=True)
        governance = Governance.load(self.pki.governance_public_key)
        self.directory = DirectoryFile(self.pki.directory, governance, SystemClock())
        lists = [self.pki.revocation_list("signing")]
        revocations = RevocationFiles(lists, lambda: self.directory.latest.signing_authorities, grace_ms=0)
        self.keyring = LiveKeyring(self.directory, revocations)
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def signer(self, member: str) -> EcdsaSigner:
        folder = self.pki.member(member)
        return EcdsaSigner.load(folder / "signing.key", folder / "signing.pem")

    def tls(self, member: str) -> TlsFiles:
        folder = self.pki.member(member)
        return TlsFiles(folder / "tls.pem", folder / "tls.key", self.pki.trust / "tls-ca.pem")

    def channel(self, settings: ConnectionSettings, member: str) -> grpc.aio.Channel:
        return open_channel(settings, self.tls(member).read())

    def start_broker(self, name: str, **tables: dict[str, Any]) -> str:
        """Start a broker of this name. These tables extend or replace the usual ones. Return its address."""
        own, trust = self.pki.member("exchange"), self.pki.trust
        usual: dict[str, dict[str, Any]] = {
            "server": {"address": "localhost:0"},
            "tls": {
                "certificate": f"{own}/tls.pem",
                "key": f"{own}/tls.key",
                "authorities": f"{trust}/tls-ca.pem",
            },
            "signing": {
                "certificate": f"{own}/signing.pem",
                "key": f"{own}/signing.key",
                "checkpoint_key": str(self.pki.checkpoint_key),
                "checkpoint_key_name": development.CHECKPOINT_KEY_NAME,
            },
            "trust": {
                "governance_key": f"{trust}/governance.pem",
                "directory": str(self.pki.directory),
                "signing_revocations": str(self.pki.revocation_list("signing")),
                "tls_revocations": str(self.pki.revocation_list("tls")),
            },
            "log": {"folder": str(self.root / name)},
            "checkpoints": {"interval_seconds": 1.0},
            "logging": {"level": "error"},
        }
        for table, keys in tables.items():
            usual[table] = {**usual.get(table, {}), **keys}
        config = self.root / f"{name}.toml"
        config.write_text(tomli_w.dumps(usual))
        return self.start(str(COMMAND), "serve", "--config", str(config))

    def start(self, *command: str) -> str:
        """Start a process. Return the last word of its first line: its address."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        self._processes[address] = process
        return address

    def pid(self, target: str) -> int:
        """The id of the process with this address."""
        return self._processes[target].pid

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
            process.wait(30)
        self._processes.clear()
