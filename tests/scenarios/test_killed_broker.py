"""The broker is killed again and again while records are published. Every record with a receipt is in the log, once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest

from broker.bootstrap.verify import verify_bundle
from broker.client.auditor import Auditor
from broker.client.connection import ConnectionSettings, open_channel
from broker.client.publisher import Published, Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.errors import CaseExchangeError
from broker.core.streams import StreamPartition
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.trust.system import SystemClock
from broker.wire.bundle import MAGIC, write_frame
from broker.wire.tls import TlsFiles
from tests.support.fakes import FixedDirectory
from tests.support.process import BrokerProcess
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from pathlib import Path

    import grpc

    from broker.core.envelope import Envelope
    from broker.core.receipt import ReceiptStatement
    from tests.support.pki import SamplePki

RECORDS = 10_000
KILLS = 20
BATCH = 100
IN_FLIGHT = 4


class Publishing:
    """Publishes records until all have receipts, while brokers are killed."""

    def __init__(self, pki: SamplePki, broker: BrokerProcess, envelopes: dict[str, Envelope]) -> None:
        self._pki = pki
        self._broker = broker
        self._envelopes = envelopes
        self._receipts = ReceiptVerifier(FixedDirectory(pki.directory), pki.keyring())
        self.statements: dict[str, ReceiptStatement] = {}

    def channel(self, agency: str) -> grpc.aio.Channel:
        certificate, key = self._pki.tls_paths(agency)
        files = TlsFiles(certificate, key, self._pki.folder.trust / "tls-ca.pem")
        return open_channel(ConnectionSettings(self._broker.target), files.read())

    async def until(self, receipts: int) -> None:
        """Publish what has no receipt, and kill the broker after this many more."""
        goal = len(self.statements) + receipts
        killed = asyncio.Event()
        room = asyncio.Semaphore(IN_FLIGHT)
        waiting = [record_id for record_id in self._envelopes if record_id not in self.statements]
        async with self.channel("shanxi-police") as channel:
            publisher = Publisher(channel, CODEC, self._receipts)

            async def send(record_ids: list[str]) -> None:
                async with room:
                    if killed.is_set():
                        return
                    for result in await stream.publish([self._envelopes[item] for item in record_ids]):
                        assert isinstance(result, Published)
                        self._note(result.statement)
                    if len(self.statements) >= goal and not killed.is_set():
                        killed.set()
                        self._broker.kill()

            with contextlib.suppress(CaseExchangeError):
                async with publisher.stream() as stream:
                    parts = [waiting[start : start + BATCH] for start in range(0, len(waiting), BATCH)]
                    await asyncio.gather(*map(send, parts), return_exceptions=False)

    async def rest(self) -> None:
        await self.until(RECORDS * 2)

    def _note(self, statement: ReceiptStatement) -> None:
        # A record that was published again keeps its first statement.
        assert self.statements.setdefault(statement.record_id, statement) == statement


async def delivered_ids(publishing: Publishing) -> set[str]:
    options = SubscribeOptions("everything", frozenset({"SampleRequest"}), max_outstanding_records=1000)
    found: set[str] = set()
    async with (
        asyncio.timeout(120),
        publishing.channel("national-dna-database") as channel,
        Subscriber(channel).subscribe(options) as stream,
    ):
        async for batch in stream:
            found |= {CODEC.parse_body(item.envelope.body).record_id for item in batch}
            await stream.ack([item.delivery_id for item in batch])
            if len(found) == RECORDS:
                break
    return found


async def replayed(publishing: Publishing, path: Path, entries: int) -> Path:
    async with publishing.channel("national-audit") as channel, asyncio.timeout(120):
        auditor = Auditor(channel)
        covered = 0
        while covered < entries:
            notes = [await auditor.checkpoint(StreamPartition("dna", number)) for number in range(4)]
            covered = sum(Checkpoint.parse(parse_note(note).text).size for note in notes)
        with path.open("wb") as file:
            file.write(MAGIC)
            async for frame in auditor.replay("after the crashes", streams=("dna",)):
                write_frame(file, frame.data)
    return path


@pytest.mark.crash
async def test_every_receipted_record_survives_twenty_kills_exactly_once(pki: SamplePki, tmp_path: Path) -> None:
    maker = RecordMaker(pki, SystemClock())
    cases = [f"01990000-0000-4000-8000-{number:012d}" for number in range(97)]
    made = [maker.make(case=cases[number % len(cases)]) for number in range(RECORDS)]
    envelopes = {CODEC.parse_body(envelope.body).record_id: envelope for envelope in made}
    broker = BrokerProcess(pki, tmp_path)
    publishing = Publishing(pki, broker, envelopes)
    chance = random.Random(20)  # noqa: S311 - a test's moments of death, the same every time
    for _ in range(KILLS):
        broker.start()
        await publishing.until(chance.randint(1, RECORDS // KILLS - BATCH))
    assert broker.kills == KILLS
    assert len(publishing.statements) < RECORDS
    broker.start()
    await publishing.rest()
    assert publishing.statements.keys() == envelopes.keys()
    assert len({statement.position for statement in publishing.statements.values()}) == RECORDS
    assert await delivered_ids(publishing) == envelopes.keys()
    bundle = await replayed(publishing, tmp_path / "bundle", RECORDS)
    assert broker.stop() == 0
    report = verify_bundle(bundle, (pki.folder.trust / "governance.pem",), lambda _: None)
    assert report.clean, report.findings[:5]
    assert report.records == RECORDS
