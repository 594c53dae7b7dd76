"""An edge that seals its own files: nothing plain in its folders, and every program of the agency reads them."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from msgspec import structs
from structlog.testing import capture_logs

from adapters.base import Limits
from adapters.cli.openfile import open_file
from adapters.edge.edge import open_edge
from adapters.folders import About, Folders, delivered_path, write_about
from adapters.gateway.outbound import Outbound
from adapters.national_dna_database.laboratory.commands import dna
from adapters.ownfiles import OwnFiles
from adapters.public_notice.noticeboard.command import noticeboard
from adapters.retention import RetentionConfig, sweep_folders
from adapters.values.pictures import photo_name
from broker.core.errors import AgeIdentityMissing
from broker.trust.agefiles import AgeSeal, make_identity
from certs.development import KEY_FOLDER
from certs.rights import LAB, SHANXI
from tests.integration.test_ending import wait_for
from tests.integration.test_sealed_edges import CANARY, request_file, sample, sealed_maker, until
from tests.support.canaries import encodings, found_in, found_in_files
from tests.support.exchange import Exchange, running_exchange
from tests.support.gateways import SAMPLES, lab_profile, police_profile, receiving
from tests.support.kafkaexchange import run as run_command
from tests.support.notices import file_into, filed, notice
from tests.support.pki import SamplePki
from tests.support.process import COMMAND, BrokerProcess, edge_tables, write_toml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.edge.profile import GatewayProfile

PLANTED = {"content": CANARY.encode()}
RECORD = f"SampleRequest-{'?' * 36}.json"
ROOT = Path(__file__).parents[2]
TABLE = ROOT / "adapters" / "national_dna_database" / "samples" / "frequencies-synthetic.toml"
PROFILES = ROOT / "deploy" / "demo" / "input" / "profiles.cmf.xml"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki", plain=False)


@pytest.fixture
async def exchange(pki: SamplePki, tmp_path: Path) -> AsyncIterator[Exchange]:
    async with running_exchange(pki, tmp_path / "log") as running:
        yield running


def sealing(profile: GatewayProfile, pki: SamplePki, agency: str) -> tuple[GatewayProfile, Path]:
    """The profile, with files sealed to the first identity of a key folder of its own."""
    keys = profile.folder.parent / f"keys-{agency}"
    shutil.copytree(pki.folder.member(agency) / KEY_FOLDER, keys)
    keys.chmod(0o700)
    make_identity(keys, datetime.now(UTC))
    sealed = structs.replace(
        profile,
        agency=structs.replace(profile.agency, encryption_keys=keys),
        gateway=structs.replace(profile.gateway, seal_files=True),
    )
    return sealed, keys


def run(command: Any, *arguments: str | Path) -> Any:
    return CliRunner().invoke(command, [str(each) for each in arguments])


async def test_what_is_delivered_lies_sealed_in_the_outbox_and_a_command_opens_it(
    exchange: Exchange, tmp_path: Path
) -> None:
    profile, keys = sealing(lab_profile(exchange, tmp_path), exchange.pki, LAB)
    await (await exchange.publisher()).publish(sealed_maker(exchange).make(sections=[sample()]))
    async with receiving(profile) as (_, inbound):
        path = await until(inbound.folders.outbox, f"{RECORD}.age")
    assert found_in_files(profile.folder, PLANTED) == set()
    assert not list((profile.folder / "outbox").glob(RECORD))
    opened = run(open_file, path, "--identities", keys)
    assert (opened.exit_code, CANARY.encode() in opened.stdout_bytes) == (0, True)
    out = tmp_path / "plain.json"
    assert run(open_file, path, "--identities", keys, "--out", out).exit_code == 0
    assert (out.read_bytes(), out.stat().st_mode & 0o777) == (opened.stdout_bytes, 0o600)
    # What lies beside it is plain, so that programs find it.
    about = json.loads(next((profile.folder / "outbox").glob("*.about.json")).read_text())
    assert (about["kind"], about["publisher"]) == ("SampleRequest", SHANXI)


async def test_what_is_laid_in_plain_or_sealed_is_taken_in_and_kept_sealed(exchange: Exchange, tmp_path: Path) -> None:
    profile, routes = police_profile(exchange, tmp_path, SampleRequest=SAMPLES)
    profile, keys = sealing(profile, exchange.pki, SHANXI)
    seal = AgeSeal(keys)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        inbox = outbound.folders.inbox
        (inbox / "plain.json").write_bytes(request_file("SYN-1"))
        (inbox / "sealed.json.age").write_bytes(seal.seal(request_file("SYN-2")))
        (inbox / "refused.json").write_bytes(request_file().replace(b"SAMPLE_ROLE_CHILD", b"SAMPLE_ROLE_OTHER"))
        assert [outbound.take_inbox(), outbound.take_inbox()] == [0, 3]
        assert len(edge.spool.outgoing(10)) == 2
        edge.spool.staging.forget()
        assert found_in_files(profile.folder, PLANTED) == set()
        done = sorted(path.name for path in outbound.folders.done.iterdir())
        assert [name.partition(".")[2] for name in done] == ["json.age", "json.age"]
        (kept,) = outbound.folders.quarantine.glob("*.json.age")
        assert outbound.folders.quarantine.joinpath(kept.name.removesuffix(".age") + ".reason.json").exists()
        assert CANARY.encode() in seal.open(kept.read_bytes())
        # The same content again is known, however it is laid.
        (inbox / "again.json").write_bytes(request_file("SYN-2"))
        (inbox / "again.json.age").write_bytes(seal.seal(request_file("SYN-1")))
        assert [outbound.take_inbox(), outbound.take_inbox()] == [0, 2]
        assert sorted(path.name for path in outbound.folders.done.iterdir()) == done
        assert len(edge.spool.outgoing(10)) == 2


async def test_sealed_files_with_a_fault_go_to_quarantine_and_stop_no_other(exchange: Exchange, tmp_path: Path) -> None:
    profile, routes = police_profile(exchange, tmp_path, SampleRequest=SAMPLES)
    # This gateway seals nothing, and opens what is sealed all the same.
    sealed, keys = sealing(profile, exchange.pki, SHANXI)
    profile = structs.replace(sealed, gateway=structs.replace(sealed.gateway, seal_files=False))
    other = make_identity(tmp_path / "other", datetime.now(UTC))
    good = AgeSeal(keys).seal(request_file())
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        laid = {
            "cut.json.age": good[:-1],
            "foreign.json.age": AgeSeal(tmp_path / "other").seal(request_file("SYN-9")),
            "none.json.age": b"PK\x03\x04",
            "good.json.age": good,
        }
        for name, content in laid.items():
            (outbound.folders.inbox / name).write_bytes(content)
        with capture_logs() as logs:
            assert [outbound.take_inbox(), outbound.take_inbox()] == [0, 3]
        assert len(edge.spool.outgoing(10)) == 1
        # What another identity opens waits for it.
        assert [path.name for path in outbound.folders.inbox.glob("*.age")] == ["foreign.json.age"]
        (told,) = [line for line in logs if line["event"] == "a file of the inbox cannot be moved or read"]
        assert (told["log_level"], told["cause"]) == ("error", "AgeIdentityWrong")
        assert "foreign" not in str(told)
        assert "into the key folder again" in told["remedy"]
        quarantine = outbound.folders.quarantine
        reasons = [json.loads(path.read_text())["issues"][0]["code"] for path in quarantine.glob("*.reason.json")]
        assert sorted(reasons) == ["AGE_FILE_INVALID", "AGE_FILE_INVALID"]
        assert len(list(quarantine.glob("*.age"))) == 2
        # Their names, which may be of persons, are gone.
        assert found_in_files(quarantine, {"name": b"none"}) == set()
        shutil.copy(other.path, keys)
        assert outbound.take_inbox() == 1
        assert len(edge.spool.outgoing(10)) == 2
        # Without any identity a file waits, and the log says what to do.
        for path in keys.glob("*.identity"):
            path.unlink()
        (outbound.folders.inbox / "later.json.age").write_bytes(good)
        with capture_logs() as logs:
            assert [outbound.take_inbox(), outbound.take_inbox()] == [0, 0]
        assert [line["cause"] for line in logs] == ["AgeIdentityMissing"]
        assert "keys identity make" in logs[0]["remedy"]


async def test_without_an_identity_a_sealing_gateway_does_not_start_and_a_delivery_waits_for_one(
    exchange: Exchange, tmp_path: Path
) -> None:
    profile, keys = sealing(lab_profile(exchange, tmp_path), exchange.pki, LAB)
    (identity,) = keys.glob("*.identity")
    away = tmp_path / "away.identity"
    identity.rename(away)
    with pytest.raises(AgeIdentityMissing):
        async with open_edge(profile):
            pass
    away.rename(identity)
    with capture_logs() as logs:
        async with receiving(profile) as (_, inbound):
            identity.rename(away)
            await (await exchange.publisher()).publish(sealed_maker(exchange).make(sections=[sample()]))
            await exchange_has_waited(logs)
            assert not list(inbound.folders.outbox.glob(RECORD + "*"))
            away.rename(identity)
            await until(inbound.folders.outbox, f"{RECORD}.age")
            assert not list(inbound.folders.quarantine.iterdir())


async def exchange_has_waited(logs: list[Any]) -> None:
    async with asyncio.timeout(60):
        while not any(line.get("cause") == "AgeIdentityMissing" for line in logs):  # noqa: ASYNC110 - logs have no event
            await asyncio.sleep(0.02)


def test_the_laboratory_reads_sealed_profiles_and_seals_what_it_writes(tmp_path: Path) -> None:
    keys, folder, results = tmp_path / "keys", tmp_path / "typed", tmp_path / "inbox"
    make_identity(keys, datetime.now(UTC))
    make_identity(tmp_path / "other", datetime.now(UTC))
    folder.mkdir()
    seal, content = AgeSeal(keys), PROFILES.read_bytes()
    record = "StrProfile-00000000-0000-7000-8000-000000000001.xml.age"
    (folder / record).write_bytes(seal.seal(content))
    (folder / "cut.xml.age").write_bytes(seal.seal(content)[:-1])
    (folder / "foreign.xml.age").write_bytes(AgeSeal(tmp_path / "other").seal(content))
    (folder / "plain.xml").write_bytes(content)
    (folder / "plain.xml").chmod(0o644)
    arguments: list[str | Path] = [
        "--database",
        tmp_path / "lab.db",
        "--frequencies",
        TABLE,
        "--results",
        results,
        "--once",
        folder,
    ]
    # Without an identity it says so, and takes nothing.
    without = run(dna, "watch", *arguments)
    assert isinstance(without.exception, AgeIdentityMissing)
    done = run(dna, "watch", "--identities", keys, *arguments)
    assert done.exit_code == 0, done.output
    barcode = {"barcode": b"SYN-BLD-0001"}
    assert found_in_files(folder, barcode) == found_in_files(results, barcode) == set()
    assert all(path.name.endswith(".age") for path in (folder / "done").iterdir())
    (result,) = results.iterdir()
    assert b"SYN-BLD-0001" in seal.open(result.read_bytes())
    reasons = {path.name.partition("-")[0]: json.loads(path.read_text()) for path in folder.rglob("*.reason.json")}
    assert {name: reason[0]["code"] for name, reason in reasons.items()} == {
        "cut": "AGE_FILE_INVALID",
        "foreign": "AGE_IDENTITY_WRONG",
    }
    rights = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder}
    assert rights == {0o600}


def test_a_laboratory_adds_sealed_profiles_by_hand(tmp_path: Path) -> None:
    keys, sealed = tmp_path / "keys", tmp_path / "profiles.xml.age"
    make_identity(keys, datetime.now(UTC))
    sealed.write_bytes(AgeSeal(keys).seal(PROFILES.read_bytes()))
    arguments: list[str | Path] = ["--database", tmp_path / "lab.db", "--frequencies", TABLE, "--no-search", sealed]
    assert isinstance(run(dna, "add", *arguments).exception, AgeIdentityMissing)
    added = run(dna, "add", "--identities", keys, *arguments)
    assert (added.exit_code, "0 refused" in added.output) == (0, True)


async def test_a_sealed_file_is_published_by_hand(exchange: Exchange, tmp_path: Path) -> None:
    profile, keys = sealing(police_profile(exchange, tmp_path)[0], exchange.pki, SHANXI)
    tables = edge_tables(exchange.pki, SHANXI, exchange.target)
    tables["agency"]["encryption_keys"] = str(keys)
    tables["gateway"] = {"folder": str(profile.folder), "formats": ["record-json"], "outbox_format": "record-json"}
    tables["routes"] = {"SampleRequest": SAMPLES}
    path = write_toml(tmp_path / "by-hand.toml", tables)
    good, cut = tmp_path / "good.json.age", tmp_path / "cut.json.age"
    good.write_bytes(AgeSeal(keys).seal(request_file()))
    cut.write_bytes(good.read_bytes()[:-1])
    published = await run_command("publish", good, "--profile", path)
    assert (published.code, "accepted at" in published.output) == (0, True), published
    refused = await run_command("publish", cut, "--profile", path)
    assert (refused.code, "AGE_FILE_INVALID" in refused.errors) == (1, True), refused


def test_the_notice_board_reads_sealed_notices_and_keeps_the_old_site_without_an_identity(tmp_path: Path) -> None:
    keys, outbox, site = tmp_path / "keys", tmp_path / "outbox", tmp_path / "site"
    make_identity(keys, datetime.now(UTC))
    outbox.mkdir()
    file_into(outbox, filed(notice(), 1))
    for path in outbox.glob("*.json"):
        if not path.name.endswith(".about.json"):
            path.with_name(path.name + ".age").write_bytes(AgeSeal(keys).seal(path.read_bytes()))
            path.unlink()
    made = run(noticeboard, "--from", outbox, "--to", site, "--identities", keys)
    assert made.exit_code == 0, made.output
    assert "notices shown: 1" in made.output
    before = site.resolve()
    assert isinstance(run(noticeboard, "--from", outbox, "--to", site).exception, AgeIdentityMissing)
    assert site.resolve() == before
    # One that another identity sealed is named, and not shown.
    make_identity(tmp_path / "other", datetime.now(UTC))
    other = run(noticeboard, "--from", outbox, "--to", site, "--identities", tmp_path / "other")
    assert (other.exit_code, "AGE_IDENTITY_WRONG" in other.output) == (1, True)


def test_a_sealed_outbox_is_swept_by_cases_and_one_that_cannot_be_opened_stays(tmp_path: Path) -> None:
    make_identity(tmp_path / "keys", datetime.now(UTC))
    own, root = OwnFiles(tmp_path / "keys", seals=True), tmp_path / "edge"
    outbox = Folders(root).outbox
    ids = [f"00000000-0000-7000-8000-{number:012}" for number in (1, 2)]
    picture = photo_name(b"synthetic", "image/png")
    for number, kind in enumerate(("PublicNotice", "Closure")):
        about = About(record_id=ids[number], kind=kind, case_id=f"case-{number}", publisher="x", attachments=(picture,))
        write_about(outbox, about)
        own.write(delivered_path(outbox, kind, ids[number], ".json"), json.dumps({"of": ids[0]}).encode())
    own.write(outbox / picture, b"synthetic")
    days = RetentionConfig(outbox_days=30)
    much_later = max(path.stat().st_ctime_ns for path in outbox.iterdir()) // 1_000_000 + 31 * 86_400_000
    with pytest.raises(AgeIdentityMissing):
        sweep_folders(root, days, much_later)
    assert len(list(outbox.iterdir())) == 5
    # The Closure is of another case, and names the notice: they go together, with their picture.
    assert sweep_folders(root, days, much_later, own=own).outbox == 5
    assert list(outbox.iterdir()) == []


def test_after_an_identity_was_destroyed_the_outbox_is_swept_on_and_what_nobody_opens_goes_by_its_case(
    tmp_path: Path,
) -> None:
    lost = make_identity(tmp_path / "keys", datetime(2026, 1, 31, tzinfo=UTC))
    own, root = OwnFiles(tmp_path / "keys", seals=True), tmp_path / "edge"
    outbox = Folders(root).outbox
    ids = [f"00000000-0000-7000-8000-{number:012}" for number in (1, 2, 3)]

    def lay(number: int, kind: str, case: str) -> Path:
        about = About(record_id=ids[number], kind=kind, case_id=case, publisher="x", attachments=())
        write_about(outbox, about)
        path = delivered_path(outbox, kind, ids[number], ".json")
        own.write(path, b"{}")
        return path.with_name(f"{path.name}.age")

    lay(0, "PublicNotice", "case-0")
    lost.path.unlink()
    make_identity(tmp_path / "keys", datetime(2026, 2, 28, tzinfo=UTC))
    cut = lay(1, "Closure", "case-1")
    cut.write_bytes(cut.read_bytes()[:-1])
    lay(2, "PublicNotice", "case-2")
    much_later = max(path.stat().st_ctime_ns for path in outbox.iterdir()) // 1_000_000 + 31 * 86_400_000
    with capture_logs() as logs:
        assert sweep_folders(root, RetentionConfig(outbox_days=30), much_later, own=own).outbox == 6
    assert list(outbox.iterdir()) == []
    (told,) = logs
    assert (told["log_level"], told["count"]) == ("warning", 2)


@pytest.mark.parametrize("seal_files", [False, True])
def test_no_name_of_a_file_no_log_and_no_reason_has_a_value_of_a_record(
    pki: SamplePki, tmp_path: Path, *, seal_files: bool
) -> None:
    """Two gateways and a broker, each a process. Names in the inbox are of persons; one file is refused."""
    name, number = f"王小明样本{secrets.token_hex(4)}", "".join(secrets.choice("0123456789") for _ in range(18))
    planted = encodings("name", name) | encodings("number", number)
    broker_folder = tmp_path / "broker"
    broker_folder.mkdir()
    process = BrokerProcess(pki, broker_folder)
    process.start()
    folders, gateways = {}, []
    try:
        for agency, kinds in ((SHANXI, []), (LAB, ["SampleRequest"])):
            keys = tmp_path / f"keys-{agency}"
            shutil.copytree(pki.folder.member(agency) / KEY_FOLDER, keys)
            keys.chmod(0o700)
            make_identity(keys, datetime.now(UTC))
            tables = edge_tables(pki, agency, process.target)
            tables["agency"]["encryption_keys"] = str(keys)
            folders[agency] = tmp_path / agency
            tables["gateway"] = {
                "folder": str(folders[agency]),
                "formats": ["record-json"],
                "outbox_format": "record-json",
                "subscribe": kinds,
                "poll_seconds": 0.1,
                "seal_files": seal_files,
            }
            tables["logging"] = {"level": "debug"}
            tables["routes"] = {"SampleRequest": SAMPLES}
            profile = write_toml(tmp_path / f"{agency}.toml", tables)
            with (tmp_path / f"{agency}.log").open("w") as log:
                command: list[str | Path] = [COMMAND, "gateway", "--profile", profile]
                gateways.append(subprocess.Popen(command, stdout=log, stderr=log, text=True))
        content = (
            json.dumps(json.loads(request_file()), ensure_ascii=False).replace(CANARY, f"{name} {number}").encode()
        )
        wait_for(gateways[0], (folders[SHANXI] / "inbox" / "attachments").is_dir)
        laid = {
            f"{name}.json": content,
            f"{number}-{name}.json": content.replace(b"SAMPLE_ROLE_CHILD", b"SAMPLE_ROLE_OTHER"),
            f"{number}.{name}": b"no format " + content,
        }
        for file, data in laid.items():
            (tmp_path / "next").write_bytes(data)
            (tmp_path / "next").rename(folders[SHANXI] / "inbox" / file)
        quarantine, outbox = folders[SHANXI] / "quarantine", folders[LAB] / "outbox"
        wait_for(gateways[0], lambda: len(list(quarantine.glob("*.reason.json"))) == 2)
        wait_for(gateways[1], lambda: bool(list(outbox.glob(RECORD + "*"))))
    finally:
        for gateway in gateways:
            gateway.terminate()
            gateway.wait(60)
        process.stop()
    names = "\n".join(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")).encode()
    assert found_in(names, planted) == set()
    for told in (*tmp_path.glob("*.log"), *tmp_path.rglob("*.about.json"), *tmp_path.rglob("*.reason.json")):
        assert found_in(told.read_bytes(), planted) == set(), told.name
    assert (tmp_path / f"{SHANXI}.log").stat().st_size > 0
    assert found_in_files(broker_folder, planted) == set()
    # The same search finds it where it is plain by intent, and not where it is sealed.
    plain = {
        path.parent.name for path in tmp_path.rglob("*") if path.is_file() and found_in(path.read_bytes(), planted)
    }
    assert plain == (set() if seal_files else {"done", "quarantine", "outbox"})
