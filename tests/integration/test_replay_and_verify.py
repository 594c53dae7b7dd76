"""Replay over the network and verify offline, through the commands."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from broker.bootstrap.verify import verify_bundle
from broker.cli.replay import replay
from broker.cli.verify import verify
from broker.client.composing import SectionDraft
from broker.client.subscriber import SubscribeOptions
from broker.core import errors
from broker.core.bundle import BundleHeader, DirectoryDocument, PartitionRecords
from broker.core.streams import STREAMS
from broker.wire.bundle import MAGIC, read_frames, write_frame
from broker.wire.codec import ProtobufCodec
from broker.wire.frames import frame_from, frame_to
from tests.support.exchange import running_exchange
from tests.support.oddbytes import oddly_serialized
from tests.support.pki import SamplePki
from tests.support.process import edge_tables, write_toml
from tests.support.replays import Bundle, covered, replayed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.core.bundle import Frame

CASES = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(12)]


@pytest.fixture(scope="module")
def bundle(pki: SamplePki, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two agencies' records in several partitions, delivered and acknowledged."""
    folder = tmp_path_factory.mktemp("replay")

    async def make() -> Bundle:
        async with running_exchange(pki, folder / "log") as exchange:
            shanxi, hebei = exchange.maker(), exchange.maker("hebei-police")
            publisher, other = await exchange.publisher(), await exchange.publisher("hebei-police")
            for case in CASES:
                await publisher.publish(shanxi.make(case=case))
                sections = (SectionDraft("case", "T", b"open"), SectionDraft("identity", "T", b"secret"))
                await other.publish(
                    hebei.make(
                        "CaseRecord",
                        "cases",
                        to=("child-aid-ngo",),
                        case=case,
                        purpose="child-rescue",
                        sections=sections,
                    )
                )
            options = SubscribeOptions("samples", frozenset({"SampleRequest"}))
            taken = 0
            async with asyncio.timeout(60), (await exchange.subscriber()).subscribe(options) as stream:
                async for batch in stream:
                    await stream.ack([delivered.delivery_id for delivered in batch])
                    taken += len(batch)
                    if taken == len(CASES):
                        break
            return await replayed(exchange, folder / "whole.bundle")

    return asyncio.run(make())


def run(bundle: Bundle, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(verify, [str(bundle.path), "--root", str(bundle.root), *options])
    return result.exit_code, result.stdout


def test_an_honest_bundle_is_clean(bundle: Bundle) -> None:
    code, text = run(bundle)
    assert code == 0, text
    assert "nothing is wrong" in text


def test_a_report_on_a_part_of_the_log_claims_nothing_of_the_rest(bundle: Bundle, tmp_path: Path) -> None:
    assert "no record of the signed trees is missing" in run(bundle)[1]
    part = asyncio.run(_part(bundle, tmp_path))
    code, text = run(part)
    assert code == 0, text
    assert "nothing is wrong with this part of the log" in text
    assert "missing" not in text.splitlines()[-1]


async def _part(bundle: Bundle, folder: Path) -> Bundle:
    async with running_exchange(bundle.pki, folder / "log") as exchange:
        await (await exchange.publisher()).publish(exchange.maker().make())
        return await replayed(exchange, folder / "part.bundle", streams=("dna",))


def test_a_period_that_ends_before_it_begins_is_wrong_usage(tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    profile.touch()
    named = ["--profile", str(profile), "--purpose", "p", "--out", str(tmp_path / "b"), "--until", "2026-01-01"]
    for begin in ("2026-01-01", "2026-01-02"):
        done = CliRunner().invoke(replay, [*named, "--from", begin])
        assert done.exit_code == 2
        assert "--from is not before --until" in done.stderr


def test_the_report_says_as_json_what_it_covers(bundle: Bundle) -> None:
    code, text = run(bundle, "--json")
    report = json.loads(text)
    assert code == 0
    assert report["clean"] is True
    assert report["findings"] == []
    assert report["deliveries"] == len(CASES)
    # An auditor does not need a child's record: both sections of every record were withheld.
    assert report["withheld_sections"] == 3 * len(CASES)
    assert {item["partition"].split("/")[0] for item in report["partitions"]} == set(STREAMS)


def test_no_name_in_a_bundle_reaches_the_terminal_as_it_is(bundle: Bundle, tmp_path: Path) -> None:
    header, *rest = bundle.frames()
    assert isinstance(header, BundleHeader)
    _, text = run(bundle.altered(tmp_path, [replace(header, purpose="audit\x1b[2J\x9b"), *rest]))
    assert "purpose: audit?[2J?" in text
    assert "\x1b" not in text


def test_another_governance_key_checks_nothing(bundle: Bundle, tmp_path: Path) -> None:
    other = SamplePki.build(tmp_path / "other")
    result = CliRunner().invoke(verify, [str(bundle.path), "--root", str(other.folder.trust / "governance.pem")])
    assert result.exit_code == 2
    assert "DIRECTORY_INVALID" in result.stderr


@pytest.mark.parametrize(
    "content", [b"", b"not a bundle", MAGIC, MAGIC + b"\x05abc"], ids=["empty", "text", "bare", "cut"]
)
def test_a_file_that_is_no_bundle_is_said_to_be_none(bundle: Bundle, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    code, _ = run(Bundle(path, bundle.pki))
    assert code == 2


def first_records(frames: list[Frame], *, at_least: int = 2) -> tuple[int, PartitionRecords]:
    for place, frame in enumerate(frames):
        if isinstance(frame, PartitionRecords) and len(frame.entries) >= at_least:
            return place, frame
    raise AssertionError


def change(frame: PartitionRecords, **changes: Any) -> PartitionRecords:
    return PartitionRecords(changes.get("entries", frame.entries), changes.get("receipts", frame.receipts))


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def with_first_entry(frame: PartitionRecords, **changes: Any) -> PartitionRecords:
    return change(frame, entries=(frame.entries[0]._replace(**changes), *frame.entries[1:]))


def flipped_body(frame: PartitionRecords) -> PartitionRecords:
    envelope = frame.entries[0].envelope
    return with_first_entry(frame, envelope=replace(envelope, body=flip(envelope.body, len(envelope.body) - 3)))


def flipped_signature(frame: PartitionRecords) -> PartitionRecords:
    envelope = frame.entries[0].envelope
    (signature,) = envelope.signatures
    return with_first_entry(
        frame, envelope=replace(envelope, signatures=(signature._replace(value=flip(signature.value, 20)),))
    )


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        pytest.param(flipped_signature, "SIGNATURE_INVALID", id="flipped signature"),
        pytest.param(flipped_body, "RECORD_CHANGED", id="flipped body"),
        pytest.param(
            lambda frame: with_first_entry(frame, accepted_at_ms=frame.entries[0].accepted_at_ms - 1),
            "RECEIPT_INVALID",
            id="another time",
        ),
        pytest.param(lambda frame: with_first_entry(frame, log_id="f" * 32), "LOG_CHANGED", id="another log"),
        pytest.param(lambda frame: change(frame, entries=frame.entries[1:]), "RECORD_MISSING", id="dropped"),
        pytest.param(
            lambda frame: change(frame, entries=(frame.entries[0], *frame.entries)), "RECORD_REPEATED", id="repeated"
        ),
        pytest.param(
            lambda frame: change(frame, entries=(frame.entries[1], frame.entries[0], *frame.entries[2:])),
            "OUT_OF_ORDER",
            id="reordered",
        ),
    ],
)
def test_tampering_is_named_with_its_record(
    bundle: Bundle, tmp_path: Path, tamper: Callable[[PartitionRecords], PartitionRecords], code: str
) -> None:
    frames = bundle.frames()
    place, frame = first_records(frames)
    frames[place] = tamper(frame)
    altered = bundle.altered(tmp_path, frames)
    report = verify_bundle(altered.path, (altered.root,), lambda _: None)
    assert code in {finding.code for finding in report.findings}
    # The first finding names the record itself or its place.
    assert report.findings[0].position in {frame.entries[0].position, frame.entries[1].position}
    exit_code, text = run(altered)
    assert exit_code == 1
    assert "THE BUNDLE IS NOT AS IT WAS MADE: get it again" in text


def test_a_dropped_frame_and_a_cut_are_findings(bundle: Bundle, tmp_path: Path) -> None:
    frames = bundle.frames()
    place, _ = first_records(frames)
    assert "RECORD_MISSING" in bundle.altered(tmp_path, frames[:place] + frames[place + 1 :]).codes()
    assert "BUNDLE_INVALID" in bundle.altered(tmp_path, frames[:-1]).codes()
    assert "BUNDLE_INVALID" in bundle.altered(tmp_path, [*frames, frames[-1]]).codes()


def test_a_directory_version_that_proves_nothing_is_reported_and_the_rest_is_judged_all_the_same(
    bundle: Bundle, tmp_path: Path
) -> None:
    frames = bundle.frames()
    place, good = next((place, frame) for place, frame in enumerate(frames) if isinstance(frame, DirectoryDocument))
    forged = replace(good, document=b"{}")
    again = replace(good, in_force_from_ms=good.in_force_from_ms + 1)
    for added in ([forged, good], [good, forged], [good, again]):
        altered = bundle.altered(tmp_path, [*frames[:place], *added, *frames[place + 1 :]])
        report = altered.report()
        assert "DIRECTORY_INVALID" in {finding.code for finding in report.findings}
        assert report.records == bundle.report().records
        assert altered.named() == []
    alone = bundle.altered(tmp_path, [*frames[:place], forged, *frames[place + 1 :]])
    with pytest.raises(errors.DirectoryInvalid):
        alone.report()


def test_records_that_cannot_be_read_are_reported_and_named_one_by_one(bundle: Bundle, tmp_path: Path) -> None:
    frames = bundle.frames()
    place, batch = first_records(frames)
    path = tmp_path / "unreadable.bundle"
    with path.open("wb") as file:
        file.write(MAGIC)
        for at, frame in enumerate(frames):
            data = frame_to(frame).SerializeToString(deterministic=True)
            # A frame of records by its first byte, with nothing readable after it.
            write_frame(file, b"\x32\xff" if at == place else data)
    found = Bundle(path, bundle.pki)
    # The batch is named by the place where it must stand, and each of its records is missing.
    assert found.named() == [
        ("BUNDLE_INVALID", batch.entries[0].position),
        *(("RECORD_MISSING", entry.position) for entry in batch.entries),
    ]
    assert "a frame of the bundle cannot be read" in {finding.message for finding in found.report().findings}
    assert "BUNDLE_DAMAGED" in found.codes()


def test_no_byte_of_a_bundle_can_be_changed_unseen(bundle: Bundle, tmp_path: Path) -> None:
    data = bundle.path.read_bytes()
    path = tmp_path / "flipped.bundle"
    # Every 37th byte. This is a prime, so that all kinds of fields are hit in all their places.
    for at in range(0, len(data), 37):
        path.write_bytes(flip(data, at))
        try:
            report = verify_bundle(path, (bundle.root,), lambda _: None)
        except errors.CaseExchangeError:
            continue
        assert not report.clean, f"byte {at} of {len(data)}"


async def test_every_byte_that_the_broker_made_reaches_the_bundle_however_it_wrote_them(
    pki: SamplePki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another release of protobuf, or another program, may write the same messages as other bytes. These are signed too.
    made: list[bytes] = []

    def encode_frame(_: ProtobufCodec, frame: Frame) -> bytes:
        made.append(oddly_serialized(frame_to(frame)))
        return made[-1]

    monkeypatch.setattr(ProtobufCodec, "encode_frame", encode_frame)
    out = tmp_path / "odd.bundle"
    async with running_exchange(pki, tmp_path / "log") as exchange:
        maker, publisher = exchange.maker(), await exchange.publisher()
        for case in CASES:
            await publisher.publish(maker.make(case=case))
        await covered(exchange)
        profile = write_toml(tmp_path / "auditor.toml", edge_tables(pki, "national-audit", exchange.target))
        arguments = ["--profile", str(profile), "--purpose", "a test", "--out", str(out)]
        done = await asyncio.to_thread(CliRunner().invoke, replay, arguments)
    assert done.exit_code == 0, done.output
    with out.open("rb") as file:
        assert list(read_frames(file)) == made
    assert all(data != frame_to(frame_from(data)).SerializeToString(deterministic=True) for data in made)
    report = verify_bundle(out, (Bundle(out, pki).root,), lambda _: None)
    assert (report.findings, report.records > len(CASES)) == ((), True)


async def test_a_period_is_replayed_and_clean(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        maker, publisher = exchange.maker(), await exchange.publisher()
        times = []
        for case in CASES:
            receipt = await publisher.publish(maker.make(case=case))
            times.append(exchange.receipts().verify(receipt).accepted_at_ms)
        part = await replayed(
            exchange, tmp_path / "part", streams=("dna",), accepted_from_ms=times[3], accepted_until_ms=times[8]
        )
    report = verify_bundle(part.path, (part.root,), lambda _: None)
    assert report.clean
    assert report.records == sum(times[3] <= time < times[8] for time in times)
    assert {finding.code for finding in report.findings} <= {"PERIOD_EDGES", "SEQUENCE_GAP"}
