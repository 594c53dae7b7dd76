"""A publisher has a section erased: its bytes are in no file of the log, and what proves the record stays."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from broker.cli.erase import erase
from broker.client.composing import SectionDraft
from broker.client.disclosing import Disclosing
from broker.client.erasing import erase_sections
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.audit.findings import Severity
from broker.core.errors import InputRefused, RecordUnknown, RightDenied, SealKeyMissing, SectionMismatch
from broker.core.events import AuditEvent, SectionsErased
from broker.core.streams import AUDIT, CASES
from broker.messagelog.sqlite import SqliteCheckpointStore, SqliteLog
from broker.services.erasureorders import ErasureOrders
from broker.services.soundness import EntryJudge
from broker.trust.keyfolder import FolderKeys, destroy_private, entries
from broker.trust.sealing import AesGcmCipher
from broker.trust.system import SystemClock
from certs.development import KEY_FOLDER
from tests.support.exchange import Exchange, running_exchange
from tests.support.pki import SamplePki
from tests.support.process import edge_tables, write_toml
from tests.support.records import CODEC
from tests.support.replays import Bundle, covered, replayed
from tests.support.sealed import SealedRecords, opened

if TYPE_CHECKING:
    from pathlib import Path

    from broker.client.verifying import VerifiedRecord
    from broker.core.audit.findings import Finding
    from broker.core.envelope import Envelope

SHANXI, HEBEI, NGO, LAB, AUDITOR = (
    "shanxi-police",
    "hebei-police",
    "child-aid-ngo",
    "national-dna-database",
    "national-audit",
)
CONTENTS = {"case": b"a synthetic case", "identity": b"a synthetic name", "photos": bytes(9000)}
_PIECE = 48
"""Random bytes of ciphertext, which occur nowhere else by chance."""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki", plain=False)


def record_id(envelope: Envelope) -> str:
    return CODEC.parse_body(envelope.body).record_id


def in_files(folder: Path, envelope: Envelope, name: str) -> set[str]:
    """The files that have any piece of a section's ciphertext."""
    (content,) = [section.content for section in envelope.sections if section.name == name]
    pieces = [content[at : at + _PIECE] for at in range(0, len(content) - _PIECE, _PIECE)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if any(piece in path.read_bytes() for piece in pieces)}


async def gone(folder: Path, envelope: Envelope) -> None:
    """Wait until no file has the photographs."""
    async with asyncio.timeout(60):
        while in_files(folder, envelope, "photos"):  # noqa: ASYNC110 - a file has no event to wait on
            await asyncio.sleep(0.02)


async def erased(exchange: Exchange, envelope: Envelope, *sections: str, agency: str = SHANXI) -> bool:
    """Whether it had been ordered before."""
    done = await erase_sections(await exchange.channel(agency), record_id(envelope), sections, "COURT_ORDER")
    return done.ordered_before


async def read(exchange: Exchange, agency: str, count: int, name: str = "erasure") -> dict[str, VerifiedRecord]:
    """What a new subscription of an agency makes of the first records, by their ids."""
    found: dict[str, VerifiedRecord] = {}
    options = SubscribeOptions(name, frozenset({"CaseRecord"}))
    async with asyncio.timeout(60), Subscriber(await exchange.channel(agency)).subscribe(options) as stream:
        async for delivered in stream:
            for each in delivered:
                verified = opened(exchange.pki, agency, each)
                found[verified.body.record_id] = verified
            await stream.ack([each.delivery_id for each in delivered])
            if len(found) >= count:
                break
    return found


def told(bundle: Bundle, code: str) -> list[Finding]:
    return [finding for finding in bundle.report().findings if finding.code == code]


async def test_the_bytes_are_gone_and_the_record_still_verifies(pki: SamplePki, tmp_path: Path) -> None:
    records, log = SealedRecords(pki, SHANXI, (HEBEI, NGO)), tmp_path / "log"
    async with running_exchange(pki, log) as exchange:
        publisher = await exchange.publisher(SHANXI)
        envelopes = [records.make(CONTENTS) for _ in range(5)]
        receipts = [await publisher.publish(each) for each in envelopes]
        gone, name = envelopes[2], "photos"
        assert in_files(log, gone, name)
        # Hebei has this record before it is erased, and another subscription has not.
        assert len(await read(exchange, HEBEI, 5)) == 5
        assert await erased(exchange, gone, name) is False
        assert in_files(log, gone, name) == set()
        assert in_files(log, gone, "identity")
        assert all(in_files(log, each, name) for each in envelopes if each is not gone)
        # What is left goes to the others, who are told which section was erased.
        verified = (await read(exchange, HEBEI, 5, "afterwards"))[record_id(gone)]
        assert (verified.withheld_sections, verified.erased_sections) == ((name,), (name,))
        assert dict(verified.sections) == {part: CONTENTS[part] for part in ("case", "identity")}
        # Asked again, and published again, nothing comes back.
        assert await erased(exchange, gone, name) is True
        assert await publisher.publish(gone) == receipts[2]
        assert in_files(log, gone, name) == set()
        bundle = await replayed(exchange, tmp_path / "all.bundle")
        assert bundle.codes() == set()
        assert bundle.report().clean
        (finding,) = told(bundle, "ERASED")
        assert (finding.severity, finding.record_id) == (Severity.WARNING, record_id(gone))
        assert f"{SHANXI} had the section {name} erased; the audit stream has the order at audit/0/" in finding.message
    assert in_files(log, gone, name) == set()


async def test_no_second_copy_is_left_where_pages_were_split(tmp_path: Path) -> None:
    """Small records of many cases: their rows share pages, and records of other partitions come between them."""
    plain = SamplePki.build(tmp_path / "pki")
    log, canaries = tmp_path / "log", {}
    async with running_exchange(plain, log) as exchange:
        publisher, maker = await exchange.publisher(SHANXI), exchange.maker()
        for number in range(200):
            canary = secrets.token_bytes(60)
            case = f"01990000-0000-4000-8000-{number:012d}"
            sections = (SectionDraft("case", "synthetic", canary),)
            envelope = maker.make(
                "CaseRecord", "cases", to=(HEBEI,), purpose="child-rescue", sections=sections, case=case
            )
            await publisher.publish(envelope)
            canaries[canary] = envelope
        for envelope in list(canaries.values())[::10]:
            await erased(exchange, envelope, "case")
        found = b"".join(path.read_bytes() for path in log.rglob("*") if path.is_file())
    kept = [canary in found for canary in canaries]
    assert kept == [number % 10 != 0 for number in range(200)]


async def test_a_broker_that_was_killed_after_the_order_removes_the_bytes_when_it_starts(
    pki: SamplePki, tmp_path: Path
) -> None:
    """The order stands in the audit stream, and nothing else has happened: that is what a kill leaves."""
    log, envelope = tmp_path / "log", SealedRecords(pki, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    async with running_exchange(pki, log) as exchange:
        receipt = await (await exchange.publisher(SHANXI)).publish(envelope)
        position = CODEC.parse_statement(receipt.statement).position
        order = SectionsErased(position, record_id(envelope), ("photos",), "COURT_ORDER")
        principal = f"spiffe://{pki.directory.trust_domain}/agency/{SHANXI}/gateway"
        await exchange.broker._audit.record([AuditEvent(SystemClock().now_ms(), principal, order)])
    assert in_files(log, envelope, "photos")
    async with running_exchange(pki, log) as exchange:
        # From the first moment on nobody is given it.
        assert (await read(exchange, HEBEI, 1, "first"))[record_id(envelope)].erased_sections == ("photos",)
        await gone(log, envelope)
        assert await erased(exchange, envelope, "photos") is True
        bundle = await replayed(exchange, tmp_path / "all.bundle")
        assert bundle.codes() == set()
        assert len(told(bundle, "ERASED")) == 1
    async with running_exchange(pki, log) as exchange:
        assert (await read(exchange, HEBEI, 1))[record_id(envelope)].erased_sections == ("photos",)


async def test_nobody_but_the_publisher_has_anything_erased(pki: SamplePki, tmp_path: Path) -> None:
    log, envelope = tmp_path / "log", SealedRecords(pki, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    async with running_exchange(pki, log) as exchange:
        await (await exchange.publisher(SHANXI)).publish(envelope)
        for agency, refusal in ((HEBEI, RightDenied), (AUDITOR, RightDenied), (LAB, RecordUnknown)):
            with pytest.raises(refusal):
                await erased(exchange, envelope, "photos", agency=agency)
        for sections in ((), ("nothing",), ("photos", "nothing")):
            with pytest.raises(InputRefused):
                await erased(exchange, envelope, *sections)
        with pytest.raises(InputRefused, match="the reason of an erasure is a code: a capital letter"):
            await erase_sections(await exchange.channel(SHANXI), record_id(envelope), ["photos"], "a name of a person")
        other = SealedRecords(pki, SHANXI, (HEBEI,)).make(CONTENTS)
        with pytest.raises(RecordUnknown):
            await erased(exchange, other, "photos")
        bundle = await replayed(exchange, tmp_path / "all.bundle")
    assert in_files(log, envelope, "photos")
    assert told(bundle, "ERASED") == []


async def test_a_record_that_the_log_lost_comes_again_without_what_was_erased(pki: SamplePki, tmp_path: Path) -> None:
    log, records = tmp_path / "log", SealedRecords(pki, SHANXI, (HEBEI, NGO))
    envelope, later = records.make(CONTENTS), records.make({"case": b"a later record of the case"})
    async with running_exchange(pki, log) as exchange:
        for each in (envelope, later):
            await (await exchange.publisher(SHANXI)).publish(each)
        await erased(exchange, envelope, "photos")
    # Damaged, and then gone: the repair puts back, and the second publication appends.
    for change in ("UPDATE entries SET value = x'00' WHERE record_id = ?", "DELETE FROM entries WHERE record_id = ?"):
        changed(log, change, envelope)
        async with running_exchange(pki, log) as exchange:
            await (await exchange.publisher(SHANXI)).publish(envelope)
            verified = (await read(exchange, HEBEI, 2, f"after-{change[:6].lower()}"))[record_id(envelope)]
            assert verified.erased_sections == ("photos",)
            assert dict(verified.sections) == {part: CONTENTS[part] for part in ("case", "identity")}
        assert in_files(log, envelope, "photos") == set()


async def test_sections_that_somebody_removed_without_an_order_are_found(pki: SamplePki, tmp_path: Path) -> None:
    """Who can write to the file can mark a section as erased. He cannot make the order of its publisher."""
    log, envelope = tmp_path / "log", SealedRecords(pki, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    async with running_exchange(pki, log) as exchange:
        await (await exchange.publisher(SHANXI)).publish(envelope)
    marked = CODEC.encode_envelope(envelope.erase(frozenset({"photos"})))
    changed(log, "UPDATE entries SET value = :value WHERE record_id = :id", envelope, marked)
    async with running_exchange(pki, log) as exchange:
        bundle = await replayed(exchange, tmp_path / "all.bundle")
        assert bundle.codes() == {"RECORD_CHANGED"}
        assert told(bundle, "ERASED") == []
        # It is damaged: nobody gets it so, and its publisher puts it back.
        reading = asyncio.create_task(read(exchange, HEBEI, 1))
        async with asyncio.timeout(60):
            while not reading.done():
                await (await exchange.publisher(SHANXI)).publish(envelope)
        assert dict((await reading)[record_id(envelope)].sections) == CONTENTS
        assert (await replayed(exchange, tmp_path / "repaired.bundle")).codes() == set()


async def test_who_marks_the_orders_themselves_as_erased_is_found_in_every_replay(
    pki: SamplePki, tmp_path: Path
) -> None:
    """The exchange's own records have no erased sections, whatever stands beside them."""
    log, envelope = tmp_path / "log", SealedRecords(pki, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    async with running_exchange(pki, log) as exchange:
        await (await exchange.publisher(SHANXI)).publish(envelope)
        await erased(exchange, envelope, "photos")
        await covered(exchange)
    with contextlib.closing(sqlite3.connect(log / "log.db")) as connection:
        rows = connection.execute("SELECT position, value FROM entries WHERE kind = 'ErasureEvents'").fetchall()
        assert rows
        for position, value in rows:
            order = CODEC.decode_envelope(value)
            hidden = CODEC.encode_envelope(order.erase(frozenset(each.name for each in order.sections)))
            connection.execute("UPDATE entries SET value = ? WHERE position = ?", (hidden, position))
        connection.commit()
    changed(log, "UPDATE entries SET value = :value WHERE record_id = :id", envelope, CODEC.encode_envelope(envelope))
    async with running_exchange(pki, log) as exchange:
        for period in (None, 1):
            bundle = await replayed(exchange, tmp_path / f"{period}.bundle", accepted_from_ms=period)
            errors = [each for each in bundle.report().findings if each.severity is Severity.ERROR]
            assert {each.code for each in errors} == {"RECORD_CHANGED"}, period


async def test_publishing_goes_on_while_an_erasure_waits_for_another_program(pki: SamplePki, tmp_path: Path) -> None:
    log, records = tmp_path / "log", SealedRecords(pki, SHANXI, (HEBEI, NGO))
    async with running_exchange(pki, log) as exchange:
        publisher, envelope = await exchange.publisher(SHANXI), records.make(CONTENTS)
        await publisher.publish(envelope)
        with contextlib.closing(sqlite3.connect(log / "log.db", isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM entries").fetchone()
            erasing = asyncio.create_task(erased(exchange, envelope, "photos"))
            while not exchange.broker._erasing.orders.records():  # noqa: ASYNC110 - the order is durable then
                await asyncio.sleep(0.01)
            for _ in range(20):
                await publisher.publish(records.make(CONTENTS))
            assert not erasing.done()
        assert await asyncio.wait_for(erasing, 60) is False
        assert in_files(log, envelope, "photos") == set()


async def test_a_broker_starts_while_another_program_keeps_what_was_erased(pki: SamplePki, tmp_path: Path) -> None:
    log, envelope = tmp_path / "log", SealedRecords(pki, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    async with running_exchange(pki, log) as exchange:
        await (await exchange.publisher(SHANXI)).publish(envelope)
        await erased(exchange, envelope, "photos")
    with contextlib.closing(sqlite3.connect(log / "log.db", isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM entries").fetchone()
        async with running_exchange(pki, log) as exchange:
            assert (await read(exchange, HEBEI, 1))[record_id(envelope)].erased_sections == ("photos",)


async def test_a_part_of_the_log_does_not_show_whether_a_section_was_erased_by_order(
    pki: SamplePki, tmp_path: Path
) -> None:
    """Nobody signs the mark. Of the part that has the order too, it is shown."""
    envelope = SealedRecords(pki, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    async with running_exchange(pki, tmp_path / "log") as exchange:
        await (await exchange.publisher(SHANXI)).publish(envelope)
        await erased(exchange, envelope, "photos")
        for part, code in (((CASES,), "ERASURE_UNPROVED"), ((CASES, AUDIT), "ERASED")):
            bundle = await replayed(exchange, tmp_path / "part.bundle", streams=part, accepted_from_ms=1)
            assert bundle.report().clean
            assert {each.code for each in bundle.report().findings if each.record_id == record_id(envelope)} == {code}


async def test_a_publisher_cannot_publish_a_section_as_erased(pki: SamplePki, tmp_path: Path) -> None:
    envelope = SealedRecords(pki, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    async with running_exchange(pki, tmp_path / "log") as exchange:
        publisher = await exchange.publisher(SHANXI)
        for forged in (envelope.erase(frozenset({"photos"})), replace(envelope, erased=("photos",))):
            with pytest.raises(SectionMismatch):
                await publisher.publish(forged)


async def test_what_waits_for_its_acknowledgement_comes_again_without_what_was_erased(
    pki: SamplePki, tmp_path: Path
) -> None:
    """The broker has the record in its memory, because the subscriber gave it back."""
    envelope = SealedRecords(pki, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    options = SubscribeOptions("erasure", frozenset({"CaseRecord"}))
    async with running_exchange(pki, tmp_path / "log") as exchange:
        await (await exchange.publisher(SHANXI)).publish(envelope)
        async with asyncio.timeout(60), Subscriber(await exchange.channel(HEBEI)).subscribe(options) as stream:
            (first,) = await anext(aiter(stream))
            assert {section.name for section in first.envelope.sections} == set(CONTENTS)
            await erased(exchange, envelope, "photos")
            await stream.nack(first.delivery_id, 0)
            (second,) = await anext(aiter(stream))
            assert {section.name for section in second.envelope.sections} == {"case", "identity"}
            assert opened(pki, HEBEI, second).erased_sections == ("photos",)
            await stream.ack([second.delivery_id])
        bundle = await replayed(exchange, tmp_path / "all.bundle")
        assert bundle.codes() == set()


async def test_the_command_says_first_what_it_does(pki: SamplePki, tmp_path: Path) -> None:
    log, envelope = tmp_path / "log", SealedRecords(pki, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    async with running_exchange(pki, log) as exchange:
        await (await exchange.publisher(SHANXI)).publish(envelope)
        profile = write_toml(tmp_path / "shanxi.toml", edge_tables(pki, SHANXI, exchange.target))
        arguments = [record_id(envelope), "--section", "photos", "--section", "identity", "--reason", "COURT_ORDER"]
        arguments += ["--profile", str(profile)]
        told_only = await asyncio.to_thread(CliRunner().invoke, erase, arguments)
        assert told_only.exit_code == 2
        assert "not from backups of the log" in told_only.stdout
        assert in_files(log, envelope, "photos")
        done = await asyncio.to_thread(CliRunner().invoke, erase, [*arguments, "--confirm"])
        assert done.exit_code == 0, done.output
        assert f"photos, identity of record {record_id(envelope)} erased from the log\n" in done.stdout
        again = await asyncio.to_thread(CliRunner().invoke, erase, [*arguments, "--confirm"])
        assert "it had been ordered before" in again.stdout
    assert in_files(log, envelope, "photos") | in_files(log, envelope, "identity") == set()


async def test_the_scrub_finds_nothing_wrong_with_an_erased_record(pki: SamplePki, tmp_path: Path) -> None:
    log, envelope = tmp_path / "log", SealedRecords(pki, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    async with running_exchange(pki, log) as exchange:
        await (await exchange.publisher(SHANXI)).publish(envelope)
        await erased(exchange, envelope, "photos")
        await covered(exchange)
        position = (await exchange.broker.log.lookup([uuid.UUID(record_id(envelope)).bytes])).popitem()[1].position
    database, store = await SqliteLog.open(log / "log.db", SystemClock()), SqliteCheckpointStore(log / "checkpoints.db")
    try:
        partition = position.stream_partition
        rows = await store.leaves(partition, 0, 1)
        entries = await database.read(partition, position.offset, 1, 1)
        ordered, nothing = ErasureOrders(), ErasureOrders()
        ordered.add(entries[0].record_id, CODEC.decode_envelope(entries[0].value).erased)
        judge = EntryJudge(CODEC, ordered, SystemClock(), None)
        assert judge.judged(partition, rows, entries, set()) == []
        # Without the order the mark counts for nothing.
        (damage,) = EntryJudge(CODEC, nothing, SystemClock(), None).judged(partition, rows, entries, set())
        assert damage.position == position
        # The same row without the mark is damaged.
        unmarked = CODEC.decode_envelope(entries[0].value)
        bare = CODEC.encode_envelope(replace(unmarked, erased=()))
        (damage,) = judge.judged(partition, rows, [entries[0]._replace(value=bare)], set())
        assert damage.position == position
    finally:
        await store.close()
        await database.close()


def changed(log: Path, statement: str, envelope: Envelope, value: bytes = b"") -> None:
    """Change the record's row while no broker runs."""
    identity = uuid.UUID(record_id(envelope)).bytes
    with contextlib.closing(sqlite3.connect(log / "log.db")) as connection, connection:
        parameters = {"value": value, "id": identity} if value else (identity,)
        assert connection.execute(statement, parameters).rowcount == 1


async def test_when_the_keys_of_a_period_are_destroyed_nobody_reads_it_and_verify_is_clean(tmp_path: Path) -> None:
    own = SamplePki.build(tmp_path / "pki", plain=False)
    envelope = SealedRecords(own, SHANXI, (HEBEI, NGO)).make(CONTENTS)
    async with running_exchange(own, tmp_path / "log") as exchange:
        await (await exchange.publisher(SHANXI)).publish(envelope)
        bundle = await replayed(exchange, tmp_path / "all.bundle")
    disclosing = Disclosing(own.directory.trust_domain, CODEC, AesGcmCipher())
    for agency in (SHANXI, HEBEI, NGO):
        folder = own.folder.member(agency) / KEY_FOLDER
        assert disclosing.disclose(envelope, "case", agency, FolderKeys(folder)).content == CONTENTS["case"]
        for entry in entries(folder):
            destroy_private(entry)
        with pytest.raises(SealKeyMissing):
            disclosing.disclose(envelope, "case", agency, FolderKeys(folder))
    assert bundle.report().clean
