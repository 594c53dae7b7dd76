"""Copies of which a section was withheld: what they hold is judged as in whole copies, and replaces no other's file."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from adapters.base import Encoded, Limits, Record
from adapters.edge.profile import load_profile
from adapters.records.record_json import RecordJson
from adapters.records.sections import section_type, split
from broker.client.composing import SectionDraft
from broker.client.erasing import erase_sections
from caseexchange.records.v1 import case_pb2, common_pb2
from tests.integration.test_edge import until
from tests.support.gateways import receiving
from tests.support.process import edge_tables, write_toml
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adapters.edge.profile import GatewayProfile
    from tests.support.exchange import Exchange

NGO, SHANXI, HEBEI = "child-aid-ngo", "shanxi-police", "hebei-police"
CHILD, OTHER = b"\xff\xd8\xff synthetic child", b"\xff\xd8\xff another synthetic child"
DELIVERED = "CaseRecord-????????-????-????-????-????????????.json"
PHOTO_NAME = f"{hashlib.sha256(CHILD).hexdigest()[:32]}.jpg"


def ngo_profile(exchange: Exchange, folder: Path, outbox_format: str = "pfif") -> GatewayProfile:
    tables = edge_tables(exchange.pki, NGO, exchange.target)
    tables["gateway"] = {
        "folder": str(folder / "ngo"),
        "formats": ["pfif"],
        "outbox_format": outbox_format,
        "subscribe": ["CaseRecord"],
        "retry_seconds": 0.1,
    }
    return load_profile(write_toml(folder / "ngo.toml", tables))[0]


def case(content: bytes = CHILD, digest_of: bytes = b"", **fields: object) -> case_pb2.CaseRecord:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1")
    record.names.add(kind=common_pb2.NAME_KIND_LEGAL, full="测试儿童甲")
    digest = hashlib.sha256(digest_of or content).digest()
    record.photos.add(content=content, media_type="image/jpeg", sha256=digest)
    for name, value in fields.items():
        setattr(record, name, value)
    return record


async def publish(exchange: Exchange, agency: str, record: Record, number: int) -> str:
    """Publish for the NGO. The broker withholds ``identity`` from it. Returns the record's id."""
    sections = [SectionDraft(name, section_type("CaseRecord"), data) for name, data in split(record).items()]
    envelope = exchange.maker(agency).make(
        "CaseRecord",
        "cases",
        to=(NGO,),
        purpose="child-rescue",
        case=f"01990000-0000-4000-8000-00000000000{number}",
        sections=sections,
    )
    await (await exchange.publisher(agency)).publish(envelope)
    return CODEC.parse_body(envelope.body).record_id


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (case(local_id=""), "FIELD_MISSING"),
        (case(OTHER, digest_of=CHILD), "PHOTO_DIGEST"),
    ],
    ids=["a field is missing", "a photo has the digest of another's"],
)
async def test_what_a_partial_copy_holds_is_judged_as_in_a_whole_one(
    exchange: Exchange, tmp_path: Path, record: Record, code: str
) -> None:
    await publish(exchange, HEBEI, case(), 1)
    async with receiving(ngo_profile(exchange, tmp_path)) as (_, inbound):
        (about,) = await until(inbound.folders.outbox, "*.about.json")
        assert json.loads(about.read_text())["withheld_sections"] == ["identity"]
        (first,) = await until(inbound.folders.outbox, "CaseRecord-*.xml")
        assert (inbound.folders.outbox / PHOTO_NAME).read_bytes() == CHILD
        await publish(exchange, SHANXI, record, 2)
        await publish(exchange, SHANXI, case(local_id="SYN-3"), 3)
        first.rename(first.with_name("first"))
        await until(inbound.folders.outbox, "CaseRecord-*.xml")
        (reason,) = await until(inbound.folders.quarantine, "*.reason.json")
        facts = json.loads(reason.read_text())
        assert (facts["reason"], facts["message"]) == ("RECORD_INVALID", code)
        assert (inbound.folders.outbox / PHOTO_NAME).read_bytes() == CHILD


async def test_the_outbox_tells_what_was_erased_from_what_the_agency_may_not_have(
    exchange: Exchange, tmp_path: Path
) -> None:
    record_id = await publish(exchange, HEBEI, case(), 1)
    await erase_sections(await exchange.channel(HEBEI), record_id, ["photos"], "COURT_ORDER")
    async with receiving(ngo_profile(exchange, tmp_path)) as (_, inbound):
        (path,) = await until(inbound.folders.outbox, "*.about.json")
        about = json.loads(path.read_text())
    assert about["withheld_sections"] == ["identity", "photos"]
    assert about["erased_sections"] == ["photos"]


class _NamedByThePublisher(RecordJson):
    """A format that gives a photo the name that its publisher gave it. No format of ours does."""

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        photos = {
            photo.reference: photo.content
            for record in records
            if isinstance(record, case_pb2.CaseRecord)
            for photo in record.photos
        }
        return Encoded(b"own format", photos, super().encode(records, limits).issues)


async def test_a_file_beside_a_record_is_named_by_its_digest_or_not_written(exchange: Exchange, tmp_path: Path) -> None:
    honest, other = case(), case(OTHER)
    honest.photos[0].reference = PHOTO_NAME
    other.photos[0].reference = PHOTO_NAME
    profile = ngo_profile(exchange, tmp_path, "record-json")
    async with receiving(profile) as (_, inbound):
        inbound._format = _NamedByThePublisher()
        await publish(exchange, HEBEI, honest, 1)
        (first,) = await until(inbound.folders.outbox, DELIVERED)
        assert first.read_bytes() == b"own format"
        first.rename(first.with_name("first"))
        await publish(exchange, SHANXI, other, 2)
        (second,) = await until(inbound.folders.outbox, DELIVERED)
        assert b"own format" not in second.read_bytes()
        assert (inbound.folders.outbox / PHOTO_NAME).read_bytes() == CHILD
