"""What auditors have after a run: bundles from each broker and from Kafka itself, judged by ``verify``."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from broker.core.bundle import PartitionLeaves, PartitionRecords, PartitionStart, StrayRecord
from broker.wire.bundle import read_frames
from broker.wire.frames import frame_from
from tests.scenarios.torture.processes import COMMAND
from tests.scenarios.torture.subscribing import AGENCY, SUBSCRIPTION
from tests.support.records import CODEC

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.streams import Position, StreamPartition
    from tests.scenarios.torture.stage import Stage

_REPLAY_SECONDS = 180.0


class InLog(NamedTuple):
    """A record as a bundle has it."""

    record_id: str
    body: bytes
    position: Position
    accepted_at_ms: int


@dataclass
class Bundle:
    """A bundle, and the report of ``verify`` on it."""

    source: str
    exit_code: int
    findings: list[dict[str, Any]]
    records: list[InLog] = field(default_factory=list)
    strays: list[StrayRecord] = field(default_factory=list)
    leaves: dict[StreamPartition, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    unprocessed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By position: the codes with which the subscription refused the record. An empty code: it is a dead letter."""
    made_at_ms: int = 0
    """When the export began."""


async def bundles(stage: Stage) -> list[Bundle]:
    """One bundle through each broker; then, when they have ended, one without them: it covers all that they signed.

    A broker that still ran could sign one more entry of the audit stream after the last bundle.
    """
    through = [await _bundle(stage, name) for name in stage.brokers]
    await asyncio.gather(*(broker.stop() for broker in stage.brokers.values()))
    return [*through, await _bundle(stage, None)]


async def _bundle(stage: Stage, broker: str | None) -> Bundle:
    source = broker or "kafka"
    path = stage.root / f"{source}.bundle"
    purpose = ("--purpose", "after the torture", *(() if broker else ("--from-kafka",)))
    code, output = await _run("replay", "--profile", stage.audit_profile(broker), *purpose, "--out", path)
    if code != 0:
        return Bundle(source, code, [{"code": "NO_BUNDLE", "severity": "error", "message": output[-2000:]}])
    root = stage.pki.folder.trust / "governance.pem"
    code, output = await _run("verify", path, "--root", root, "--json")
    path.with_suffix(".json").write_text(output)
    report = json.loads(output)
    made_at = datetime.fromisoformat(report["created_at"])
    bundle = Bundle(source, code, report["findings"], made_at_ms=round(made_at.timestamp() * 1000))
    for each in report["unprocessed"]:
        if (each["agency"], each["subscription"]) == (AGENCY, SUBSCRIPTION):
            bundle.unprocessed[each["position"]].add(each["refused"])
    _read(path, bundle)
    return bundle


def _read(path: Path, bundle: Bundle) -> None:
    partition: StreamPartition | None = None
    with path.open("rb") as file:
        for frame in map(frame_from, read_frames(file)):
            match frame:
                case PartitionStart():
                    partition = frame.partition
                    assert frame.first_index == 0
                case PartitionLeaves():
                    assert partition is not None
                    bundle.leaves[partition] += [leaf.hash for leaf in frame.leaves]
                case PartitionRecords():
                    for entry in frame.entries:
                        body = entry.envelope.body
                        record_id = CODEC.parse_body(body).record_id
                        bundle.records.append(InLog(record_id, body, entry.position, entry.accepted_at_ms))
                case StrayRecord():
                    bundle.strays.append(frame)


async def _run(*arguments: str | Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_REPLAY_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, f"{arguments[0]} did not end within {_REPLAY_SECONDS:g} s"
    return process.returncode or 0, (output or errors).decode()
