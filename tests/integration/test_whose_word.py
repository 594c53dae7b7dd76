"""Whose Corrections and barcodes count at an edge, through a real broker."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from adapters.base import Limits, Record, kind_of
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.gateway.inbound import Inbound
from adapters.gateway.outbound import Outbound
from adapters.records.sections import section_type, split
from broker.client.composing import SectionDraft
from caseexchange.records.v1 import case_pb2, dna_pb2
from tests.support.process import edge_tables, write_toml
from tests.support.records import CASE, CODEC, OTHER_CASE

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.edge.profile import GatewayProfile
    from broker.core.body import Body
    from tests.support.exchange import Exchange

SHANXI, HEBEI, LAB, NGO = "shanxi-police", "hebei-police", "national-dna-database", "child-aid-ngo"


def profile(exchange: Exchange, folder: Path, agency: str, outbox: str, *kinds: str) -> GatewayProfile:
    tables = edge_tables(exchange.pki, agency, exchange.target)
    tables["gateway"] = {
        "folder": str(folder / agency),
        "formats": ["record-json"],
        "outbox_format": outbox,
        "subscribe": list(kinds),
        "retry_seconds": 0.1,
    }
    tables["routes"] = {"StrProfile": {"recipients": [LAB], "purpose": "dna-matching"}}
    return load_profile(write_toml(folder / f"{agency}.toml", tables))[0]


async def publish(exchange: Exchange, agency: str, record: Record, to: str, *, case: str = CASE) -> Body:
    kind = kind_of(record)
    sections = [SectionDraft(name, section_type(kind), part) for name, part in split(record).items()]
    stream, purpose = ("dna", "dna-matching") if kind == "SampleRequest" else ("cases", "child-rescue")
    envelope = exchange.maker(agency).make(kind, stream, to=(to,), purpose=purpose, sections=sections, case=case)
    await (await exchange.publisher(agency)).publish(envelope)
    return CODEC.parse_body(envelope.body)


def delivered_to(outbox: Path) -> set[str]:
    return {path.name for path in outbox.iterdir() if not path.name.endswith(".about.json")}


async def until(outbox: Path, count: int) -> None:
    """Wait until this many records are in the outbox. The other files of a record are written before it."""
    async with asyncio.timeout(60):
        while len(delivered_to(outbox)) < count:  # noqa: ASYNC110 - a folder has no event to wait on
            await asyncio.sleep(0.02)


async def test_a_correction_of_a_stranger_is_reported_and_not_written_in_the_agencys_own_format(
    exchange: Exchange, tmp_path: Path
) -> None:
    """In PFIF it would be an expired person, and the reader's system would delete the child."""
    profiled = profile(exchange, tmp_path, NGO, "pfif", "CaseRecord", "Correction")
    case = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1")
    async with open_edge(profiled) as edge:
        inbound = Inbound(edge, profiled.gateway, Limits())
        outbox, task = inbound.folders.outbox, asyncio.create_task(inbound.receive())
        original = await publish(exchange, SHANXI, case, NGO)
        await until(outbox, 1)
        word = case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_ERASE, target_record_id=original.record_id)
        stranger = await publish(exchange, HEBEI, word, NGO)
        await until(outbox, 2)
        own = await publish(exchange, SHANXI, word, NGO)
        await until(outbox, 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    words = {name for name in delivered_to(outbox) if name.startswith("Correction")}
    assert words == {f"Correction-{stranger.record_id}.json", f"Correction-{own.record_id}.xml"}
    said = [
        json.loads((outbox / f"Correction-{body.record_id}.about.json").read_text()).get("not_obeyed")
        for body in (stranger, own)
    ]
    assert said == ["NOT_NAMED", ""]


async def test_a_barcode_that_another_agency_sent_first_gives_it_no_profile(exchange: Exchange, tmp_path: Path) -> None:
    profiled = profile(exchange, tmp_path, LAB, "record-json", "SampleRequest")
    routes = load_profile(tmp_path / f"{LAB}.toml")[1]
    request = dna_pb2.SampleRequest(barcode="SYN-1", role=dna_pb2.SAMPLE_ROLE_CHILD)
    async with open_edge(profiled) as edge:
        inbound, outbound = (
            Inbound(edge, profiled.gateway, Limits()),
            Outbound(edge, profiled.gateway, routes, Limits()),
        )
        task = asyncio.create_task(inbound.receive())
        await publish(exchange, HEBEI, request, LAB, case=OTHER_CASE)
        await until(inbound.folders.outbox, 1)
        asked = await publish(exchange, SHANXI, request, LAB)
        await until(inbound.folders.outbox, 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        def take(barcode: str) -> list[Body]:
            loci = [{"locus": "TH01", "alleles": [{"value": "7", "operator": "ALLELE_OPERATOR_EQUAL"}]}]
            item = {"kind": "StrProfile", "caseReference": barcode, "record": {"barcode": barcode, "loci": loci}}
            outbound.take(json.dumps({"records": [item]}).encode(), {})
            return [CODEC.parse_body(CODEC.decode_envelope(item.envelope).body) for item in edge.spool.outgoing(9)]

        assert take("SYN-1") == []
        (answer,) = take(f"{SHANXI}/SYN-1")
    assert (answer.case_id, answer.in_reply_to) == (CASE, asked.record_id)
