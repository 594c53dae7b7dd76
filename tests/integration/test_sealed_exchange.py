"""A broker in its own process carries records that it cannot read. Its recipients read all of them.

Canaries stand in every sealed section, and every content key begins with a mark. They must be nowhere in the broker:
not in its memory (searched as a core dump would be), its files, its log, or on Kafka; not in the traffic between edges
and broker and between broker and Kafka, in clear; and not in what its commands print. They are looked for in every
encoding that a program could have given them. What the broker may have, ids of records and public notices, is found by
the same search in each of these places, so the search works.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.client.composing import Draft, RecordComposer, SectionDraft
from broker.client.connection import ConnectionSettings, open_channel
from broker.client.opening import Opening
from broker.client.publisher import Published, Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.sealing import Sealing
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.client.verifying import RecordVerifier
from broker.core.body import Recipient
from broker.core.identity import Principal
from broker.core.streams import KINDS
from broker.trust.hpke import HpkeWrapper
from broker.trust.keyfolder import FolderKeys
from broker.trust.sealing import AesGcmCipher
from broker.trust.system import SystemClock, SystemEntropy
from broker.wire.tls import TlsFiles
from certs.development import KEY_FOLDER
from certs.kafka import BROKER
from certs.rights import EXCHANGE, HEBEI, LAB, MINISTRY, NGO, SHANXI, TRUST_DOMAIN
from tests.support.canaries import encodings, found_in, found_in_files, found_in_memory
from tests.support.clearlink import ClearLink, Keys, connected, unframe
from tests.support.fakes import FixedDirectory
from tests.support.kafkaexchange import OnKafka, run
from tests.support.pki import SamplePki
from tests.support.process import BrokerProcess, edge_tables, write_toml
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from broker.core.envelope import Envelope
    from certs.kafka import KafkaFiles
    from deploy.kafka.cluster import KafkaCluster

RECORDS = 1000
_BATCH = 50
_MARK = secrets.token_bytes(12)
"""The first bytes of every content key."""


class Canaries(NamedTuple):
    """A name, a number, a locus and bytes of a photograph, all invented, that are nowhere else in the world."""

    name: str
    number: str
    locus: str
    photo: bytes

    @classmethod
    def make(cls) -> Canaries:
        digits = "".join(secrets.choice("0123456789") for _ in range(18))
        name, locus = f"王小明样本{secrets.token_hex(6)}", f"D3S1358 {secrets.token_hex(6)}"
        return cls(name, digits, locus, secrets.token_bytes(24))

    def planted(self, whose: str) -> dict[str, bytes]:
        """Each in each encoding."""
        forms = [encodings(f"{whose} {name}", canary) for name, canary in self._asdict().items()]
        return {label: data for form in forms for label, data in form.items()}


_SECRET, _PUBLIC = Canaries.make(), Canaries.make()


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
    Said("ReaddressRequest", "cases", "readdressing", HEBEI, (SHANXI, LAB)),
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
    """The agencies of a PKI, each connected to the broker by the target that is given for it."""

    def __init__(self, pki: SamplePki, targets: Mapping[str, str]) -> None:
        self._pki = pki
        self._targets = targets
        self._numbers: dict[tuple[str, str], int] = {}

    @functools.cache  # noqa: B019 - as long as the test lasts
    def _composer(self, publisher: str) -> RecordComposer:
        sealing = Sealing(lambda: self._pki.directory, AesGcmCipher(), HpkeWrapper())
        parts = (Principal(TRUST_DOMAIN, publisher, "gateway"), self._pki.signer(publisher), CODEC, MarkedEntropy())
        return RecordComposer(*parts, SystemClock(), sealing=sealing)

    def record(self, said: Said, number: int) -> Envelope:
        sections = tuple(SectionDraft(name, "synthetic", content(said.kind, name, number)) for name in NAMES)
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
        options = SubscribeOptions("canaries", frozenset(kinds), lease_seconds=600)
        async with (
            asyncio.timeout(600),
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
        return open_channel(ConnectionSettings(self._targets[agency]), files.read())


def content(kind: str, name: str, number: int) -> bytes:
    """A section with every canary in it."""
    canaries = _PUBLIC if kind == "PublicNotice" else _SECRET
    texts = f"{canaries.name} {canaries.number} {canaries.locus} {kind}/{name}/{number} "
    return texts.encode() + b"\xff\xd8\xff\xe0" + canaries.photo


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki", plain=False)


class Place(NamedTuple):
    """A broker's process, and the folders of all that is written by it and for it.

    With Kafka: its traffic with it, in clear, the port of the link that recorded it, and that of Kafka itself.
    """

    process: BrokerProcess
    folders: list[Path]
    kafka: tuple[Path, int, int] | None


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def place(pki: SamplePki, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        sections, folders, kafka = {}, [folder], None
        if request.param == "kafka":
            cluster, keys = request.getfixturevalue("kafka_cluster"), request.getfixturevalue("kafka_keys")
            sections = OnKafka(cluster, keys, pki, tmp_path).sections()
            folders.append(cluster._folder.root)
            traffic = tmp_path / "kafka-traffic"
            link = stack.enter_context(kafka_link(cluster, keys.kafka, traffic))
            sections["kafka"]["servers"] = [link.target]
            kafka = traffic, link.port, int(cluster.bootstrap.rpartition(":")[2])
        process = BrokerProcess(pki, folder, **sections)
        stack.callback(process.end)
        process.start()
        yield Place(process, folders, kafka)


def kafka_link(cluster: KafkaCluster, keys: KafkaFiles, folder: Path) -> ClearLink:
    """A link that stands in the place of a cluster of one node, also in what the node says of its own address."""
    host, _, port = cluster.bootstrap.rpartition(":")
    certificate = keys.node(1)
    server = Keys(certificate, certificate.with_suffix(".key"), keys.authority)
    ours = host.encode() + int(port).to_bytes(4)

    def answers(data: bytes) -> bytes:
        return data.replace(ours, host.encode() + link.port.to_bytes(4))

    client = Keys(*keys.client(BROKER), keys.authority)
    link = ClearLink(cluster.bootstrap, folder, server, client, alpn=(), answers=answers)
    return link


def edge_link(pki: SamplePki, target: str, agency: str, folder: Path) -> ClearLink:
    """A link between an agency and the broker."""
    authorities = pki.folder.trust / "tls-ca.pem"
    return ClearLink(
        target, folder, Keys(*pki.tls_paths(EXCHANGE), authorities), Keys(*pki.tls_paths(agency), authorities)
    )


async def printed(pki: SamplePki, folder: Path, target: str, record_id: str) -> dict[str, bytes]:
    """What the commands of members and auditors print and write of a broker's state."""
    profile = write_toml(folder / "edge.toml", edge_tables(pki, SHANXI, target))
    audit = write_toml(folder / "audit.toml", edge_tables(pki, "national-audit", target))
    bundle, root = folder / "whole.bundle", pki.folder.trust / "governance.pem"
    commands: list[list[str | Path]] = [
        ["status", "--profile", profile, "--json"],
        ["trace", record_id, "--profile", profile, "--json"],
        ["trace", "--unprocessed", "--profile", profile, "--json"],
        ["deadletter", "list", "--profile", profile, "--json"],
        ["replay", "--profile", audit, "--purpose", "a test", "--out", bundle],
        ["verify", bundle, "--root", root, "--json"],
    ]
    said = {}
    for command in commands:
        done = await run(*command)
        assert done.code == 0, (command, done)
        said[" ".join(map(str, command[:2]))] = (done.output + done.errors).encode()
    return said | {"bundle": bundle.read_bytes()}


async def test_a_broker_carries_a_thousand_records_of_every_kind_and_never_holds_a_content_or_a_key(
    pki: SamplePki, place: Place, tmp_path: Path
) -> None:
    process, folders, kafka = place
    assert {said.kind for said in SAID} == KINDS
    with contextlib.ExitStack() as stack:
        targets = {}
        for agency in (SHANXI, HEBEI, LAB, MINISTRY, NGO):
            link = edge_link(pki, process.target, agency, tmp_path / "traffic" / agency)
            targets[agency] = stack.enter_context(link).target
        parties = Parties(pki, targets)
        sent: dict[str, list[Envelope]] = {}
        for number in range(RECORDS):
            said = SAID[number % len(SAID)]
            sent.setdefault(said.publisher, []).append(parties.record(said, number))
        secret = _SECRET.planted("secret") | encodings("content key", _MARK)
        # While it works, too: what it holds only for a moment could be in a core dump of that moment.
        meanwhile = asyncio.create_task(asyncio.to_thread(found_in_memory, process.pid, secret))
        for agency, envelopes in sent.items():
            await parties.publish(agency, envelopes)

        # The audience reads all of them.
        for agency in targets:
            due = {said.kind: said for said in SAID if agency in said.recipients}
            numbers = {kind: range(SAID.index(said), RECORDS, len(SAID)) for kind, said in due.items()}
            read = await parties.read(agency, set(due), sum(map(len, numbers.values())))
            for kind in due:
                names = _WITHOUT_IDENTITY.get(kind, NAMES) if agency == NGO else NAMES
                expected = [{name: content(kind, name, number) for name in names} for number in numbers[kind]]
                assert sorted(read[kind], key=str) == sorted(expected, key=str), (agency, kind)
        assert await meanwhile == set()

    # The broker never had it.
    record_id = CODEC.parse_body(sent[SHANXI][-1].body).record_id
    control = {f"public {name}": data for name, data in _plain(_PUBLIC).items()} | {"record id": record_id.encode()}
    planted = secret | control
    assert await asyncio.to_thread(found_in_memory, process.pid, planted) == set(control)
    # The log is in the last folder.
    found = [await asyncio.to_thread(found_in_files, folder, planted) for folder in folders]
    assert found[-1] == set(control)
    assert set().union(*found) == set(control)
    for agency in targets:
        traffic = tmp_path / "traffic" / agency
        assert unframe(traffic) > 0
        found_there = await asyncio.to_thread(found_in_files, traffic, planted)
        # Everybody else has sent or received public notices.
        assert found_there - {"record id"} == (set() if agency == LAB else set(control) - {"record id"}), agency
    if kafka is not None:
        traffic, ours, theirs = kafka
        # Nothing goes past the link.
        assert (connected(process.pid, ours), connected(process.pid, theirs)) == (True, False)
        assert await asyncio.to_thread(found_in_files, traffic, planted) == set(control)
    for what, output in (await printed(pki, tmp_path, process.target, record_id)).items():
        assert found_in(output, secret) == set(), what
        assert (what == "trace") <= ("record id" in found_in(output, planted)), what
    assert await asyncio.to_thread(process.stop) == 0
    found = [await asyncio.to_thread(found_in_files, folder, planted) for folder in folders]
    assert set().union(*found) == set(control)


def _plain(canaries: Canaries) -> dict[str, bytes]:
    return {name: each.encode() if isinstance(each, str) else each for name, each in canaries._asdict().items()}
