"""A publisher has a section erased: its bytes are in no file of the log, and everything that proves the record stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from broker.cli.erase import erase
from broker.client.erasing import erase_sections
from broker.client.subscriber import SubscribeOptions, Subscriber
from broker.core.audit.findings import Severity
from broker.core.errors import InputRefused, LogUnavailable, RecordUnknown, RightDenied, SectionMismatch
from broker.core.streams import StreamPartition
from broker.messagelog.sqlite.log import SqliteLog
from tests.support.exchange import Exchange, running_exchange
from tests.support.pki import SamplePki
from tests.support.process import edge_tables, write_toml
from tests.support.records import CODEC
from tests.support.replays import Bundle, replayed
from tests.support.sealed import SealedRecords, opened

if TYPE_CHECKING:
    from pathlib import Path

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


async def erased(exchange: Exchange, envelope: Envelope, *sections: str, agency: str = SHANXI) -> bool:
    """Whether it had been ordered before."""
    done = await erase_sections(await exchange.channel(agency), record_id(envelope), sections, "COURT_ORDER")
    return done.ordered_before


async def read(exchange: Exchange, agency: str, count: int, name: str = "erasure") -> dict[str, object]:
    """What a new subscription of an agency makes of the first records, by their ids."""
    found: dict[str, object] = {}
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
