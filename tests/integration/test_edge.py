"""An agency's edge against a real broker. It waits out passing faults, keeps refused records, and loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import structs
from structlog.testing import capture_logs

from adapters.base import Encoded, Limits, Record
from adapters.edge.edge import Edge, open_edge
from adapters.edge.numbers import Numbers
from adapters.edge.spool import Spool
from adapters.gateway.outbound import Outbound
from adapters.gateway.process import _again, _send
from adapters.reading import Attachments
from adapters.records.record_json import RecordJson
from adapters.records.sections import section_type, split
from adapters.retention import RetentionConfig, sweep_folders
from broker.cli.verify import verify
from broker.client.composing import SectionDraft
from broker.client.publisher import Published
from broker.core.audit.findings import Unprocessed
from broker.core.bundle import PartitionRecords
from broker.core.errors import CertificateInvalid, DirectoryInvalid, ExtraMissing, RightDenied
from broker.core.streams import StreamPartition
from broker.wire.receipts import statement_from
from caseexchange.records.v1 import dna_pb2
from certs import profiles
from tests.support.exchange import running_exchange
from tests.support.gateways import CASES, SAMPLES, lab_profile, police_profile, receiving
from tests.support.programs import looked_twice
from tests.support.records import CODEC
from tests.support.replays import replayed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from adapters.gateway.inbound import Inbound
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

INPUT = Path(__file__).parents[2] / "deploy" / "demo" / "input"


def _found(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


async def until(folder: Path, pattern: str, count: int = 1) -> list[Path]:
    async with asyncio.timeout(60):
        while len(found := _found(folder, pattern)) < count:  # noqa: ASYNC110 - a folder has no event to wait on
            await asyncio.sleep(0.02)
    return found


def sample_section(barcode: str = "SYN-1") -> SectionDraft:
    record = dna_pb2.SampleRequest(barcode=barcode, role=dna_pb2.SAMPLE_ROLE_CHILD)
    return SectionDraft("sample", "caseexchange.records.v1.SampleRequest", split(record)["sample"])


async def test_a_signer_that_only_a_newer_directory_lists_is_waited_for(exchange: Exchange, tmp_path: Path) -> None:
    # Governance signed two directories of one version. So the broker's answer cannot be used here.
    old = tmp_path / "directory.json"
    old.write_bytes(exchange.pki.sign(exchange.pki.directory_with("shanxi-police", [])))
    profile = lab_profile(exchange, tmp_path, directory=str(old))
    await (await exchange.publisher()).publish(exchange.maker().make(sections=[sample_section()]))
    async with receiving(profile) as (edge, inbound):
        log = exchange.broker.log
        # Given back at least once: the audit stream has a second attempt.
        async with asyncio.timeout(60):
            while await log.end_offset(("audit", 0)) < 3:  # type: ignore[arg-type] # equal to a StreamPartition
                await log.wait_beyond({("audit", 0): await log.end_offset(("audit", 0))})  # type: ignore[arg-type, dict-item]
        assert not list(inbound.folders.outbox.iterdir())
        assert not list(inbound.folders.quarantine.iterdir())
        old.write_bytes(exchange.pki.sign(replace(exchange.pki.directory, version=2)))
        edge.reload_trust()
        await until(inbound.folders.outbox, "SampleRequest-*.json")


async def test_a_record_is_judged_by_the_directory_of_its_acceptance_that_the_broker_hands_over(
    exchange: Exchange, tmp_path: Path
) -> None:
    newer = tmp_path / "directory.json"
    without = exchange.pki.directory_with("shanxi-police", [])
    newer.write_bytes(exchange.pki.sign(replace(without, version=2)))
    profile = lab_profile(exchange, tmp_path, directory=str(newer))
    await (await exchange.publisher()).publish(exchange.maker().make(sections=[sample_section()]))
    async with receiving(profile) as (edge, inbound):
        await until(inbound.folders.outbox, "SampleRequest-*.json")
        assert [known.directory.version for known in edge.directories.from_seen(edge.clock.now_ms()).accepted] == [2]
        assert len(edge.spool.directories()) == 2


@contextlib.contextmanager
def _no_disk(edge: Edge, inbound: Inbound, lists: Path) -> Iterator[None]:
    del edge
    away = lists.with_name("away")
    inbound.folders.outbox.rename(away)
    yield
    away.rename(inbound.folders.outbox)


@contextlib.contextmanager
def _stale_revocation_list(edge: Edge, inbound: Inbound, lists: Path, *, pki: SamplePki) -> Iterator[None]:
    del inbound
    authority, long_ago = pki.authority("signing"), pki.now - timedelta(days=300)
    for issued in (long_ago, pki.now):
        listed = authority.revocation_list(issued, timedelta(days=2), number=authority.crl_number + 1)
        lists.write_bytes(listed.public_bytes(Encoding.PEM))
        edge.reload_trust()
        if issued is long_ago:
            yield


@contextlib.contextmanager
def _missing_library(edge: Edge, inbound: Inbound, lists: Path) -> Iterator[None]:
    del edge, lists
    usual, inbound._format = inbound._format, _DefectiveFormat(ExtraMissing("the format needs a library"))
    yield
    inbound._format = usual


@pytest.mark.parametrize("fault", [_no_disk, _stale_revocation_list, _missing_library])
async def test_no_record_is_lost_by_a_fault_of_the_edge_however_long_it_lasts(
    pki: SamplePki, tmp_path: Path, fault: Any
) -> None:
    async with running_exchange(pki, tmp_path / "log", subscriptions={"max_attempts": 2}) as exchange:
        publisher, maker = await exchange.publisher(), exchange.maker()
        for _ in range(3):
            await publisher.publish(maker.make(sections=[sample_section()]))
        lists, audit = tmp_path / "signing.crl", StreamPartition("audit", 0)
        lists.write_bytes(pki.folder.revocation_list("signing").read_bytes())
        more = {"pki": pki} if fault is _stale_revocation_list else {}
        async with receiving(lab_profile(exchange, tmp_path, signing_revocations=str(lists))) as (edge, inbound):
            with fault(edge, inbound, lists, **more):
                async with asyncio.timeout(60):
                    # Each attempt is an entry of the audit stream.
                    while (end := await exchange.broker.log.end_offset(audit)) < 6:
                        await exchange.broker.log.wait_beyond({audit: end})
            await until(inbound.folders.outbox, "SampleRequest-*.about.json", 3)
            assert not list(inbound.folders.quarantine.iterdir())
        assert (await replayed(exchange, tmp_path / "whole.bundle")).report().unprocessed == ()


async def test_a_record_in_quarantine_is_refused_with_the_code_and_its_case_and_the_auditors_go_on(
    exchange: Exchange, tmp_path: Path
) -> None:
    publisher, maker = await exchange.publisher(), exchange.maker()
    poison = await publisher.publish(maker.make(sections=[sample_section("SYN-1")]))
    await publisher.publish(maker.make(sections=[sample_section("SYN-2")]))
    async with receiving(lab_profile(exchange, tmp_path)) as (_, inbound):
        inbound._format = _DefectiveFormat(ZeroDivisionError())
        await until(inbound.folders.outbox, "SampleRequest-*.about.json")
        assert len(list(inbound.folders.quarantine.glob("*.reason.json"))) == 1
    bundle = await replayed(exchange, tmp_path / "whole.bundle")
    report = bundle.report()
    assert report.clean
    at = statement_from(poison.statement).position
    assert report.unprocessed == (Unprocessed("national-dna-database", "gateway", at, "ADAPTER_FAILED"),)
    printed = CliRunner().invoke(verify, [str(bundle.path), "--root", str(bundle.root)])
    said = f"not processed: {at} was refused as ADAPTER_FAILED by national-dna-database (gateway)"
    assert (printed.exit_code, said in printed.stdout) == (0, True)


async def test_contents_that_are_not_what_their_kind_says_are_kept_aside_and_not_delivered_again(
    exchange: Exchange, tmp_path: Path
) -> None:
    record = exchange.maker().make(sections=[SectionDraft("sample", "T", b"\xff not a sample")])
    await (await exchange.publisher()).publish(record)
    async with receiving(lab_profile(exchange, tmp_path)) as (_, inbound):
        (reason,) = await until(inbound.folders.quarantine, "*.reason.json")
        assert json.loads(reason.read_text())["reason"] == "ENVELOPE_MALFORMED"
        assert list(inbound.folders.quarantine.glob("*.envelope"))


BAD_TIME = dna_pb2.SearchParameters(snapshot_at=Timestamp(seconds=10**15))
RESULTS: dict[str, Record] = {
    "NoMatchResult": dna_pb2.NoMatchResult(
        barcode="SYN-1", reason=dna_pb2.NO_MATCH_REASON_NO_CANDIDATE, search=BAD_TIME
    ),
    "MatchNotification": dna_pb2.MatchNotification(
        match_id="SYN-M1",
        stage=dna_pb2.MATCH_STAGE_CANDIDATE,
        reported_hit=dna_pb2.ReportedHit(candidates=1),
        search=BAD_TIME,
    ),
}


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("outbox_format", ["provincial-police-csv", "record-json", "codis-cmf"])
async def test_a_result_with_a_time_that_is_none_is_kept_aside_and_the_next_is_delivered(
    exchange: Exchange, tmp_path: Path, kind: str, outbox_format: str
) -> None:
    lab, police = "national-dna-database", "shanxi-police"
    good = copy.deepcopy(RESULTS[kind])
    good.ClearField("search")  # type: ignore[arg-type] # each of them has it
    publisher, maker = await exchange.publisher(lab), exchange.maker(lab)
    for record in (RESULTS[kind], good):
        sections = [SectionDraft(name, section_type(kind), data) for name, data in split(record).items()]
        await publisher.publish(maker.make(kind, to=(police,), sections=sections))
    profile, _ = police_profile(exchange, tmp_path)
    config = structs.replace(profile.gateway, subscribe=(kind,), outbox_format=outbox_format)
    async with receiving(structs.replace(profile, gateway=config)) as (_, inbound):
        await until(inbound.folders.outbox, f"{kind}-*.about.json")
        (reason,) = inbound.folders.quarantine.glob("*.reason.json")
        facts = json.loads(reason.read_text())
        assert (facts["reason"], facts["message"]) == ("RECORD_INVALID", "TIME_INVALID")


class _DefectiveFormat(RecordJson):
    """A format with a writer that fails on one record. No record is known on which one of ours fails."""

    def __init__(self, defect: Exception) -> None:
        self._defect = defect

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        if any(record.barcode == "SYN-1" for record in records if isinstance(record, dna_pb2.SampleRequest)):
            raise self._defect
        return super().encode(records, limits)


@pytest.mark.parametrize("defect", [ZeroDivisionError("SYN-1"), OSError("SYN-1"), RecursionError(), MemoryError()])
async def test_a_record_on_which_a_format_fails_is_kept_aside_and_the_next_is_delivered(
    exchange: Exchange, tmp_path: Path, defect: Exception
) -> None:
    publisher, maker = await exchange.publisher(), exchange.maker()
    for barcode in ("SYN-1", "SYN-2"):
        await publisher.publish(maker.make(sections=[sample_section(barcode)]))
    async with receiving(lab_profile(exchange, tmp_path)) as (_, inbound):
        inbound._format = _DefectiveFormat(defect)
        (about,) = await until(inbound.folders.outbox, "SampleRequest-*.about.json")
        assert about.exists()
        (reason,) = inbound.folders.quarantine.glob("*.reason.json")
        assert json.loads(reason.read_text())["reason"] == "ADAPTER_FAILED"
        assert "SYN-1" not in reason.read_text()
        assert len(list(inbound.folders.quarantine.glob("*.envelope"))) == 1


async def test_a_record_that_comes_twice_is_written_once(exchange: Exchange, tmp_path: Path) -> None:
    await (await exchange.publisher()).publish(exchange.maker().make(sections=[sample_section()]))
    profile = lab_profile(exchange, tmp_path)
    async with receiving(profile) as (edge, inbound):
        (path,) = await until(inbound.folders.outbox, "SampleRequest-????????-????-????-????-????????????.json")
        path.unlink()
        record_id = path.stem.removeprefix("SampleRequest-")
        async with asyncio.timeout(60):
            while not edge.spool.was_delivered(record_id):  # noqa: ASYNC110 - nor has the spool
                await asyncio.sleep(0.02)
    again = structs.replace(profile, gateway=structs.replace(profile.gateway, subscription="second"))
    async with receiving(again) as (_, inbound):
        await (await exchange.publisher()).publish(exchange.maker().make(sections=[sample_section()]))
        found = await until(inbound.folders.outbox, "SampleRequest-????????-????-????-????-????????????.json")
        assert path not in found


async def test_a_record_that_the_agencys_format_cannot_hold_is_written_as_json(
    exchange: Exchange, tmp_path: Path
) -> None:
    profile = lab_profile(exchange, tmp_path)
    profile = structs.replace(profile, gateway=structs.replace(profile.gateway, subscribe=("StrProfile",)))
    record = dna_pb2.StrProfile(barcode="SYN-" + "9" * 40, role=dna_pb2.SAMPLE_ROLE_CHILD)
    call = record.loci.add(locus="TH01")
    call.alleles.add(value="9.3", operator=dna_pb2.ALLELE_OPERATOR_EQUAL, reported="9.3")
    lab = "national-dna-database"
    section = SectionDraft("profile", "caseexchange.records.v1.StrProfile", split(record)["profile"])
    made = exchange.maker(lab).make("StrProfile", to=(lab,), sections=[section])
    await (await exchange.publisher(lab)).publish(made)
    async with receiving(profile) as (_, inbound):
        (path,) = await until(inbound.folders.outbox, "StrProfile-????????-????-????-????-????????????.json")
        assert record.barcode in path.read_text()
        about = json.loads(path.with_name(f"{path.stem}.about.json").read_text())
        assert about["not_carried"]


async def test_a_record_without_a_route_is_refused_and_the_others_go_out(exchange: Exchange, tmp_path: Path) -> None:
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        taken = outbound.take((INPUT / "rescued-children.csv").read_bytes(), {})
        assert (taken.records, taken.refused) == (2, True)
        assert [issue.code for issue in taken.issues].count("INPUT_REFUSED") == 2
        results = await outbound.publish_spooled()
        assert [type(result) for result in results] == [Published] * 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({**CASES, "recipients": ["minstry"]}, "the directory lists no agency minstry; did you mean ministry?"),
        (
            {**CASES, "purpose": "child-rescues"},
            "the directory lists no purpose child-rescues; did you mean child-rescue?",
        ),
    ],
)
async def test_a_misspelt_recipient_or_purpose_is_named_with_the_right_one_and_takes_no_number(
    exchange: Exchange, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=wrong, SampleRequest=SAMPLES)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        taken = outbound.take((INPUT / "seeking-parents.csv").read_bytes(), {})
        assert said in {issue.message for issue in taken.issues}
        assert taken.records == 1
        assert edge.spool.next_sequence("minstry" if "minstry" in wrong["recipients"] else "ministry") == 1


class _DefectiveNumbers(Numbers):
    """Fails on records of one kind. No record is known on which ours fails."""

    def add_own_reference(self, reference: str, case_id: str, record_id: str, *, is_answer: bool = False) -> None:
        if reference.startswith("SYN-BLD"):
            raise ZeroDivisionError(reference)
        super().add_own_reference(reference, case_id, record_id, is_answer=is_answer)


class _DefectiveSpool(Spool):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.numbers = _DefectiveNumbers(self._connection, self._locked)  # type: ignore[misc]


async def test_a_record_on_which_the_edge_fails_is_refused_alone_and_nothing_of_it_is_sent(
    exchange: Exchange, tmp_path: Path
) -> None:
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES, SampleRequest=SAMPLES)
    async with open_edge(profile) as edge:
        spool = _DefectiveSpool(tmp_path / "defective.db")
        outbound = Outbound(edge._replace(spool=spool), profile.gateway, routes, Limits())
        taken = outbound.take((INPUT / "rescued-children.csv").read_bytes(), {})
        assert [issue.code for issue in taken.issues].count("ADAPTER_FAILED") == 2
        assert (taken.records, len(spool.outgoing(10))) == (2, 2)
        spool.close()


async def test_two_systems_of_an_agency_number_their_records_each_for_itself(
    exchange: Exchange, tmp_path: Path
) -> None:
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES)
    certificate, key = exchange.pki.credential(profiles.TLS_CLIENT, system="case-system").write(tmp_path, "tls")
    program = structs.replace(
        profile,
        agency=structs.replace(profile.agency, certificate=certificate, key=key),
        gateway=structs.replace(profile.gateway, folder=tmp_path / "program"),
    )
    for system, used in (("gateway", profile), ("case-system", program)):
        async with open_edge(used) as edge:
            outbound = Outbound(edge, used.gateway, routes, Limits())
            outbound.take((INPUT / "rescued-children.csv").read_bytes(), {})
            for result in await outbound.publish_spooled():
                assert isinstance(result, Published), (system, result)
    bundle = await replayed(exchange, tmp_path / "two.bundle")
    frames = [frame for frame in bundle.frames() if isinstance(frame, PartitionRecords)]
    bodies = [CODEC.parse_body(entry.envelope.body) for frame in frames for entry in frame.entries]
    numbers = sorted((body.system, body.recipients[0].sequence) for body in bodies if body.kind == "CaseRecord")
    assert numbers == [("case-system", 1), ("case-system", 2), ("gateway", 1), ("gateway", 2)]
    assert bundle.report().findings == ()


async def test_an_edge_with_two_agencies_certificates_does_not_open(exchange: Exchange, tmp_path: Path) -> None:
    profile, _ = police_profile(exchange, tmp_path)
    own = exchange.pki.folder.member("hebei-police")
    mixed = structs.replace(
        profile,
        agency=structs.replace(
            profile.agency, signing_certificate=own / "signing.pem", signing_key=own / "signing.key"
        ),
    )
    with pytest.raises(CertificateInvalid, match="different agencies"):
        async with open_edge(mixed):
            pass


async def test_what_the_broker_refuses_for_good_leaves_the_spool_with_its_reason(
    exchange: Exchange, tmp_path: Path
) -> None:
    wrong = {"recipients": ["national-dna-database"], "purpose": "child-rescue"}
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=wrong, SampleRequest=SAMPLES)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        outbound.take((INPUT / "rescued-children.csv").read_bytes(), {})
        results = await outbound.publish_spooled()
        assert [type(result).__name__ for result in results].count("RightDenied") == 2
        assert edge.spool.outgoing(10) == []
        reasons = [json.loads(path.read_text())["reason"] for path in outbound.folders.quarantine.glob("*.reason.json")]
        assert reasons == ["RIGHT_DENIED"] * 2


async def test_a_file_stays_in_done_while_its_records_wait_and_after_a_refusal_as_long_as_a_new_one(
    exchange: Exchange, tmp_path: Path
) -> None:
    wrong = {"recipients": ["national-dna-database"], "purpose": "child-rescue"}
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=wrong, SampleRequest=SAMPLES)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        (outbound.folders.inbox / "a.csv").write_bytes((INPUT / "rescued-children.csv").read_bytes())
        # A file that did not change between two looks is finished.
        assert [outbound.take_inbox(), outbound.take_inbox()] == [0, 1]
        (kept,) = outbound.folders.done.iterdir()
        came_ns, days = kept.stat().st_ctime_ns, RetentionConfig(done_days=1)

        def swept(ms: int) -> int:
            now_ms = came_ns // 1_000_000 + 86_400_000 + ms
            return sweep_folders(profile.folder, days, now_ms, edge.spool.holds.sources).done

        assert swept(1_000_000) == 0
        await outbound.publish_spooled()
        assert edge.spool.holds.sources() == set()
        assert kept.stat().st_ctime_ns > came_ns
        # For a file that came and was refused now, it is not time yet.
        assert swept(1) == 0
        assert swept(1_000_000) == 1


@pytest.mark.parametrize(
    "wrong",
    [None, {**SAMPLES, "purpose": "not a code"}, {**SAMPLES, "recipients": ["ministry"]}],
    ids=["no route", "refused here", "refused by the broker"],
)
async def test_of_a_file_that_comes_again_after_the_profile_was_mended_what_was_refused_is_taken_in_and_nothing_twice(
    exchange: Exchange, tmp_path: Path, wrong: dict[str, Any] | None
) -> None:
    routes = {"CaseRecord": CASES} | ({} if wrong is None else {"SampleRequest": wrong})
    inbox = tmp_path / "police" / "inbox"
    published: list[Published] = []
    for settings, reasons in ((routes, 1), ({"CaseRecord": CASES, "SampleRequest": SAMPLES}, 0), (routes, 0)):
        profile, known = police_profile(exchange, tmp_path, **settings)
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, known, Limits())
            (inbox / "again.csv").write_bytes((INPUT / "seeking-parents.csv").read_bytes())
            assert looked_twice(outbound) == 1
            published += [item for item in await outbound.publish_spooled() if isinstance(item, Published)]
            assert len(list(outbound.folders.quarantine.glob("*.reason.json"))) == reasons
            if wrong and reasons:
                # A record that the broker refuses has taken a number. A record that the gateway refuses has not.
                assert len(published) == 1
            for path in outbound.folders.quarantine.glob("????????-*.reason.json"):
                path.unlink()
    assert len({item.statement.record_id for item in published}) == len(published) == 2
    log = exchange.broker.log
    kinds = [
        entry.kind
        for stream in ("cases", "dna")
        for number in range(log.partitions(stream))
        for entry in await log.read(StreamPartition(stream, number), 0, 100, 1 << 20)
    ]
    assert sorted(kinds) == ["CaseRecord", "SampleRequest"]


UNFINISHED = (
    ".unfinished.csv",
    "~$a.csv",
    "a.csv~",
    "a.csv.filepart",
    "a.csv.part",
    "a.csv.tmp",
    "a.csv.crdownload",
    "A.CSV.PART",
)


async def test_the_inbox_is_taken_in_file_by_file(exchange: Exchange, tmp_path: Path) -> None:
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES, SampleRequest=SAMPLES)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits(bytes=100_000, streamed_bytes=100_000))
        inbox = outbound.folders.inbox
        (inbox / "good.csv").write_bytes((INPUT / "seeking-parents.csv").read_bytes())
        (inbox / "empty.csv").write_bytes(b"")
        (inbox / "huge.csv").write_bytes(b"AJBH\r\n" + b"x" * 200_000)
        (inbox / "unknown.bin").write_bytes(b"\x00\x01\x02")
        for name in UNFINISHED:
            (inbox / name).write_bytes(b"half")
        (inbox / "link.csv").symlink_to(INPUT / "rescued-children.csv")
        assert looked_twice(outbound) == 4
        assert len(list(outbound.folders.done.iterdir())) == 1
        reasons = [json.loads(path.read_text()) for path in outbound.folders.quarantine.glob("*.reason.json")]
        assert sorted(item["issues"][0]["code"] for item in reasons) == [
            "FILE_TOO_LARGE",
            "FORMAT_UNKNOWN",
            "FORMAT_UNKNOWN",
        ]
        assert {path.name for path in inbox.iterdir()} == {*UNFINISHED, "attachments", "link.csv"}
        for number, name in enumerate(UNFINISHED):
            (inbox / name).rename(inbox / f"{number}.csv")
        assert looked_twice(outbound) == len(UNFINISHED)


async def test_a_file_that_still_grows_waits(exchange: Exchange, tmp_path: Path) -> None:
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES, SampleRequest=SAMPLES)
    content = (INPUT / "rescued-children.csv").read_bytes()
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        with (outbound.folders.inbox / "slow.csv").open("wb", buffering=0) as file:
            for start in range(0, len(content), 200):
                file.write(content[start : start + 200])
                assert outbound.take_inbox() == 0
        assert outbound.take_inbox() == 1
        assert len(edge.spool.outgoing(10)) == 4


async def test_a_file_that_changes_while_it_is_read_is_undone_and_waits(exchange: Exchange, tmp_path: Path) -> None:
    async with telling(exchange, tmp_path) as (spool, outbound):
        path = outbound.folders.inbox / "export.csv"
        whole = (INPUT / "rescued-children.csv").read_bytes()
        path.write_bytes(whole[: whole.rindex(b"\r\n", 0, -2) + 2])
        spool.told = lambda: path.write_bytes(whole)
        assert looked_twice(outbound) == 0
        assert spool.outgoing(10) == []
        assert not list(outbound.folders.quarantine.iterdir())
        spool.told = lambda: None
        assert looked_twice(outbound) == 1
        assert len(spool.outgoing(10)) == 4


class _DefectiveAdapter:
    """An adapter with a defect. No file is known on which one of ours fails."""

    name = "defective"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def sniff(self, content: bytes) -> bool:
        return content.startswith(b"AJBH")

    def decode(self, source: object, limits: object) -> object:
        del source, limits
        raise self._error


class _DefectiveSniffer(_DefectiveAdapter):
    def sniff(self, content: bytes) -> bool:
        if super().sniff(content):
            raise self._error
        return False


@pytest.mark.parametrize(
    "defect",
    [
        _DefectiveAdapter(ZeroDivisionError()),
        _DefectiveAdapter(RightDenied("not an adapter's to say")),
        _DefectiveSniffer(ZeroDivisionError()),
    ],
    ids=["decode", "an error of ours", "sniff"],
)
async def test_a_defect_of_an_adapter_sets_one_file_aside_and_the_next_is_taken_in(
    exchange: Exchange, tmp_path: Path, defect: _DefectiveAdapter
) -> None:
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES, SampleRequest=SAMPLES)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        outbound._formats.insert(0, defect)  # type: ignore[arg-type]
        (outbound.folders.inbox / "a.csv").write_bytes((INPUT / "seeking-parents.csv").read_bytes())
        (outbound.folders.inbox / "b.json").write_bytes((INPUT / "closure.json").read_bytes())
        assert looked_twice(outbound) == 2
        codes = [
            json.loads(path.read_text())["issues"][0]["code"]
            for path in outbound.folders.quarantine.glob("*.reason.json")
        ]
        assert sorted(codes) == ["ADAPTER_FAILED", "INPUT_REFUSED"]
        assert not [path for path in outbound.folders.inbox.iterdir() if path.is_file()]


async def test_a_gateway_outlives_a_disk_that_cannot_be_written_to(exchange: Exchange, tmp_path: Path) -> None:
    wrong = {"recipients": ["national-dna-database"], "purpose": "child-rescue"}
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=wrong)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        quarantine = outbound.folders.quarantine
        outbound.take((INPUT / "rescued-children.csv").read_bytes(), {})
        # With a file in the place of this folder, the reason of the broker's refusal cannot be kept.
        quarantine.rmdir()
        quarantine.touch()
        with capture_logs() as logs:
            task = asyncio.create_task(_again(lambda: _send(outbound, 0.05), 0.1))
            async with asyncio.timeout(60):
                while "ENOTDIR" not in [line.get("cause") for line in logs]:
                    assert not task.done()
                    await asyncio.sleep(0.02)
        assert len(edge.spool.outgoing(10)) == 2
        quarantine.unlink()
        quarantine.mkdir()
        await until(quarantine, "*.reason.json")
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class TellingSpool(Spool):
    """Reports each record that is read."""

    told: Callable[[], object]

    def seen_record(self, sha256: bytes, place: str) -> bool:
        self.told()
        return super().seen_record(sha256, place)


@contextlib.asynccontextmanager
async def telling(exchange: Exchange, folder: Path) -> AsyncIterator[tuple[TellingSpool, Outbound]]:
    profile, routes = police_profile(exchange, folder, CaseRecord=CASES, SampleRequest=SAMPLES)
    async with open_edge(profile) as edge:
        spool = TellingSpool(folder / "telling.db")
        yield spool, Outbound(edge._replace(spool=spool), profile.gateway, routes, Limits())
        spool.close()


async def test_a_newer_file_in_the_place_of_one_that_was_taken_in_stays_to_be_taken_in(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with telling(exchange, tmp_path) as (spool, outbound):
        path, newer = outbound.folders.inbox / "export.csv", outbound.folders.inbox / ".newer"
        path.write_bytes((INPUT / "seeking-parents.csv").read_bytes())
        newer.write_bytes((INPUT / "rescued-children.csv").read_bytes())
        spool.told = lambda: newer.exists() and newer.replace(path)
        assert looked_twice(outbound) == 1
        assert (path.exists(), list(outbound.folders.done.iterdir())) == (True, [])
        assert len(spool.outgoing(10)) == 2
        assert looked_twice(outbound) == 1
        assert len(list(outbound.folders.done.iterdir())) == 1
        assert len(spool.outgoing(10)) == 6


async def test_a_file_that_is_half_in_when_the_gateway_stops_is_undone_and_stays(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with telling(exchange, tmp_path) as (spool, outbound):
        for name in ("seeking-parents.csv", "rescued-children.csv"):
            (outbound.folders.inbox / name).write_bytes((INPUT / name).read_bytes())
        spool.told = outbound.stop
        assert looked_twice(outbound) == 0
        assert spool.outgoing(10) == []
        assert len(list(outbound.folders.inbox.glob("*.csv"))) == 2
        assert not list(outbound.folders.done.iterdir())


def test_attachments_lead_out_of_their_folder_by_no_name(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "attachments"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"picture")
    (folder / "link.png").symlink_to(tmp_path / "secret")
    found = Attachments(folder, 100)
    assert found["a.png"] == b"picture"
    for name in (
        "../secret",
        "/etc/passwd",
        "link.png",
        "none",
        "",
        ".",
        "..",
        "a.png/",
        "a.png\0",
        "x" * 300,
        "字" * 100,
    ):
        assert found.get(name) is None


async def test_an_edge_with_a_directory_of_another_governance_does_not_start(
    exchange: Exchange, tmp_path: Path
) -> None:
    forged = json.loads(exchange.pki.directory.document)
    forged["signatures"][0]["sig"] = "AAAA"
    path = tmp_path / "forged.json"
    path.write_text(json.dumps(forged))
    with pytest.raises(DirectoryInvalid):
        async with open_edge(lab_profile(exchange, tmp_path, directory=str(path))):
            pass
