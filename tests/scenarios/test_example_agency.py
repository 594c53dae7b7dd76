"""deploy/example_agency as its reader runs it, through a broker that is killed with records under way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters.agency import Accepted, ToPublish, open_agency
from caseexchange.records.v1 import dna_pb2
from deploy.kafka.ports import free_ports
from tests.support.process import COMMAND, BrokerProcess, edge_tables, write_toml
from tests.support.programs import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapters.agency import Agency
    from tests.support.pki import SamplePki

EXAMPLE = Path(__file__).parents[2] / "deploy" / "example_agency" / "typing_desk.py"
LAB, POLICE, AUDITOR = "national-dna-database", "shanxi-police", "national-audit"
SAMPLES = 40
BOUND_SECONDS = 90


@pytest.fixture
def broker(pki: SamplePki, tmp_path: Path) -> Any:
    (port,) = free_ports(1)
    process = BrokerProcess(pki, tmp_path, server={"address": f"localhost:{port}"})
    process.start()
    yield process
    process.end()


@contextlib.contextmanager
def typing_desk(profile: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, EXAMPLE, profile])
    try:
        yield
        assert process.poll() is None, "the example ended"
    finally:
        process.terminate()
        process.wait(30)


async def publish_samples(police: Agency, numbers: range) -> list[str]:
    requests = [
        ToPublish(dna_pb2.SampleRequest(barcode=f"SYN-B-{number}", role=dna_pb2.SAMPLE_ROLE_CHILD), f"SYN-{number}")
        for number in numbers
    ]
    results = await police.publish_many(requests)
    assert all(isinstance(result, Accepted) for result in results)
    return [result.record_id for result in results if isinstance(result, Accepted)]


async def receive(archive: Agency, wanted: int, arrived: asyncio.Event) -> dict[str, str]:
    """The requests that were answered, by barcode, when there are this many."""
    found: dict[str, str] = {}
    async with contextlib.aclosing(archive.subscribe("archive", kinds=["StrProfile"])) as deliveries:
        async for delivery in deliveries:
            assert isinstance(delivery.record, dna_pb2.StrProfile)
            found[delivery.record.barcode] = delivery.body.in_reply_to
            await delivery.ack()
            arrived.set()
            if len(found) == wanted:
                return found
    raise AssertionError


def replayed(pki: SamplePki, folder: Path, target: str) -> dict[str, Any]:
    """The auditor's findings."""
    profile = write_toml(folder / "auditor.toml", edge_tables(pki, AUDITOR, target))
    bundle = folder / "whole.bundle"
    root = pki.folder.governance_public_key
    subprocess.run([COMMAND, "replay", "--profile", profile, "--purpose", "test", "--out", bundle], check=True)
    done = subprocess.run([COMMAND, "verify", bundle, "--root", root, "--json"], capture_output=True, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_example_is_less_than_forty_lines() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 40


async def test_every_request_is_answered_once_through_a_killed_broker(
    pki: SamplePki, broker: BrokerProcess, tmp_path: Path
) -> None:
    samples = {"recipients": [LAB], "purpose": "dna-matching"}
    desk = program(pki, tmp_path, LAB, "typing", broker.target)
    archive_profile = program(pki, tmp_path, LAB, "archive", broker.target)
    police_profile = program(pki, tmp_path, POLICE, "samples", broker.target, SampleRequest=samples)
    arrived = asyncio.Event()
    async with (
        asyncio.timeout(BOUND_SECONDS),
        open_agency(police_profile) as police,
        open_agency(archive_profile) as archive,
    ):
        with typing_desk(desk):
            receiving = asyncio.create_task(receive(archive, SAMPLES, arrived))
            record_ids = await publish_samples(police, range(SAMPLES // 2))
            await arrived.wait()
            # Profiles are on their way back. The second half of the requests is published while no broker runs.
            broker.kill()
            publishing = asyncio.create_task(publish_samples(police, range(SAMPLES // 2, SAMPLES)))
            assert (await police.status()).serving is False
            broker.start()
            record_ids += await publishing
            found = await receiving
        assert found == {f"SYN-B-{number}": record_id for number, record_id in enumerate(record_ids)}
        status = await police.status()
        assert (status.serving, status.spooled) == (True, 0)
        assert police.receipt(record_ids[0]) is not None
    report = replayed(pki, tmp_path, broker.target)
    assert report["findings"] == []
