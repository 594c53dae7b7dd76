"""A publisher exports its receipts and the checkpoints that it saw, and an auditor brings them to a bundle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest
from click.testing import CliRunner

from adapters.base import Limits
from adapters.cli.receipts import receipts
from adapters.edge.edge import open_edge
from adapters.edge.spool import Spool
from adapters.gateway.outbound import Outbound
from broker.cli.verify import verify
from broker.core.errors import SetupInvalid
from broker.wire.receiptfile import MAGIC, read_lines
from tests.integration.test_edge import INPUT, until
from tests.integration.test_partial_copies import case, ngo_profile, publish
from tests.support.exchange import running_exchange
from tests.support.gateways import CASES, police_profile, receiving
from tests.support.pki import SamplePki
from tests.support.replays import Bundle, covered, replayed

if TYPE_CHECKING:
    from pathlib import Path


class Evidence(NamedTuple):
    bundle: Bundle
    profile: Path
    receipts: Path
    checkpoints: Path
    records: int


@pytest.fixture
async def evidence(pki: SamplePki, tmp_path: Path) -> Evidence:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES, Tip=CASES)
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            outbound.take((INPUT / "rescued-children.csv").read_bytes(), {})
            results = [settled async for settled in outbound.publishing()]
            await covered(exchange)
            await edge.checkpoints.present()
        bundle = await replayed(exchange, tmp_path / "whole.bundle")
    path = tmp_path / "police.toml"
    exported, seen = tmp_path / "shanxi.receipts", tmp_path / "seen"
    for command in (["export", "--out", str(exported)], ["checkpoints", "--out", str(seen)]):
        done = CliRunner().invoke(receipts, [command[0], "--profile", str(path), *command[1:]])
        assert done.exit_code == 0, done.output
    return Evidence(bundle, path, exported, seen, len(results))


def run(bundle: Bundle, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(verify, [str(bundle.path), "--root", str(bundle.root), *options])
    return result.exit_code, result.stdout


def test_an_honest_log_keeps_what_a_publisher_exported(evidence: Evidence) -> None:
    options = ["--receipts", str(evidence.receipts), "--since", str(evidence.checkpoints)]
    code, text = run(evidence.bundle, *options)
    assert code == 0, text
    count = f"receipts brought: {evidence.records}. Of their records {evidence.records} are in their places"
    assert text.splitlines()[0].startswith(count)
    brought = json.loads(run(evidence.bundle, *options, "--json")[1])["brought"]
    assert evidence.records > 0
    assert brought["kept"] == brought["receipts"] == evidence.records
    assert brought["continued"] == brought["checkpoints"] > 1


def test_receipts_are_checked_offline_with_the_pinned_key_alone(evidence: Evidence, tmp_path: Path) -> None:
    root = str(evidence.bundle.root)
    done = CliRunner().invoke(receipts, ["verify", str(evidence.receipts), "--root", root])
    assert (done.exit_code, done.stdout) == (0, f"{evidence.records} receipts are the exchange's, 0 are not\n")
    other = SamplePki.build(tmp_path / "other").folder.trust / "governance.pem"
    refused = CliRunner().invoke(receipts, ["verify", str(evidence.receipts), "--root", str(other)])
    assert refused.exit_code != 0
    lines = evidence.receipts.read_bytes().splitlines(keepends=True)
    changed = tmp_path / "changed"
    middle = len(lines[-1]) // 2
    changed.write_bytes(b"".join([*lines[:-1], lines[-1][:middle] + b"AAAA" + lines[-1][middle + 4 :]]))
    done = CliRunner().invoke(receipts, ["verify", str(changed), "--root", root, "--json"])
    assert done.exit_code == 1
    assert [item["line"] for item in json.loads(done.stdout)["wrong"]] == [len(lines)]


def test_receipts_are_shown_to_people_and_to_programs(evidence: Evidence, tmp_path: Path) -> None:
    text = CliRunner().invoke(receipts, ["show", str(evidence.receipts)]).stdout
    shown = json.loads(CliRunner().invoke(receipts, ["show", str(evidence.receipts), "--json"]).stdout)["receipts"]
    assert len(shown) == len(text.splitlines()) == evidence.records
    for facts, line in zip(shown, text.splitlines(), strict=True):
        assert line.startswith(f"{facts['record_id']} at {facts['position']}, accepted ")
        assert facts["publisher"] == "shanxi-police"
    other = tmp_path / "other"
    other.write_bytes(MAGIC + b"receipt ?\n")
    assert CliRunner().invoke(receipts, ["show", str(other)]).stdout == "line 2 cannot be read\n"


def test_evidence_is_never_overwritten_and_needs_a_spool_that_nobody_uses(evidence: Evidence, tmp_path: Path) -> None:
    named = ["export", "--profile", str(evidence.profile), "--out"]
    done = CliRunner().invoke(receipts, [*named, str(evidence.receipts)])
    assert isinstance(done.exception, SetupInvalid)
    spool = Spool(tmp_path / "police" / "spool.db")
    try:
        done = CliRunner().invoke(receipts, [*named, str(tmp_path / "again")])
        assert "another process uses it" in str(done.exception)
        assert not (tmp_path / "again").exists()
    finally:
        spool.close()


def test_a_file_of_receipts_has_the_directories_that_it_needs(evidence: Evidence) -> None:
    with evidence.receipts.open("rb") as file:
        lines = list(read_lines(file))
    assert sum(line.directory is not None for line in lines) == 1
    assert sum(line.statement is not None for line in lines) == evidence.records


async def test_a_recipient_exports_what_it_was_handed_and_an_honest_log_agrees(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        await publish(exchange, "shanxi-police", case(), 1)
        await publish(exchange, "hebei-police", case(local_id=""), 2)
        async with receiving(ngo_profile(exchange, tmp_path)) as (_, inbound):
            await until(inbound.folders.outbox, "CaseRecord-*.xml")
            # A copy that cannot be used was handed over too.
            await until(inbound.folders.quarantine, "*.reason.json")
        bundle = await replayed(exchange, tmp_path / "whole.bundle")
    exported = tmp_path / "ngo.receipts"
    done = CliRunner().invoke(receipts, ["export", "--profile", str(tmp_path / "ngo.toml"), "--out", str(exported)])
    assert "0 receipts, 2 copies that the agency was handed" in done.output
    shown = json.loads(CliRunner().invoke(receipts, ["show", str(exported), "--json"]).stdout)["receipts"]
    assert [item["received_by"] for item in shown] == ["child-aid-ngo"] * 2
    assert all("case" in item["sections"] and "identity" not in item["sections"] for item in shown)
    checked = CliRunner().invoke(receipts, ["verify", str(exported), "--root", str(bundle.root)])
    assert (checked.exit_code, checked.stdout) == (
        0,
        "0 receipts are the exchange's, 1 lists are the agency's, 0 are not\n",
    )
    lines = exported.read_bytes().splitlines(keepends=True)
    changed = tmp_path / "changed"
    changed.write_bytes(b"".join([*lines[:-1], lines[-1][:60] + b"AAAA" + lines[-1][64:]]))
    assert CliRunner().invoke(receipts, ["verify", str(changed), "--root", str(bundle.root)]).exit_code == 1
    code, text = run(bundle, "--delivered", str(exported), "--receipts", str(exported))
    assert code == 0, text
    assert "copies that agencies report: 2. The log agrees with 2 of them" in text
    assert "warning" not in text
