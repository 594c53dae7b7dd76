"""A broker in its own process, which tests kill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tomli_w

from certs.development import KEY_FOLDER
from tests.support.exchange import broker_tables

if TYPE_CHECKING:
    from tests.support.pki import SamplePki

COMMAND = Path(sys.executable).with_name("case-exchange")
_LIMITED: Final = 'ulimit -S -n "$1" && ulimit -H -n "$2" && shift 2 && exec "$@"'


def write_toml(path: Path, tables: dict[str, Any]) -> Path:
    path.write_text(tomli_w.dumps(tables), encoding="utf-8")
    return path


def edge_tables(pki: SamplePki, agency: str, target: str) -> dict[str, Any]:
    """The tables of an agency's profile, without a gateway."""
    own, trust = pki.folder.member(agency), pki.folder.trust
    return {
        "broker": {"address": target},
        "agency": {
            "certificate": str(own / "tls.pem"),
            "key": str(own / "tls.key"),
            "authorities": str(trust / "tls-ca.pem"),
            "signing_certificate": str(own / "signing.pem"),
            "signing_key": str(own / "signing.key"),
            **({"encryption_keys": str(own / KEY_FOLDER)} if (own / KEY_FOLDER).exists() else {}),
        },
        "trust": {
            "governance_key": str(trust / "governance.pem"),
            "directory": str(pki.folder.directory),
            "signing_revocations": str(pki.folder.revocation_list("signing")),
        },
    }


class BrokerProcess:
    """``case-exchange serve`` on one log folder. Every start uses a new port.

    ``files`` are the soft and the hard limit for its open files. Without them it has those of the test.
    """

    files: tuple[int, int] | None = None

    def __init__(self, pki: SamplePki, folder: Path, **sections: dict[str, Any]) -> None:
        self._config = write_toml(folder / "broker.toml", broker_tables(pki, folder / "log", **sections))
        self.errors = folder / "broker.log"
        self._process: subprocess.Popen[str] | None = None
        self.target = ""
        self.kills = 0

    def start(self) -> None:
        limited: list[str | Path] = [] if self.files is None else ["sh", "-c", _LIMITED, "sh", *map(str, self.files)]
        command = [*limited, COMMAND, "serve", "--config", self._config]
        with self.errors.open("a") as errors:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.errors.read_text()[-2000:]
        self.target = line.split()[-1]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, and no peer gets a message."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._close()

    def end(self) -> None:
        """End the process in any state."""
        if self._process is not None:
            self.kill()

    def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(30)
        self._close()
        return code

    def _close(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
