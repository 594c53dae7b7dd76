"""The notice board at the end of the whole way: an agency's file, a broker, a gateway's outbox, a site."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from google.protobuf import json_format

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.gateway.inbound import Inbound
from adapters.gateway.outbound import Outbound
from adapters.public_notice.noticeboard.command import noticeboard
from adapters.records.sections import section_type, split
from broker.client.composing import SectionDraft
from broker.client.publisher import Published
from caseexchange.records.v1 import case_pb2
from tests.support.notices import closure, drawing, notice, photo
from tests.support.process import edge_tables, write_toml

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.base import Record
    from adapters.edge.profile import GatewayProfile
    from tests.support.exchange import Exchange

NGO, MINISTRY = "child-aid-ngo", "ministry"
ROUTE = {"recipients": [NGO], "purpose": "public-appeal"}


def profile(exchange: Exchange, folder: Path, agency: str, **tables: dict[str, Any]) -> tuple[GatewayProfile, Any]:
    gateway = {"folder": str(folder / agency), "formats": ["record-json"], "outbox_format": "record-json"}
    found = {**edge_tables(exchange.pki, agency, exchange.target), **tables}
    found["gateway"] = {**gateway, **tables.get("gateway", {})}
    return load_profile(write_toml(folder / f"{agency}.toml", found))


def file_of(kind: str, record: Record) -> bytes:
    item = {"kind": kind, "caseReference": "SYN-BLD-0002", "record": json_format.MessageToDict(record)}
    return json.dumps({"records": [item]}).encode()


def delivered(folder: Path) -> int:
    return len(list(folder.glob("*[0-9a-f].json")))


def pictures(folder: Path) -> int:
    return len(list(folder.rglob("photos/*.jpg")))


async def until(folder: Path, count: int) -> None:
    """Wait for this many records in an outbox. The other files of a record are written before it."""
    async with asyncio.timeout(60):
        while delivered(folder) < count:  # noqa: ASYNC110 - a folder has no event to wait on
            await asyncio.sleep(0.02)


def board(outbox: Path, site: Path) -> str:
    result = CliRunner().invoke(noticeboard, ["--from", str(outbox), "--to", str(site)])
    assert (result.exit_code, result.stderr) == (0, "")
    # The gateway of this process logs to the same output.
    return result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("Correction", case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_WITHDRAW, reason="found")),
        ("Closure", closure()),
        ("PublicNotice", notice(action="WITHDRAW")),
    ],
    ids=["corrected", "closed", "withdrawn"],
)
async def test_a_child_appears_with_a_delivery_and_disappears_with_another(
    exchange: Exchange, tmp_path: Path, kind: str, end: Record
) -> None:
    routes = {"PublicNotice": ROUTE, "Closure": ROUTE, "Correction": {**ROUTE, "stream": "notices"}}
    sender, ways = profile(exchange, tmp_path, MINISTRY, routes=routes)
    receiver, _ = profile(
        exchange, tmp_path, NGO, gateway={"subscribe": ["PublicNotice", "Closure", "Correction"], "retry_seconds": 0.1}
    )
    site = tmp_path / "site"
    async with open_edge(sender) as ministry, open_edge(receiver) as ngo:
        outbound = Outbound(ministry, sender.gateway, ways, Limits())
        inbound = Inbound(ngo, receiver.gateway, Limits())
        task = asyncio.create_task(inbound.receive())
        outbound.take(file_of("PublicNotice", notice(photos=[photo(drawing())])), {})
        assert [type(item) for item in await outbound.publish_spooled()] == [Published]
        await until(inbound.folders.outbox, 1)
        assert board(inbound.folders.outbox, site).startswith("notices shown: 1, gone: 0")
        assert pictures(tmp_path) == 1
        outbound.take(file_of(kind, end), {})
        assert [type(item) for item in await outbound.publish_spooled()] == [Published]
        await until(inbound.folders.outbox, 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert board(inbound.folders.outbox, site).startswith("notices shown: 0, gone: 1")
    assert pictures(tmp_path) == 0


async def test_one_correction_of_an_ngo_takes_no_child_off_the_ministrys_board_and_one_of_the_police_does(
    exchange: Exchange, tmp_path: Path
) -> None:
    ways = {"PublicNotice": {**ROUTE, "recipients": [MINISTRY, NGO]}}
    own = {"subscribe": ["PublicNotice", "Correction"], "retry_seconds": 0.1}
    profiled, routes = profile(exchange, tmp_path, MINISTRY, routes=ways, gateway=own)
    site = tmp_path / "site"
    async with open_edge(profiled) as ministry:
        outbound, inbound = (
            Outbound(ministry, profiled.gateway, routes, Limits()),
            Inbound(ministry, profiled.gateway, Limits()),
        )
        task = asyncio.create_task(inbound.receive())
        outbound.take(file_of("PublicNotice", notice()), {})
        await outbound.publish_spooled()
        await until(inbound.folders.outbox, 1)
        (shown,) = (path.name for path in inbound.folders.outbox.glob("PublicNotice-*[0-9a-f].json"))
        target = shown.removeprefix("PublicNotice-").removesuffix(".json")
        for number, (agency, expected) in enumerate([(NGO, "shown: 1"), ("shanxi-police", "shown: 0")], 2):
            record = case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_WITHDRAW, target_record_id=target)
            sections = [SectionDraft(name, section_type("Correction"), part) for name, part in split(record).items()]
            envelope = exchange.maker(agency).make(
                "Correction", "notices", to=(MINISTRY,), purpose="correction", sections=sections
            )
            await (await exchange.publisher(agency)).publish(envelope)
            await until(inbound.folders.outbox, number)
            arguments = ["--from", str(inbound.folders.outbox), "--to", str(site)]
            result = CliRunner().invoke(noticeboard, arguments)
            assert f"notices {expected}" in result.stdout
            assert "NOT_OBEYED" in result.stderr
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
