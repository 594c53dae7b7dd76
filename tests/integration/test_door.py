"""No record is signed that was not judged, whichever adapter brings it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from adapters.base import Decoded, DecodedRecord, Limits, Source
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.gateway.outbound import Outbound
from caseexchange.records.v1 import case_pb2, dna_pb2
from tests.support.process import edge_tables, write_toml
from tests.support.programs import looked_twice

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.base import Record
    from tests.support.exchange import Exchange


class _ForgetfulAdapter:
    """A third party's adapter that never judges its records."""

    name = "forgetful"

    def sniff(self, content: bytes) -> bool:
        return content == b"forgetful"

    def decode(self, source: Source, limits: Limits) -> Decoded:
        del source, limits
        nameless = dna_pb2.SampleRequest(role=dna_pb2.SAMPLE_ROLE_CHILD)
        good = dna_pb2.SampleRequest(barcode="SYN-B-1", role=dna_pb2.SAMPLE_ROLE_CHILD)
        case = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_SEEKING_PARENT)
        kinds: tuple[Record, ...] = (nameless, case, good)
        records = [DecodedRecord(item, "SYN-1", f"record {place}") for place, item in enumerate(kinds)]
        return Decoded(tuple(records), (), b"")


async def test_a_record_that_its_adapter_forgot_to_judge_is_refused_before_it_is_signed(
    exchange: Exchange, tmp_path: Path
) -> None:
    tables = edge_tables(exchange.pki, "shanxi-police", exchange.target)
    tables["gateway"] = {"folder": str(tmp_path / "police"), "formats": ["record-json"], "outbox_format": "record-json"}
    tables["routes"] = {
        "CaseRecord": {"recipients": ["ministry"], "purpose": "child-rescue"},
        "SampleRequest": {"recipients": ["national-dna-database"], "purpose": "dna-matching"},
    }
    profile, routes = load_profile(write_toml(tmp_path / "police.toml", tables))
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        outbound._formats.insert(0, _ForgetfulAdapter())  # type: ignore[arg-type]
        (outbound.folders.inbox / "forgetful").write_bytes(b"forgetful")
        assert looked_twice(outbound) == 1
        (reason,) = [json.loads(path.read_text()) for path in outbound.folders.quarantine.glob("*.reason.json")]
        assert [(item["code"], item["where"]) for item in reason["issues"]] == [
            ("RECORD_INVALID", "record 0"),
            ("RECORD_INVALID", "record 1"),
        ]
        assert "FIELD_MISSING at barcode" in reason["issues"][0]["message"]
        assert "FIELD_MISSING at local_id" in reason["issues"][1]["message"]
        (sent,) = edge.spool.outgoing(10)
        body = edge.codec.parse_body(edge.codec.decode_envelope(sent.envelope).body)
        # The refused records used no number, not even of the good record's recipient.
        assert [(body.kind, *body.recipients)] == [("SampleRequest", ("national-dna-database", 1))]
