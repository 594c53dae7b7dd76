"""A broker in its own process carries records that it cannot read. Its recipients read all of them.

Canaries stand in every sealed section, and every content key begins with a mark. They must be nowhere in the broker:
not in its memory (searched as a core dump would be), its files, its log, or on Kafka. What it may have, ids of records
and a public notice, is found by the same search, so the search works.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.client.connection import ConnectionSettings, open_channel
from broker.client.publisher import Published, Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.records import Draft, RecordComposer, RecordVerifier, SectionDraft
from broker.client.sealing import Opening, Sealing
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.body import Recipient
from broker.core.identity import Principal
from broker.trust.hpke import HpkeWrapper
from broker.trust.keyfolder import FolderKeys
from broker.trust.sealing import AesGcmCipher
from broker.trust.system import SystemClock, SystemEntropy
from broker.wire.tls import TlsFiles
from certs.development import KEY_FOLDER
from certs.rights import HEBEI, LAB, MINISTRY, NGO, SHANXI, TRUST_DOMAIN
from tests.support.canaries import found_in_files, found_in_memory
from tests.support.fakes import FixedDirectory
from tests.support.kafkaexchange import OnKafka
from tests.support.pki import SamplePki
from tests.support.process import BrokerProcess
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from broker.core.envelope import Envelope

RECORDS = 1000
_BATCH = 50
_MARK = secrets.token_bytes(12)
"""The first bytes of every content key."""
_SECRET, _PUBLIC = (f"CANARY-{part}-{secrets.token_hex(8)}".encode() for part in ("secret", "public"))


class Said(NamedTuple):
    """What one agency says to others."""

    kind: str
    stream: str
    purpose: str
    publisher: str
    recipients: tuple[str, ...]


SAID = (
    Said("CaseRecord", "cases", "child-rescue", SHANXI, (HEBEI, MINISTRY, NGO)),
    Said("SampleRequest", "dna", "dna-matching", SHANXI, (LAB,)),
    Said("StrProfile", "dna", "dna-matching", LAB, (LAB,)),
    Said("MatchNotification", "dna", "dna-matching", LAB, (SHANXI, HEBEI)),
    Said("NoMatchResult", "dna", "dna-matching", LAB, (SHANXI, HEBEI, MINISTRY)),
    Said("Tip", "cases", "child-rescue", NGO, (SHANXI, HEBEI, MINISTRY)),
    Said("Closure", "cases", "case-closure", SHANXI, (HEBEI, MINISTRY, LAB, NGO)),
    Said("Correction", "dna", "correction", SHANXI, (HEBEI, MINISTRY, LAB, NGO)),
    Said("PublicNotice", "notices", "public-appeal", MINISTRY, (SHANXI, HEBEI, NGO, MINISTRY)),
)
NAMES = ("case", "identity", "photos")
_WITHOUT_IDENTITY = {"CaseRecord": ("case", "photos"), "Correction": ("case", "photos")}
"""What the NGO may have of these kinds."""


class MarkedEntropy(SystemEntropy):
    """Content keys that can be recognised. They have 160 random bits left."""

    def token(self, size: int) -> bytes:
        return _MARK + super().token(size - len(_MARK)) if size == 32 else super().token(size)


class Parties:
    """The agencies of a PKI, connected to one broker."""

    def __init__(self, pki: SamplePki, target: str) -> None:
        self._pki = pki
        self._target = target
        self._numbers: dict[tuple[str, str], int] = {}

    @functools.cache  # noqa: B019 - as long as the test lasts
    def _composer(self, publisher: str) -> RecordComposer:
        sealing = Sealing(lambda: self._pki.directory, AesGcmCipher(), HpkeWrapper())
        parts = (Principal(TRUST_DOMAIN, publisher, "gateway"), self._pki.signer(publisher), CODEC, MarkedEntropy())
        return RecordComposer(*parts, SystemClock(), sealing=sealing)

    def record(self, said: Said, number: int) -> Envelope:
        mark = _PUBLIC if said.kind == "PublicNotice" else _SECRET
        sections = tuple(SectionDraft(name, "synthetic", content(mark, said.kind, name, number)) for name in NAMES)
        recipients = []
        for agency in said.recipients:
            numbered = self._numbers[said.publisher, agency] = self._numbers.get((said.publisher, agency), 0) + 1
            recipients.append(Recipient(agency, numbered))
        case = f"01990000-0000-4000-8000-{number % 40:012d}"
        draft = Draft(said.kind, said.stream, case, tuple(recipients), said.purpose, sections)
        return self._composer(said.publisher).compose(draft).envelope

    async def publish(self, agency: str, envelopes: Sequence[Envelope]) -> None:
        receipts = ReceiptVerifier(FixedDirectory(self._pki.directory), self._pki.keyring())
        async with self._channel(agency) as channel, Publisher(channel, CODEC, receipts).stream() as stream:
            for start in range(0, len(envelopes), _BATCH):
                results = await stream.publish(envelopes[start : start + _BATCH])
                assert [each for each in results if not isinstance(each, Published)] == []

    async def read(self, agency: str, kinds: set[str], count: int) -> dict[str, list[dict[str, bytes]]]:
        """What an agency makes of the first records of these kinds, in any order, by kind."""
        keys = FolderKeys(self._pki.folder.member(agency) / KEY_FOLDER)
        verifier = RecordVerifier(agency, CODEC, Opening(AesGcmCipher(), keys))
        read: dict[str, list[dict[str, bytes]]] = {kind: [] for kind in kinds}
        in_force = self._pki.in_force()
        options = SubscribeOptions("canaries", frozenset(kinds))
        async with (
            asyncio.timeout(120),
            self._channel(agency) as channel,
            Subscriber(channel).subscribe(options) as stream,
        ):
            async for delivered in stream:
                for each in delivered:
                    verified = verifier.verify(each.envelope, each.accepted_at_ms, in_force)
                    read[verified.body.kind].append(dict(verified.sections))
                await stream.ack([each.delivery_id for each in delivered])
                if sum(map(len, read.values())) >= count:
                    break
        return read

    def _channel(self, agency: str):  # type: ignore[no-untyped-def] # noqa: ANN202 - of grpc.aio
        certificate, key = self._pki.tls_paths(agency)
        files = TlsFiles(certificate, key, self._pki.folder.trust / "tls-ca.pem")
        return open_channel(ConnectionSettings(self._target), files.read())


def content(mark: bytes, kind: str, name: str, number: int) -> bytes:
    """A name, an address, a locus and bytes of a photograph, all synthetic, with the canary before each."""
    parts = (b"Wang Xiaoming (synthetic)", b"No. 1 Example Road", b"D3S1358 15,17", b"\xff\xd8\xff\xe0 photo")
    return b"".join(mark + b" " + part + f" {kind}/{name}/{number} ".encode() for part in parts)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki", plain=False)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(
    pki: SamplePki, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[BrokerProcess, list[Path]]]:
    """A broker's process, and the folders of all that is written by it and for it."""
    folders = [tmp_path / "broker"]
    folders[0].mkdir()
    sections = {}
    if request.param == "kafka":
        cluster = request.getfixturevalue("kafka_cluster")
        sections = OnKafka(cluster, request.getfixturevalue("kafka_keys"), pki, tmp_path).sections()
        folders.append(cluster._folder.root)
    process = BrokerProcess(pki, folders[0], **sections)
    process.start()
    yield process, folders
    process.end()


async def test_a_broker_carries_a_thousand_records_of_every_kind_and_never_holds_a_content_or_a_key(
    pki: SamplePki, broker: tuple[BrokerProcess, list[Path]]
) -> None:
    process, folders = broker
    parties = Parties(pki, process.target)
    sent: dict[str, list[Envelope]] = {}
    for number in range(RECORDS):
        said = SAID[number % len(SAID)]
        sent.setdefault(said.publisher, []).append(parties.record(said, number))
    for agency, envelopes in sent.items():
        await parties.publish(agency, envelopes)

    # The audience reads all of them.
    for agency in (SHANXI, HEBEI, LAB, MINISTRY, NGO):
        due = {said.kind: said for said in SAID if agency in said.recipients}
        numbers = {kind: range(SAID.index(said), RECORDS, len(SAID)) for kind, said in due.items()}
        read = await parties.read(agency, set(due), sum(map(len, numbers.values())))
        for kind, said in due.items():
            mark = _PUBLIC if said.kind == "PublicNotice" else _SECRET
            names = _WITHOUT_IDENTITY.get(kind, NAMES) if agency == NGO else NAMES
            expected = [{name: content(mark, kind, name, number) for name in names} for number in numbers[kind]]
            assert sorted(read[kind], key=str) == sorted(expected, key=str), (agency, kind)

    # The broker never had it.
    planted = {
        "secret": _SECRET,
        "content key": _MARK,
        "public notice": _PUBLIC,
        "record id": CODEC.parse_body(sent[SHANXI][-1].body).record_id.encode(),
    }
    its_own = {"public notice", "record id"}
    assert found_in_memory(process.pid, planted) == its_own
    # The log is in the last folder.
    found = [found_in_files(folder, planted) for folder in folders]
    assert found[-1] == its_own
    assert set().union(*found) == its_own
    assert process.stop() == 0
    assert set().union(*(found_in_files(folder, planted) for folder in folders)) == its_own
