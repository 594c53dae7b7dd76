"""Who joins or loses a key reads what was published before: the publisher readdresses it, over gRPC with mutual TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.edge.readdressing import own_record
from broker.client.directories import directories_in_force
from broker.core.body import RecordReference
from broker.core.encryptionkeys import MLKEM768_X25519
from broker.core.policy import PublishRight, ReceiveRight, keys_in_force
from broker.core.streams import StreamPartition
from broker.trust.carriedkeys import with_statements
from broker.trust.hpke import PrivateEncryptionKey
from broker.trust.keyfolder import add_key, entry_of
from broker.trust.keystatements import state_key, state_retirement
from certs.development import KEY_FOLDER
from certs.rights import HEBEI, LAB, NGO, SHANXI, TRUST_DOMAIN
from tests.support.exchange import running_exchange
from tests.support.gateways import receiving
from tests.support.pki import SamplePki
from tests.support.process import edge_tables, write_toml
from tests.support.records import CODEC
from tests.support.replays import replayed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.edge.profile import GatewayProfile
    from broker.core.envelope import Envelope
    from broker.core.policy import Directory
    from tests.support.exchange import Exchange

COMMAND = Path(sys.executable).with_name("case-exchange")
DAY_MS = 86_400_000
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EVERY = frozenset({"*"})


class World:
    """An exchange, the directory that governance publishes to it, and the agencies' gateways."""

    def __init__(self, exchange: Exchange, folder: Path, directory: Path) -> None:
        self.exchange, self.folder, self._directory = exchange, folder, directory
        self.newest = exchange.pki.directory

    async def sign(self, directory: Directory) -> None:
        """Put the next version into force."""
        self.newest = replace(directory, version=self.newest.version + 1)
        document = self.exchange.pki.sign(self.newest)
        fresh = self._directory.with_suffix(".new")
        fresh.write_bytes(document)
        fresh.replace(self._directory)
        channel = await self.exchange.channel(LAB)
        async with asyncio.timeout(60):
            while await directories_in_force(channel) != [document]:  # noqa: ASYNC110 - the broker looks at its files
                await asyncio.sleep(0.05)

    def keys(self, agency: str) -> Path:
        """The agency's own key folder: a copy, so that no other test sees what becomes of it."""
        own = self.folder / f"{agency}-keys"
        if not own.exists():
            shutil.copytree(self.exchange.pki.folder.member(agency) / KEY_FOLDER, own)
            own.chmod(0o700)
        return own

    def profile(self, agency: str, *kinds: str, **routes: dict[str, Any]) -> Path:
        tables = edge_tables(self.exchange.pki, agency, self.exchange.target)
        tables["agency"]["encryption_keys"] = str(self.keys(agency))
        tables["trust"]["directory"] = str(self._directory)
        tables["gateway"] = {
            "folder": str(self.folder / agency),
            "formats": ["record-json"],
            "outbox_format": "record-json",
            "subscribe": list(kinds) or ["ReaddressRequest"],
            "retry_seconds": 0.1,
        }
        tables["routes"] = routes
        return write_toml(self.folder / f"{agency}.toml", tables)

    async def run(self, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
        """Run a command as a program. Return the JSON that it prints."""
        command: list[str | Path] = [COMMAND, *arguments, "--json"]
        done = await asyncio.to_thread(
            lambda: subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return dict(json.loads(done.stdout))

    async def publish(self, profile: Path, kind: str, record: dict[str, Any], case: str) -> str:
        """Publish one record. Return its id."""
        file = self.folder / "record.json"
        file.write_text(json.dumps({"records": [{"kind": kind, "caseReference": case, "record": record}]}))
        said = await self.run("publish", "--profile", profile, file)
        return str(said["records"][0]["record_id"])

    async def original(self, record_id: str) -> tuple[str, Envelope]:
        """A record as the log has it, and its place."""
        bundle = await replayed(self.exchange, self.folder / f"{record_id}-{self.newest.version}.bundle")
        for frame in bundle.frames():
            for entry in getattr(frame, "entries", ()):
                if CODEC.parse_body(entry.envelope.body).record_id == record_id:
                    return str(entry.position), entry.envelope
        raise AssertionError(record_id)

    async def verified(self, name: str) -> None:
        report = (await replayed(self.exchange, self.folder / f"{name}.bundle")).report()
        assert report.findings == ()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki", plain=False)


@pytest.fixture
async def world(pki: SamplePki, tmp_path: Path) -> AsyncIterator[World]:
    directory = tmp_path / "directory.json"
    directory.write_bytes(pki.directory.document)
    async with running_exchange(pki, tmp_path / "log", trust={"directory": str(directory)}) as exchange:
        yield World(exchange, tmp_path, directory)


def load_toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


async def until(folder: Path, pattern: str, count: int = 1) -> list[Path]:
    async with asyncio.timeout(60):
        while len(found := sorted(folder.glob(pattern))) < count:  # noqa: ASYNC110, ASYNC240 - a folder has no event
            await asyncio.sleep(0.02)
    return found


@contextlib.asynccontextmanager
async def gateway(profile: Path) -> AsyncIterator[Path]:
    """Within the block, the gateway receives. Yields its folder."""
    loaded: GatewayProfile = load_profile(profile)[0]
    async with receiving(loaded):
        yield loaded.gateway.folder


def granted(directory: Directory) -> Directory:
    """The laboratory may have Shanxi's cases and corrections from now on, but not who the child is."""
    police, lab = directory.agencies[SHANXI], directory.agencies[LAB]
    for kind in ("CaseRecord", "Correction"):
        publish = police.publish[kind]
        right = PublishRight(publish.recipients | {LAB}, publish.sections, publish.plain)
        police = replace(police, publish={**police.publish, kind: right})
    sections = frozenset({"case", "description", "photos", "provenance"})
    rights = {
        "CaseRecord": ReceiveRight(frozenset({SHANXI}), sections),
        "Correction": ReceiveRight(frozenset({SHANXI}), EVERY),
    }
    lab = replace(lab, receive={**lab.receive, **rights})
    return replace(directory, agencies={**directory.agencies, SHANXI: police, LAB: lab})


CASE = {
    "kind": "CASE_KIND_RESCUED_CHILD",
    "localId": "SYN-CASE-1",
    "narrative": "CANARY of the identity (synthetic)",
    "photos": [
        {
            "content": base64.b64encode(PICTURE).decode(),
            "mediaType": "image/png",
            "sha256": base64.b64encode(hashlib.sha256(PICTURE).digest()).decode(),
        }
    ],
}
CASES = {"recipients": [HEBEI, NGO], "purpose": "child-rescue"}
SAMPLES = {"recipients": [LAB], "purpose": "dna-matching"}


async def test_an_agency_that_gets_a_right_later_reads_what_was_published_before(world: World) -> None:
    police = world.profile(SHANXI, CaseRecord=CASES)
    record_id = await world.publish(police, "CaseRecord", CASE, "SYN-CASE-1")
    place, before = await world.original(record_id)
    # Without the right, nothing goes out, and no number is used up.
    options = ("readdress", "send", "--profile", police, record_id, "--to", LAB)
    refused = await world.run(*options, code=1)
    assert [row["reason"] for row in refused["records"]] == ["RIGHT_DENIED"]
    await world.sign(granted(world.newest))
    dry = await world.run(*options, "--dry-run")
    assert [(row["record_id"], row["result"]) for row in dry["records"]] == [(record_id, "would be sent")]
    sent = await world.run(*options)
    (row,) = sent["records"]
    assert row["result"] == "accepted"
    async with gateway(world.profile(LAB, "CaseRecord")) as folder:
        (file,) = await until(folder / "outbox", f"CaseRecord-{record_id}.json")
    content = json.loads(file.read_text())["records"][0]["record"]
    assert base64.b64decode(content["photos"][0]["content"]) == PICTURE
    assert "narrative" not in content
    about = json.loads((folder / "outbox" / f"CaseRecord-{record_id}.about.json").read_text())
    assert (about["record_id"], about["supplement"]) == (record_id, row["supplement"])
    assert about["withheld_sections"] == ["identity"]
    # The original is as it was: signed bytes, signature, place.
    place_now, after = await world.original(record_id)
    assert (place_now, after.body, after.signatures) == (place, before.body, before.signatures)
    _, supplement = await world.original(row["supplement"])
    body = CODEC.parse_body(supplement.body)
    assert body.supplements == RecordReference(record_id, before.record_sha256)
    assert body.sections == CODEC.parse_body(before.body).sections
    assert [(item.agency, item.sequence) for item in body.recipients] == [(LAB, 1)]
    await world.verified("joined")


async def test_an_agency_that_lost_its_key_asks_and_reads_all_but_what_nobody_can_open(world: World) -> None:
    shanxi, hebei = (world.profile(agency, SampleRequest=SAMPLES) for agency in (SHANXI, HEBEI))
    sample = {"role": "SAMPLE_ROLE_CHILD"}
    gone = await world.publish(shanxi, "SampleRequest", {"barcode": "SYN-1", **sample}, "SYN-1")
    await world.sign(rotated(world, SHANXI, "archive"))
    second = await world.publish(shanxi, "SampleRequest", {"barcode": "SYN-2", **sample}, "SYN-2")
    third = await world.publish(hebei, "SampleRequest", {"barcode": "SYN-3", **sample}, "SYN-3")
    # Shanxi has destroyed its first archive key, and the laboratory its only key before it has read anything.
    (archive,) = [key for key in world.exchange.pki.directory.agencies[SHANXI].encryption_keys if key.use == "archive"]
    entry_of(world.keys(SHANXI), archive).private_file.unlink()
    (lost,) = keys_in_force(world.newest.agencies[LAB], world.exchange.clock.now_ms())
    await world.sign(rotated(world, LAB, "records"))
    entry_of(world.keys(LAB), lost).private_file.unlink()
    lab = world.profile(LAB, "SampleRequest")
    async with gateway(lab) as folder:
        reasons = await until(folder / "quarantine", "*.reason.json", 3)
    assert {json.loads(path.read_text())["reason"] for path in reasons} == {"SEAL_KEY_MISSING"}
    asked = await world.run("readdress", "ask", lost.key_id.hex()[:16], "--profile", lab)
    assert [(row["publisher"], row["records"], row["result"]) for row in asked["requests"]] == [
        (HEBEI, 1, "accepted"),
        (SHANXI, 2, "accepted"),
    ]
    rows: dict[str, dict[str, Any]] = {}
    for profile, code in ((shanxi, 1), (hebei, 0)):
        async with gateway(profile) as own:
            (request,) = await until(own / "outbox", f"ReaddressRequest-{'?' * 36}.json")
        said = await world.run("readdress", "send", "--profile", profile, "--request", request, code=code)
        rows.update((row["record_id"], row) for row in said["records"])
    assert {record_id: row["result"] for record_id, row in rows.items()} == {
        gone: "cannot be sent",
        second: "accepted",
        third: "accepted",
    }
    assert rows[gone]["reason"] == "SEAL_KEY_MISSING"
    async with gateway(lab) as folder:
        await until(folder / "outbox", f"SampleRequest-{'?' * 36}.json", 2)
    assert {path.name for path in (folder / "outbox").glob(f"*-{'?' * 36}.json")} == {
        f"SampleRequest-{second}.json",
        f"SampleRequest-{third}.json",
    }
    # What is read now is not asked for again.
    again = await world.run("readdress", "ask", lost.key_id.hex()[:16], "--profile", lab)
    assert [(row["publisher"], row["records"]) for row in again["requests"]] == [(SHANXI, 1)]
    await world.verified("lost")
    assert await world.exchange.broker.log.end_offset(StreamPartition("audit", 0)) > 0


async def test_what_was_read_before_comes_once_and_with_more_sections_it_takes_its_former_place(world: World) -> None:
    police, hebei, ngo = (world.profile(agency, "CaseRecord", CaseRecord=CASES) for agency in (SHANXI, HEBEI, NGO))
    record_id = await world.publish(police, "CaseRecord", CASE, "SYN-CASE-1")
    name = f"CaseRecord-{record_id}.json"
    files = {}
    for agency, profile in ((HEBEI, hebei), (NGO, ngo)):
        async with gateway(profile) as folder:
            await until(folder / "outbox", name)
            files[agency] = folder / "outbox" / name
    before = {agency: path.read_bytes() for agency, path in files.items()}
    assert b"CANARY" in before[HEBEI]
    assert b"CANARY" not in before[NGO]
    # The organisation may know now who the child is. Its old copy never opens: the key was not wrapped for it.
    await world.sign(with_identity(world.newest, NGO))
    said = await world.run("readdress", "send", "--profile", police, record_id, "--to", HEBEI, "--to", NGO)
    (row,) = said["records"]
    # A record of the same case, behind it, shows that each gateway has gone past the supplement.
    last = await world.publish(police, "CaseRecord", {**CASE, "localId": "SYN-CASE-2"}, "SYN-CASE-1")
    for profile in (hebei, ngo):
        async with gateway(profile) as folder:
            await until(folder / "outbox", f"CaseRecord-{last}.json")
        assert len(list((folder / "outbox").glob(f"CaseRecord-{'?' * 36}.json"))) == 2
        assert not list((folder / "quarantine").iterdir())
    assert files[HEBEI].read_bytes() == before[HEBEI]
    assert b"CANARY" in files[NGO].read_bytes()
    about = {agency: json.loads(path.with_suffix(".about.json").read_text()) for agency, path in files.items()}
    assert (about[HEBEI]["supplement"], about[NGO]["supplement"]) == ("", row["supplement"])
    assert about[NGO]["withheld_sections"] == []
    await world.verified("twice")


async def test_a_record_that_was_withdrawn_is_not_sent_and_its_supplement_is_not_news(world: World) -> None:
    await world.sign(granted(world.newest))
    routes = {
        "CaseRecord": CASES,
        "Correction": {"recipients": [HEBEI, LAB], "purpose": "correction", "stream": "cases"},
    }
    police = world.profile(SHANXI, **routes)
    record_id = await world.publish(police, "CaseRecord", CASE, "SYN-CASE-1")
    envelope = world.folder / "kept.envelope"
    async with open_edge(load_profile(police)[0]) as edge:
        envelope.write_bytes(CODEC.encode_envelope(await own_record(edge, record_id)))
    withdrawal = {"kind": "CORRECTION_KIND_WITHDRAW", "targetRecordId": record_id, "reason": "synthetic"}
    await world.publish(police, "Correction", withdrawal, "SYN-CASE-1")
    said = await world.run("readdress", "send", "--profile", police, record_id, "--to", LAB, code=1)
    assert [row["reason"] for row in said["records"]] == ["SUPERSEDED"]
    # A spool that does not know of the withdrawal: who reads both is not misled.
    forgetful = load_toml(police) | {"gateway": load_toml(police)["gateway"] | {"folder": str(world.folder / "other")}}
    other = write_toml(world.folder / "other.toml", forgetful)
    said = await world.run("readdress", "send", "--profile", other, "--envelope", envelope, "--to", LAB)
    assert [row["result"] for row in said["records"]] == ["accepted"]
    again = {"kind": "CORRECTION_KIND_WITHDRAW", "targetRecordId": record_id, "reason": "synthetic, again"}
    last = await world.publish(police, "Correction", again, "SYN-CASE-1")
    async with gateway(world.profile(LAB, "CaseRecord", "Correction")) as folder:
        await until(folder / "outbox", f"Correction-{last}.json")
    # Both withdrawals, of a record that was not known here; and nothing that looks like news.
    assert not list((folder / "outbox").glob("CaseRecord-*"))
    assert not list((folder / "quarantine").iterdir())


async def test_who_asks_gets_only_what_was_addressed_to_it_and_nobody_asks_for_nothing(world: World) -> None:
    police = world.profile(SHANXI, CaseRecord=CASES)
    record_id = await world.publish(police, "CaseRecord", CASE, "SYN-CASE-1")
    await world.sign(granted(world.newest))
    outbox = world.folder / SHANXI / "outbox"
    outbox.mkdir(exist_ok=True)
    request_id = "01990000-0000-7000-8000-00000000abcd"
    # As the gateway writes a request of the laboratory, to which the record was not addressed.
    about = {"record_id": request_id, "kind": "ReaddressRequest", "case_id": "", "publisher": LAB}
    (outbox / f"ReaddressRequest-{request_id}.about.json").write_text(json.dumps(about))
    request = outbox / f"ReaddressRequest-{request_id}.json"
    wanted = {"kind": "ReaddressRequest", "record": {"recordIds": [record_id, request_id]}}
    request.write_text(json.dumps({"records": [wanted]}))
    said = await world.run("readdress", "send", "--profile", police, "--request", request, code=1)
    assert [(row["to"], row["reason"]) for row in said["records"]] == [
        ([LAB], "NOT_ADDRESSED"),
        ([LAB], "RECORD_UNKNOWN"),
    ]
    said = await world.run("readdress", "ask", "0" * 16, "--profile", police, code=1)
    assert said["requests"] == []


def with_identity(directory: Directory, agency: str) -> Directory:
    member = directory.agencies[agency]
    right = member.receive["CaseRecord"]
    member = replace(member, receive={**member.receive, "CaseRecord": replace(right, sections=EVERY)})
    return replace(directory, agencies={**directory.agencies, agency: member})


def rotated(world: World, agency: str, use: str) -> Directory:
    """The next version: the agency's key of this use ends now, and another one is in force."""
    now_ms, signer = world.exchange.clock.now_ms(), world.exchange.pki.signer(agency)
    (former,) = keys_in_force(world.newest.agencies[agency], now_ms, use)
    private = PrivateEncryptionKey.generate(MLKEM768_X25519)
    stated = state_key(private.stated_as(agency, use, now_ms, now_ms + 30 * DAY_MS), TRUST_DOMAIN, now_ms, signer)
    ends = state_retirement(former, now_ms, TRUST_DOMAIN, now_ms, signer)
    add_key(world.keys(agency), private, stated)
    return with_statements(world.newest, [stated.statement, ends.statement])
