"""A real broker in this process, over real gRPC with mutual TLS, and clients of every agency."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from broker.bootstrap.broker import Broker, open_broker
from broker.client.auditor import Auditor
from broker.client.connection import ConnectionSettings, open_channel
from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.subscriber import Subscriber
from broker.client.verifying import RecordVerifier
from broker.config.broker import BrokerConfig
from broker.config.loader import parse
from broker.trust.system import SystemClock
from broker.wire.tls import TlsFiles
from certs.development import CHECKPOINT_KEY_NAME
from tests.support.fakes import FixedDirectory
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import grpc

    from broker.client.subscriber import Delivered
    from broker.client.verifying import VerifiedRecord
    from tests.support.pki import SamplePki


def broker_tables(pki: SamplePki, log_folder: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """The tables of a broker's configuration on a free port; ``sections`` override single keys."""
    trust, own = pki.folder.trust, pki.folder.member("exchange")
    tables: dict[str, Any] = {
        "server": {"address": "localhost:0", "drain_seconds": 2.0},
        "tls": {
            "certificate": str(own / "tls.pem"),
            "key": str(own / "tls.key"),
            "authorities": str(trust / "tls-ca.pem"),
        },
        "signing": {
            "certificate": str(own / "signing.pem"),
            "key": str(own / "signing.key"),
            "checkpoint_key": str(pki.folder.checkpoint_key),
            "checkpoint_key_name": CHECKPOINT_KEY_NAME,
        },
        "trust": {
            "governance_key": str(trust / "governance.pem"),
            "directory": str(pki.folder.directory),
            "signing_revocations": str(pki.folder.revocation_list("signing")),
            "tls_revocations": str(pki.folder.revocation_list("tls")),
            "reload_seconds": 0.1,
        },
        "log": {"folder": str(log_folder)},
        "checkpoints": {"interval_seconds": 0.05},
        "logging": {"level": "error"},
    }
    for name, keys in sections.items():
        tables.setdefault(name, {}).update(keys)
    return tables


class Exchange:
    """A running broker and what a test needs to speak to it."""

    def __init__(self, pki: SamplePki, broker: Broker, log_folder: Path) -> None:
        self.pki = pki
        self.broker = broker
        self.log_folder = log_folder
        self.clock = SystemClock()
        self._stack = contextlib.AsyncExitStack()

    @property
    def target(self) -> str:
        return f"localhost:{self.broker.port}"

    async def close(self) -> None:
        await self._stack.aclose()

    async def channel(self, agency: str = "", *, files: TlsFiles | None = None) -> grpc.aio.Channel:
        """A channel with an agency's TLS certificate, or with other files."""
        if files is None:
            certificate, key = self.pki.tls_paths(agency)
            files = TlsFiles(certificate, key, self.pki.folder.trust / "tls-ca.pem")
        channel = open_channel(ConnectionSettings(self.target), files.read())
        return await self._stack.enter_async_context(channel)

    def receipts(self) -> ReceiptVerifier:
        return ReceiptVerifier(FixedDirectory(self.pki.directory), self.pki.keyring())

    async def publisher(self, agency: str = "shanxi-police", *, files: TlsFiles | None = None) -> Publisher:
        return Publisher(await self.channel(agency, files=files), CODEC, self.receipts())

    async def subscriber(self, agency: str = "national-dna-database") -> Subscriber:
        return Subscriber(await self.channel(agency))

    async def auditor(self, agency: str = "national-audit") -> Auditor:
        return Auditor(await self.channel(agency))

    def verify(self, agency: str, delivered: Delivered) -> VerifiedRecord:
        """What an agency makes of a delivery, by the directory of the development PKI."""
        return RecordVerifier(agency, CODEC).verify(delivered.envelope, delivered.accepted_at_ms, self.pki.in_force())

    def maker(self, agency: str = "shanxi-police", *, system: str = "gateway") -> RecordMaker:
        return RecordMaker(self.pki, self.clock, agency, system=system)


@contextlib.asynccontextmanager
async def running_exchange(pki: SamplePki, log_folder: Path, **sections: dict[str, Any]) -> AsyncIterator[Exchange]:
    """A broker on ``log_folder``, stopped in good order at the end."""
    config = parse(BrokerConfig, broker_tables(pki, log_folder, **sections), log_folder)
    async with open_broker(config) as broker:
        exchange = Exchange(pki, broker, log_folder)
        try:
            yield exchange
        finally:
            await exchange.close()
