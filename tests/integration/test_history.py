"""Everything that happened to a case or an agency, told from a bundle alone, and what cannot be excluded."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner

from broker.cli.verify import verify
from broker.client.composing import SectionDraft
from broker.core.bundle import PartitionRecords
from broker.core.errors import RightDenied
from broker.core.streams import StreamPartition, partition_of
from tests.integration.test_trace import CASES, HEBEI, MINISTRY, NGO, SHANXI, answered, published, record_id
from tests.support.exchange import running_exchange
from tests.support.records import CASE, OTHER_CASE
from tests.support.replays import Bundle, replayed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pki import SamplePki


class Told(NamedTuple):
    bundle: Bundle
    case: str
    correction: str
    foreign: str
    refused: str


@pytest.fixture(scope="module")
def told(pki: SamplePki, tmp_path_factory: pytest.TempPathFactory) -> Told:
    return asyncio.run(_happened(pki, tmp_path_factory.mktemp("history")))


async def _happened(pki: SamplePki, folder: Path) -> Told:
    sections = [SectionDraft(name, "synthetic", name.encode()) for name in ("case", "identity")]
    async with running_exchange(pki, folder / "log") as exchange:
        maker, other = exchange.maker(), exchange.maker(HEBEI)
        case = maker.make("CaseRecord", "cases", to=(HEBEI, NGO), purpose="child-rescue", sections=sections)
        await published(exchange, case)
        await answered(exchange, HEBEI, CASES)
        await answered(exchange, NGO, CASES, "RECORD_INVALID")
        correction = maker.make("Correction", "cases", to=(HEBEI,), purpose="correction", supersedes=record_id(case))
        await published(exchange, correction)
        # Another agency's correction, which the directory does not let count.
        foreign = other.make("Correction", "cases", to=(MINISTRY,), purpose="correction", supersedes=record_id(case))
        await (await exchange.publisher(HEBEI)).publish(foreign)
        refused = maker.make("MatchNotification", "dna")
        with pytest.raises(RightDenied):
            await published(exchange, refused)
        await published(exchange, maker.make(case=OTHER_CASE))
        bundle = await replayed(exchange, folder / "whole.bundle")
    return Told(bundle, *map(record_id, (case, correction, foreign, refused)))


def run(bundle: Bundle, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(verify, [str(bundle.path), "--root", str(bundle.root), *options])
    return result.exit_code, result.stdout


def lines(bundle: Bundle, *options: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    first, *rest = [json.loads(line) for line in run(bundle, *options, "--json")[1].splitlines()]
    return first, rest


def test_a_case_is_told_whole_and_proved_to_be_complete(told: Told) -> None:
    code, text = run(told.bundle, "--case", CASE)
    assert code == 0, text
    story = text[text.index(f"history of the case {CASE}: 3 records") :].splitlines()
    assert any(line.startswith(f"{told.case} CaseRecord cases/") for line in story)
    assert f"  corrected or replaced by {told.correction} (Correction of {SHANXI})" in story
    (foreign,) = [line for line in story if told.foreign in line and "replaced by" in line]
    assert "It does not count" in foreign
    assert f"  {HEBEI}/cases: processed" in story
    assert f"  {NGO}/cases: refused (RECORD_INVALID)" in story
    assert any(line.endswith("delivered, attempt 1, without identity") for line in story)
    assert any(line.startswith(f"no record of the case {CASE} is missing") for line in story)
    partitions = sum(line.startswith("  cases/") for line in story)
    home = StreamPartition("cases", partition_of(CASE, partitions))
    assert any(
        line.startswith(f"  {home} (the case's own partition, if cases has {partitions}): each of its")
        for line in story
    )
    assert OTHER_CASE not in "\n".join(story)


def test_a_case_is_told_to_programs_line_by_line(told: Told) -> None:
    first, records = lines(told.bundle, "--case", CASE)
    assert first["clean"] is first["history"]["complete"] is True
    assert (first["history"]["records"], first["history"]["not_excluded"]) == (3, [])
    assert [record["record_id"] for record in records] == [told.case, told.correction, told.foreign]
    assert [relation["counts"] for relation in records[0]["changed_by"]] == [True, False]
    steps = {each["agency"]: [event["step"] for event in each["events"]] for each in records[0]["subscriptions"]}
    assert steps == {HEBEI: ["DELIVERED", "PROCESSED"], NGO: ["DELIVERED", "REFUSED"]}


def test_an_agency_is_told_what_it_published_and_what_was_refused_and_of_the_others_only_its_own_part(
    told: Told,
) -> None:
    first, records = lines(told.bundle, "--agency", SHANXI)
    # Number 1 to the laboratory was refused, so it is no gap.
    assert (first["refused_numbers"], first["findings"]) == (1, [])
    assert [record["refused"]["record_id"] for record in records if "refused" in record] == [told.refused]
    assert sum("record_id" in record for record in records) == first["history"]["records"] == 3
    _, (case,) = lines(told.bundle, "--agency", NGO)
    assert [each["agency"] for each in case["subscriptions"]] == [NGO]


def test_what_the_bundle_lacks_is_named(told: Told, tmp_path: Path) -> None:
    # A record without its body may have been of any case.
    frames = told.bundle.frames()
    at = next(at for at, frame in enumerate(frames) if isinstance(frame, PartitionRecords) and len(frame.entries) > 1)
    batch = frames[at]
    assert isinstance(batch, PartitionRecords)
    partition = batch.entries[0].position.stream_partition
    frames[at] = PartitionRecords(batch.entries[1:], batch.receipts)
    altered = told.bundle.altered(tmp_path, frames)
    first, _ = lines(altered, "--case", CASE)
    assert first["history"]["complete"] is False
    assert any(
        lack.startswith(f"{partition}") and "1 records have no body" in lack
        for lack in first["history"]["not_excluded"]
    )
    assert "RECORD_MISSING" in " ".join(first["history"]["not_excluded"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--case", "SYN-1"], "a case's id on the exchange"),
        (["--agency", "Nobody!"], "takes an agency id"),
        (["--case", CASE, "--agency", HEBEI], "not both"),
    ],
)
def test_what_names_no_case_and_no_agency_is_wrong_usage(told: Told, options: list[str], said: str) -> None:
    result = CliRunner().invoke(verify, [str(told.bundle.path), "--root", str(told.bundle.root), *options])
    assert (result.exit_code, said in result.output) == (2, True)
