"""A proof of one record: from a broker over the network, to each party its part, checked offline by the commands."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner

from broker.cli.export import export
from broker.cli.proof import proof
from broker.cli.report.words import Words
from broker.cli.verify import verify
from broker.client.composing import SectionDraft
from broker.core.bundle import BundleHeader, DirectoryDocument, PartitionLeaves, PartitionRecords, PartitionStart
from broker.core.errors import InputRefused, ProofNotReady, PurposeMissing, QuotaExceeded, RecordUnknown
from broker.core.events import ProofMade
from broker.core.sections import unsalted
from broker.core.streams import AUDIT, StreamPartition
from broker.wire.bundle import MAGIC, read_frames, write_frame
from deploy.kafka.ports import free_ports
from tests.support.exchange import Exchange, running_exchange
from tests.support.kafkaexchange import OnKafka
from tests.support.pki import SamplePki
from tests.support.process import edge_tables, write_toml
from tests.support.records import CODEC
from tests.support.replays import Bundle, covered, replayed
from tests.support.witnessing import ALPHA, QUICK, eventually, everything, govern, until, witnessing

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from broker.core.envelope import Envelope
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster

SHANXI, HEBEI, NGO, LAB, AUDITOR = (
    "shanxi-police",
    "hebei-police",
    "child-aid-ngo",
    "national-dna-database",
    "national-audit",
)
SECTIONS = (SectionDraft("case", "synthetic", b"open"), SectionDraft("identity", "synthetic", b"of nobody"))


def record_id(envelope: Envelope) -> str:
    return CODEC.parse_body(envelope.body).record_id


def case_record(exchange: Exchange) -> Envelope:
    to = (HEBEI, NGO)
    return exchange.maker().make("CaseRecord", "cases", to=to, purpose="child-rescue", sections=SECTIONS)


async def proved(exchange: Exchange, agency: str, record: str, path: Path, **asked: Any) -> Bundle:
    """The proof that an agency gets."""
    auditor = await exchange.auditor(agency)
    with path.open("wb") as file:
        file.write(MAGIC)
        async for frame in auditor.prove_record(record, **asked):
            write_frame(file, frame.data)
    return Bundle(path, exchange.pki)


async def asked(exchange: Exchange, agency: str, folder: Path, record: str, *more: str) -> Result:
    """What ``case-exchange proof`` does for an agency: it writes ``folder``/AGENCY.proof."""
    profile = write_toml(folder / f"{agency}.toml", edge_tables(exchange.pki, agency, exchange.target))
    arguments = [record, "--profile", str(profile), "--out", str(folder / f"{agency}.proof"), *more]
    return await asyncio.to_thread(CliRunner().invoke, proof, arguments)


def facts(path: Path, pki: SamplePki, *more: str | Path) -> dict[str, Any]:
    """What ``case-exchange verify --json`` says of a proof."""
    root = pki.folder.trust / "governance.pem"
    done = CliRunner().invoke(verify, [str(path), "--root", str(root), "--json", *map(str, more)])
    assert done.exit_code in {0, 1}, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Proofs(NamedTuple):
    """The proofs of one record for its publisher, a recipient with all sections, one without, and an auditor."""

    folder: Path
    pki: SamplePki
    envelope: Envelope
    other: Bundle

    def bundle(self, agency: str) -> Bundle:
        return Bundle(self.folder / f"{agency}.proof", self.pki)


@pytest.fixture(scope="module")
def proofs(pki: SamplePki, tmp_path_factory: pytest.TempPathFactory) -> Proofs:
    folder = tmp_path_factory.mktemp("proofs")

    async def make() -> Proofs:
        async with running_exchange(pki, folder / "log") as exchange:
            publisher = await exchange.publisher()
            envelopes = [case_record(exchange) for _ in range(7)]
            for envelope in envelopes:
                await publisher.publish(envelope)
            await covered(exchange)
            record = record_id(envelopes[4])
            for agency, more in ((SHANXI, ()), (HEBEI, ()), (NGO, ()), (AUDITOR, ("--purpose", "a court asks"))):
                done = await asked(exchange, agency, folder, record, *more)
                assert done.exit_code == 0, done.output
            other = await proved(exchange, SHANXI, record_id(envelopes[5]), folder / "other.proof")
        return Proofs(folder, pki, envelopes[4], other)

    return asyncio.run(make())


@pytest.mark.parametrize(
    ("agency", "sections"),
    [(SHANXI, {"case", "identity"}), (HEBEI, {"case", "identity"}), (NGO, {"case"}), (AUDITOR, set())],
)
def test_each_party_gets_a_proof_with_the_sections_that_it_may_have(
    proofs: Proofs, agency: str, sections: set[str]
) -> None:
    bundle = proofs.bundle(agency)
    (records,) = [frame for frame in bundle.frames() if isinstance(frame, PartitionRecords)]
    (entry,) = records.entries
    assert (entry.envelope.body, entry.envelope.signatures) == (proofs.envelope.body, proofs.envelope.signatures)
    assert {section.name for section in entry.envelope.sections} == sections
    report = facts(bundle.path, proofs.pki)
    assert (report["clean"], report["findings"]) == (True, [])
    assert report["proved"] == report["proved"] | {
        "record_id": record_id(proofs.envelope),
        "publisher": SHANXI,
        "recipients": [HEBEI, NGO],
        "position": str(entry.position),
        "leaf_index": entry.position.offset,
        "withheld_sections": 2 - len(sections),
        "cosigned_by": [],
    }
    assert report["auditor"].startswith(f"spiffe://case-exchange.example/agency/{agency}/")


def test_a_proof_has_one_leaf_and_nothing_of_other_records(proofs: Proofs) -> None:
    frames = proofs.bundle(NGO).frames()
    header = frames[0]
    assert isinstance(header, BundleHeader)
    assert header.proved_record == record_id(proofs.envelope)
    assert [len(frame.leaves) for frame in frames if isinstance(frame, PartitionLeaves)] == [1]
    assert sum(len(frame.entries) for frame in frames if isinstance(frame, PartitionRecords)) == 1
    assert sum(isinstance(frame, PartitionStart) for frame in frames) == 1
    # Most of the rest is the directory, with the statements of every agency's encryption keys.
    assert proofs.bundle(NGO).path.stat().st_size - len(proofs.pki.directory.document) < 32 << 10


def test_verify_prints_what_a_proof_proves_and_claims_nothing_of_other_records(proofs: Proofs) -> None:
    bundle = proofs.bundle(NGO)
    done = CliRunner().invoke(verify, [str(bundle.path), "--root", str(bundle.root)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "a proof of one record does not say:"
    assert lines[1] == "  - anything about other records: that there are more, or that none is missing"
    assert f"record {record_id(proofs.envelope)}, a CaseRecord" in lines
    assert "  1 of its sections are withheld from this copy" in lines
    assert lines[-1].startswith("proved: the record is unchanged, signed by its publisher")
    assert "nothing is wrong" not in done.stdout


def test_the_report_on_a_proof_says_which_record_is_proved_and_what_that_does_not_say(
    proofs: Proofs, tmp_path: Path
) -> None:
    bundle, out = proofs.bundle(NGO), tmp_path / "proof.html"
    report = ["--report", str(out), "--lang", "en"]
    done = CliRunner().invoke(verify, [str(bundle.path), "--root", str(bundle.root), *report])
    assert done.exit_code == 0, done.output
    text = unescape(re.sub(r"<[^>]*>", "", out.read_text("utf-8")))
    texts = Words("en").texts
    for said in (texts["proved"], texts["proof"], record_id(proofs.envelope), texts["unsaid_others"]):
        assert said in text
    assert texts["could_hide"] not in text
    assert texts["sound_part"] not in text


def test_no_frame_of_a_proof_can_be_changed_dropped_repeated_moved_or_taken_from_another(
    proofs: Proofs, tmp_path: Path
) -> None:
    bundle, path = proofs.bundle(SHANXI), tmp_path / "changed.proof"
    with bundle.path.open("rb") as file:
        frames = list(read_frames(file))
    with proofs.other.path.open("rb") as file:
        others = list(read_frames(file))
    assert len(frames) == len(others)

    def fails(changed: list[bytes]) -> bool:
        with path.open("wb") as file:
            file.write(MAGIC)
            for data in changed:
                write_frame(file, data)
        done = CliRunner().invoke(verify, [str(path), "--root", str(bundle.root), "--json"])
        assert done.exit_code in {1, 2}, done.output
        return done.exit_code == 2 or json.loads(done.stdout)["proved"] is None

    for at, data in enumerate(frames):
        flipped = bytearray(data)
        flipped[len(flipped) // 2] ^= 1
        assert fails([*frames[:at], bytes(flipped), *frames[at + 1 :]]), at
        assert fails([*frames[:at], *frames[at + 1 :]]), at
        assert fails([*frames[: at + 1], data, *frames[at + 1 :]]), at
        if at + 1 < len(frames):
            assert fails([*frames[:at], frames[at + 1], data, *frames[at + 2 :]]), at
        if others[at] != data:
            assert fails([*frames[:at], others[at], *frames[at + 1 :]]), at


def test_a_proof_is_exported_for_other_programs_as_a_bundle_is(proofs: Proofs, tmp_path: Path) -> None:
    bundle = proofs.bundle(HEBEI)
    arguments = [record_id(proofs.envelope), "--from", bundle.path, "--root", bundle.root, "--as", "cms"]
    done = CliRunner().invoke(export, [*map(str, arguments), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "record.pae").read_bytes() == proofs.envelope.signed_bytes


async def test_to_a_stranger_a_record_and_one_that_does_not_exist_are_the_same(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        envelope = case_record(exchange)
        await (await exchange.publisher()).publish(envelope)
        await covered(exchange)
        refusals = []
        for record in (record_id(envelope), "01990000-0000-7000-8000-000000000001"):
            for purpose in ("", "a reason"):
                with pytest.raises(RecordUnknown) as refused:
                    await proved(exchange, LAB, record, tmp_path / "p", purpose=purpose)
                refusals.append((refused.value.message, refused.value.details))
        assert len({str(each) for each in refusals}) == 1
        with pytest.raises(InputRefused):
            await proved(exchange, SHANXI, "no id", tmp_path / "p")
        done = await asked(exchange, LAB, tmp_path, record_id(envelope))
        assert isinstance(done.exception, RecordUnknown)
        # An auditor says why, as for a replay.
        with pytest.raises(PurposeMissing):
            await proved(exchange, AUDITOR, record_id(envelope), tmp_path / "p")
        assert await proofs_told(exchange) == []
    assert not (tmp_path / f"{LAB}.proof").exists()


async def proofs_told(exchange: Exchange) -> list[tuple[str, ProofMade]]:
    """Who got which proof, as the audit stream says."""
    told = []
    for entry in await exchange.broker.log.read(StreamPartition(AUDIT, 0), 0, 1000, 1 << 20):
        if entry.kind == "AuditEvents":
            (section,) = CODEC.decode_envelope(entry.value).sections
            told += CODEC.decode_audit_events(unsalted(section))
    return [(each.principal.split("/")[-2], each.event) for each in told if isinstance(each.event, ProofMade)]


async def test_the_audit_stream_says_who_got_which_sections_with_a_proof(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        envelope = case_record(exchange)
        receipt = await (await exchange.publisher()).publish(envelope)
        position = exchange.receipts().verify(receipt).position
        await covered(exchange)
        for agency in (SHANXI, NGO):
            await proved(exchange, agency, record_id(envelope), tmp_path / "p")
        await proved(exchange, AUDITOR, record_id(envelope), tmp_path / "p", purpose=" a court asks ")
        assert await proofs_told(exchange) == [
            (SHANXI, ProofMade(position, "", ())),
            (NGO, ProofMade(position, "", ("identity",))),
            (AUDITOR, ProofMade(position, "a court asks", ("case", "identity"))),
        ]
        # An audit judges each of them, and finds nothing.
        bundle = await replayed(exchange, tmp_path / "bundle")
    assert bundle.report().findings == ()


async def test_an_agency_has_one_proof_at_a_time(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        envelope = case_record(exchange)
        await (await exchange.publisher()).publish(envelope)
        await covered(exchange)
        quotas = exchange.broker._server._guard._quotas
        with quotas.long_call(NGO):
            with pytest.raises(QuotaExceeded):
                await proved(exchange, NGO, record_id(envelope), tmp_path / "p")
            await proved(exchange, HEBEI, record_id(envelope), tmp_path / "p")
        assert (await proved(exchange, NGO, record_id(envelope), tmp_path / "p")).report().clean


@pytest.fixture
def own_pki(tmp_path: Path) -> SamplePki:
    """A PKI of its own, because the tests sign another directory."""
    return SamplePki.build(tmp_path / "pki")


async def test_a_proof_waits_for_witnesses_and_says_so(own_pki: SamplePki, tmp_path: Path) -> None:
    pki = own_pki
    (port,) = free_ports(1)
    policy = govern(pki, (ALPHA, f"https://localhost:{port}"))
    (tmp_path / "policy").write_text(policy)
    async with running_exchange(pki, tmp_path / "log", witnesses=QUICK) as exchange:
        first, second = case_record(exchange), case_record(exchange)
        publisher = await exchange.publisher()
        await publisher.publish(first)
        await covered(exchange)
        with pytest.raises(ProofNotReady, match="witnesses have cosigned 0 records") as not_ready:
            await proved(exchange, SHANXI, record_id(first), tmp_path / "p")
        assert not_ready.value.details["retry_after_ms"] == "50"
        refused = await asked(exchange, SHANXI, tmp_path, record_id(first))
        assert isinstance(refused.exception, ProofNotReady)
        # Without witnesses, the auditor's own policy is not met, and the directory's is only told.
        bundle = await proved(exchange, SHANXI, record_id(first), tmp_path / "bare", without_cosignatures=True)
        report = facts(bundle.path, pki)
        assert (report["clean"], report["proved"]["cosigned_by"]) == (True, [])
        report = facts(bundle.path, pki, "--witness-policy", tmp_path / "policy")
        assert [item["code"] for item in report["findings"]] == ["WITNESSES_MISSING"]
        # The command waits until a witness has come.
        waiting = asyncio.create_task(asked(exchange, NGO, tmp_path, record_id(first), "--wait", "30"))
        async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
            done = await waiting
            assert done.exit_code == 0, done.output
            await until(exchange, policy, everything)
        report = facts(tmp_path / f"{NGO}.proof", pki, "--witness-policy", tmp_path / "policy")
        assert report["findings"] == []
        assert report["proved"]["cosigned_by"] == [ALPHA.key.name]
        # What was cosigned before the second record does not prove it.
        await publisher.publish(second)
        await covered(exchange)
        with pytest.raises(ProofNotReady, match="witnesses have cosigned 1 records of the partition, and this one is"):
            await proved(exchange, SHANXI, record_id(second), tmp_path / "p")
        bundle = await proved(exchange, SHANXI, record_id(second), tmp_path / "late", without_cosignatures=True)
        report = facts(bundle.path, pki, "--witness-policy", tmp_path / "policy")
        assert [item["code"] for item in report["findings"]] == ["WITNESSES_MISSING"]
        # That of the first is as good as ever.
        bundle = await proved(exchange, SHANXI, record_id(first), tmp_path / "again")
        assert facts(bundle.path, pki, "--witness-policy", tmp_path / "policy")["clean"]


async def test_a_proof_has_the_directory_of_the_acceptance_and_that_of_today(
    own_pki: SamplePki, tmp_path: Path
) -> None:
    pki = own_pki
    async with running_exchange(pki, tmp_path / "log") as exchange:
        envelope = case_record(exchange)
        await (await exchange.publisher()).publish(envelope)
        await covered(exchange)
        newer = pki.sign(replace(pki.directory, version=pki.directory.version + 1))
        pki.folder.directory.write_bytes(newer)

        async def documents() -> list[bytes]:
            bundle = await proved(exchange, SHANXI, record_id(envelope), tmp_path / "p")
            assert bundle.report().proved is not None
            return [frame.document for frame in bundle.frames() if isinstance(frame, DirectoryDocument)]

        async def both() -> bool:
            return await documents() == [pki.directory.document, newer]

        await eventually(both)


@pytest.mark.kafka
async def test_on_kafka_a_party_gets_a_proof_and_a_stranger_none(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path
) -> None:
    kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    async with kafka.broker() as exchange:
        envelope = case_record(exchange)
        await (await exchange.publisher()).publish(envelope)
        await covered(exchange)
        bundle = await proved(exchange, NGO, record_id(envelope), tmp_path / "p")
        report = facts(bundle.path, pki)
        assert (report["clean"], report["findings"]) == (True, [])
        assert report["proved"]["record_id"] == record_id(envelope)
        assert report["proved"]["withheld_sections"] == 1
        with pytest.raises(RecordUnknown):
            await proved(exchange, LAB, record_id(envelope), tmp_path / "p")
