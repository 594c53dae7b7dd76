"""The verification around the records: how a bundle begins, its order, and who signed the whole."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.audit.beginning import read_beginning, sift_directories
from broker.core.audit.findings import Severity
from broker.core.bundle import (
    AuthorityCertificate,
    BundleDigest,
    BundleEnd,
    BundleFrames,
    BundleSource,
    DirectoryDocument,
    Frame,
    RevocationListFile,
    StrayRecord,
)
from broker.core.envelope import DIRECTORY_TYPE, Signature
from broker.core.errors import BundleInvalid, DirectoryInvalid
from broker.core.streams import Position, StreamPartition
from broker.trust.directory import open_directory
from broker.trust.directory_payload import directory_payload
from broker.trust.signedjson import signed_json
from broker.wire.frames import frame_from
from certs.rights import SHANXI
from tests.support.bundles import FRAMES, LyingExchange
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, OTHER_CASE, RecordMaker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.audit.report import AuditReport
    from broker.core.policy import Directory


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def exchange(pki: SamplePki) -> LyingExchange:
    clock = ManualClock(pki.now_ms + 1000)
    maker = RecordMaker(pki, clock)
    exchange = LyingExchange(pki)
    exchange.add(StreamPartition("dna", 0), [maker.make(), maker.make(case=OTHER_CASE)], clock.value_ms, stretch=1)
    return exchange


def errors_of(report: AuditReport) -> list[tuple[str, str]]:
    return [(item.code, item.message) for item in report.findings if item.severity is Severity.ERROR]


def codes(report: AuditReport) -> list[str]:
    return [code for code, _ in errors_of(report)]


# --- (1) the beginning ---


def beginning(*frames: Frame) -> BundleFrames:
    return BundleFrames(CODEC.encode_frame(frame) for frame in frames)


def test_what_comes_before_the_first_partition_is_taken_in_any_order(exchange: LyingExchange) -> None:
    directory, start = DirectoryDocument(b"d", 1), exchange.frames[0]
    trust: list[Frame] = [
        RevocationListFile(b"r"),
        directory,
        AuthorityCertificate(b"a"),
        replace(directory, in_force_from_ms=2),
    ]
    frames = beginning(exchange.header(), *trust, start, directory)
    found = read_beginning(frames, FRAMES)
    assert found == (exchange.header(), (directory, replace(directory, in_force_from_ms=2)), (b"a",), (b"r",))
    assert (frames.peek(), frames.taken) == (CODEC.encode_frame(start), 5)


def test_without_a_header_and_a_directory_nothing_can_be_checked(exchange: LyingExchange) -> None:
    directory = DirectoryDocument(b"d", 1)
    for frames in (beginning(), beginning(directory), beginning(exchange.header(), AuthorityCertificate(b"a"))):
        with pytest.raises(BundleInvalid):
            read_beginning(frames, FRAMES)


# --- (2) directories ---


@pytest.fixture
def read(pki: SamplePki) -> Callable[[bytes], Directory]:
    return functools.partial(open_directory, governance=pki.governance)


def document(pki: SamplePki, version: int, in_force_from_ms: int) -> DirectoryDocument:
    return DirectoryDocument(pki.sign(replace(pki.directory, version=version)), in_force_from_ms)


def test_a_directory_counts_if_governance_signed_it_and_it_is_newer_and_later(
    pki: SamplePki, read: Callable[[bytes], Directory]
) -> None:
    first, second, third = (document(pki, number, 1000 * number) for number in (1, 2, 3))
    wrong = [DirectoryDocument(b"{}", 1), document(pki, 2, 2500), document(pki, 1, 2600), document(pki, 4, 1999)]
    kept, findings = sift_directories([wrong[0], first, second, *wrong[1:], third], read)
    assert kept == (first, second, third)
    assert [finding.code for finding in findings] == ["DIRECTORY_INVALID"] * 4
    # In force from the same moment is later enough: the audit stream's times are whole milliseconds.
    assert sift_directories([first, document(pki, 2, 1000)], read)[1] == ()


def test_a_directory_that_takes_a_key_statement_back_is_named_and_counts(
    pki: SamplePki, read: Callable[[bytes], Directory]
) -> None:
    police = pki.directory.agency(SHANXI)
    left, left_out = police.encryption_keys
    police = replace(police, encryption_keys=(left,))
    changed = replace(pki.directory, version=2, agencies={**pki.directory.agencies, police.id: police})
    second = DirectoryDocument(pki.sign(changed), 2000)
    kept, (finding,) = sift_directories([document(pki, 1, 1000), second], read)
    assert kept[1] == second
    assert finding.code == "KEY_HISTORY_BROKEN"
    assert f"version 2, key {left_out.key_id.hex()}" in finding.message
    # One with a statement that another agency signed does not count at all.
    payload = json.loads(directory_payload(replace(pki.directory, version=3)))
    keys = payload["agencies"]
    keys[SHANXI]["encryption_keys"] = keys["hebei-police"]["encryption_keys"]
    signed = signed_json(DIRECTORY_TYPE, json.dumps(payload).encode(), pki.governance_key)
    swapped = DirectoryDocument(json.dumps(signed).encode(), 3000)
    kept, (finding,) = sift_directories([document(pki, 1, 1000), swapped], read)
    assert (len(kept), finding.code) == (1, "KEY_STATEMENT_INVALID")


def test_where_no_directory_counts_nothing_can_be_checked(read: Callable[[bytes], Directory]) -> None:
    # The first says why.
    with pytest.raises(DirectoryInvalid, match="DSSE"):
        sift_directories([DirectoryDocument(b"{}", 1), DirectoryDocument(b"", 2)], read)


# --- (3) to (5) ---


def test_an_authority_that_no_directory_names_is_reported_first(exchange: LyingExchange) -> None:
    begun = exchange.beginning()
    foreign = begun._replace(authorities=(*begun.authorities, b"foreign"))
    assert codes(exchange.audit(beginning=foreign)) == ["CERTIFICATE_INVALID"]
    assert exchange.audit(beginning=begun._replace(authorities=())).clean


def test_frames_out_of_place_are_reported_in_the_order_of_the_bundle(exchange: LyingExchange) -> None:
    frames = exchange.frames
    (_, leaves, records), end = frames[:3], frames[-1]
    frames[:] = [end, records, leaves, DirectoryDocument(b"d", 1), *frames]
    assert errors_of(exchange.audit())[:4] == [
        ("BUNDLE_INVALID", "a partition ends that was not begun"),
        ("BUNDLE_INVALID", "a frame stands where it does not belong"),
        ("BUNDLE_INVALID", "leaves stand outside of a partition"),
        ("BUNDLE_INVALID", "a frame stands where it does not belong"),
    ]


def test_records_after_the_end_of_their_partition_are_of_none(exchange: LyingExchange) -> None:
    frames = exchange.frames
    frames[:] = [*frames, frames[2]]
    assert ("BUNDLE_INVALID", "a frame stands where it does not belong") in errors_of(exchange.audit())


def test_a_stray_is_judged_in_its_partition(exchange: LyingExchange) -> None:
    exchange.frames.insert(-1, StrayRecord.of(Position("dna", 0, 100), "no seal", b"", shown=True))
    assert codes(exchange.audit()) == ["RECORD_INSERTED"]


def test_a_frame_that_cannot_be_read_ends_the_bundle_after_what_came_before_it(exchange: LyingExchange) -> None:
    frames = exchange.serialized()
    report = exchange.audit([*frames[:-2], b"\xff", *frames[-2:]])
    assert report.records == 2
    assert [message for _, message in errors_of(report)] == [
        "a frame of the bundle cannot be read; the one before it is of dna/0/1",
        "the bundle is not as it was made: it was damaged or changed on its way",
        "dna/0: the bundle breaks off within the partition",
        "the bundle breaks off before its last frame",
        "the bundle lacks a partition of the stream dna",
    ]


def test_records_that_cannot_be_read_are_reported_and_the_rest_is_judged(exchange: LyingExchange) -> None:
    frames = exchange.serialized()
    at = next(place for place, data in enumerate(frames) if FRAMES.holds_records(data))
    report = exchange.audit([*frames[:at], b"\x32\xff", *frames[at + 1 :]])
    assert report.records == 1
    assert {"BUNDLE_INVALID", "RECORD_MISSING", "BUNDLE_DAMAGED"} <= set(codes(report))


def with_end(frames: Sequence[bytes], signature: Signature | None) -> list[bytes]:
    end = frame_from(frames[-1])
    assert isinstance(end, BundleEnd)
    return [*frames[:-1], CODEC.encode_frame(replace(end, signature=signature))]


def test_a_brokers_bundle_is_signed_by_the_exchange_over_every_frame(exchange: LyingExchange) -> None:
    frames = exchange.serialized()
    assert exchange.audit(frames).clean
    end = frame_from(frames[-1])
    assert isinstance(end, BundleEnd)
    assert end.signature is not None
    agency = exchange.pki.signer("shanxi-police")
    for signature in (
        None,
        Signature(end.signature.certificate_sha256, b"other"),
        Signature(bytes(32), end.signature.value),
        Signature(agency.certificate_sha256, agency.sign(b"")),
    ):
        assert codes(exchange.audit(with_end(frames, signature))) == ["BUNDLE_ALTERED"]


def test_an_auditors_own_bundle_needs_no_signature(pki: SamplePki) -> None:
    clock = ManualClock(pki.now_ms + 1000)
    own = LyingExchange(pki, source=BundleSource.MESSAGE_LOG)
    own.add(StreamPartition("dna", 0), [RecordMaker(pki, clock).make()], clock.value_ms)
    assert own.audit().clean


def test_nothing_follows_the_last_frame_and_it_is_not_missing(exchange: LyingExchange) -> None:
    frames = exchange.serialized()
    assert errors_of(exchange.audit([*frames, frames[-1]])) == [
        ("BUNDLE_INVALID", "something follows the bundle's last frame")
    ]
    assert errors_of(exchange.audit(frames[:-1])) == [("BUNDLE_INVALID", "the bundle breaks off before its last frame")]


def test_a_bundle_that_is_not_that_of_its_digest_was_damaged_and_one_that_somebody_made_fit_was_altered(
    exchange: LyingExchange,
) -> None:
    frames = exchange.serialized()
    # An unknown field changes no meaning.
    changed = [frames[0] + b"\xfa\x3f\x01x", *frames[1:-1]]
    assert codes(exchange.audit([*changed, frames[-1]])) == ["BUNDLE_DAMAGED"]
    end, digest = frame_from(frames[-1]), BundleDigest()
    assert isinstance(end, BundleEnd)
    for data in changed:
        digest.add(data)
    fitting = CODEC.encode_frame(replace(end, sha256=digest.sha256()))
    assert codes(exchange.audit([*changed, fitting])) == ["BUNDLE_ALTERED"]
    earlier = CODEC.encode_frame(replace(end, sha256=b""))
    assert codes(exchange.audit([*changed, earlier])) == ["BUNDLE_ALTERED"]
