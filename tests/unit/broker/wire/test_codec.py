from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.core.body import Body, KeyWrap, NamedSigner, Recipient, RecordReference, Routing, SectionDescriptor
from broker.core.bundle import BundleEntry, PartitionRecords
from broker.core.envelope import BODY_TYPE, Envelope, Section, Signature
from broker.core.errors import EnvelopeMalformed
from broker.core.events import (
    AuditEvent,
    Cause,
    DeadLetterMade,
    DeadLetterOrdered,
    DeliveryConfirmed,
    DeliveryMade,
    DeliveryRefused,
    RecordsParked,
    RefusalMade,
    SetAsideEnded,
    SubscriptionBegun,
    SubscriptionDeleted,
    TakenOver,
)
from broker.core.receipt import ReceiptStatement
from broker.core.streams import Position, StreamPartition
from broker.core.subscriptions import EARLIEST, KindsStart, Moved, StartPoint
from broker.wire.codec import ProtobufCodec
from broker.wire.deliveries import WireDelivery, deliveries_to
from broker.wire.envelopes import kept_from
from broker.wire.frames import frame_from
from caseexchange.broker.v1 import audit_pb2, envelope_pb2, receipt_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

CODEC = ProtobufCodec()
BODY = Body(
    record_id="01990000-0000-7000-8000-000000000001",
    kind="SampleRequest",
    stream="dna",
    case_id="01990000-0000-4000-8000-000000000002",
    publisher="shanxi-police",
    system="gateway",
    recipients=(Recipient("national-dna-database", 7),),
    issued_at_ms=1_790_000_000_123,
    expires_at_ms=None,
    in_reply_to="",
    supersedes="",
    purpose="dna-matching",
    signers=(NamedSigner(bytes(range(32)), "ecdsa-p256-sha256"),),
    sections=(SectionDescriptor("request", "a.Type", bytes(32), frozenset({"national-dna-database"})),),
)
SEALED = replace(
    BODY,
    sections=(*BODY.sections, SectionDescriptor("identity", "a.Type", bytes(32), frozenset(), b"c" * 32)),
    key_wraps=(KeyWrap("national-dna-database", b"k" * 32, (1,), b"wrapped"),),
)
SUPPLEMENT = replace(SEALED, supplements=RecordReference("01990000-0000-7000-8000-000000000009", b"d" * 32))


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        SEALED,
        replace(BODY, expires_at_ms=1_800_000_000_000, sections=()),
        replace(BODY, signers=(*BODY.signers, NamedSigner(bytes(32), "another"))),
        SUPPLEMENT,
    ],
)
def test_a_body_is_read_back_as_it_was_written(body: Body) -> None:
    assert CODEC.parse_body(CODEC.encode_body(body)) == body


@st.composite
def damaged_bodies(draw: st.DrawFn) -> bytes:
    """The bytes of a body with some of them replaced. Random bytes alone are never a body."""
    data = bytearray(CODEC.encode_body(draw(st.sampled_from([BODY, SEALED, SUPPLEMENT]))))
    for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=3)):
        data[at] = draw(st.integers(0, 255))
    return bytes(data)


@given(st.one_of(st.binary(max_size=200), damaged_bodies()))
@example(CODEC.encode_body(BODY))
@example(CODEC.encode_body(SEALED))
def test_any_bytes_are_a_body_or_a_typed_refusal(data: bytes) -> None:
    try:
        body = CODEC.parse_body(data)
    except EnvelopeMalformed:
        return
    assert CODEC.parse_body(CODEC.encode_body(body)) == body


def test_a_time_finer_than_a_millisecond_is_refused() -> None:
    message = envelope_pb2.Body.FromString(CODEC.encode_body(BODY))
    message.issued_at.nanos += 1
    with pytest.raises(EnvelopeMalformed, match="whole milliseconds"):
        CODEC.parse_body(message.SerializeToString())


@pytest.mark.parametrize(("place", "protection"), [(0, 0), (0, 2), (0, 99), (1, 0), (1, 1), (1, 99)])
def test_a_section_whose_protection_does_not_fit_its_commitment_is_refused(place: int, protection: int) -> None:
    message = envelope_pb2.Body.FromString(CODEC.encode_body(SEALED))
    message.sections[place].ClearField("protection")
    raw = message.sections[place].SerializeToString() + (b"\x28" + bytes([protection]) if protection else b"")
    message.sections[place].ParseFromString(raw)
    with pytest.raises(EnvelopeMalformed, match="protection"):
        CODEC.parse_body(message.SerializeToString())


REFERENCE = RecordReference("01990000-0000-7000-8000-000000000009", b"d" * 32)
BROKEN_REFERENCES = {
    "an empty one": RecordReference("", b""),
    "no digest": REFERENCE._replace(record_sha256=b""),
    "a short digest": REFERENCE._replace(record_sha256=b"d" * 31),
    "no id": REFERENCE._replace(record_id=""),
    "another form of the id": REFERENCE._replace(record_id=REFERENCE.record_id.replace("-", "")),
    "the id of an exchange's own record": REFERENCE._replace(record_id="01990000-0000-8000-8000-000000000009"),
    "itself": REFERENCE._replace(record_id=BODY.record_id),
}


@pytest.mark.parametrize("reference", list(BROKEN_REFERENCES.values()), ids=list(BROKEN_REFERENCES))
def test_a_supplement_that_names_no_other_record_of_an_agency_is_refused(reference: RecordReference) -> None:
    with pytest.raises(EnvelopeMalformed, match="supplements"):
        CODEC.parse_body(CODEC.encode_body(replace(BODY, supplements=reference)))


SIGNER = BODY.signers[0]


@pytest.mark.parametrize(
    ("body", "broken"),
    [
        (replace(BODY, system=""), "system"),
        (replace(BODY, system="a/b"), "system"),
        (replace(BODY, signers=()), "signers"),
        (replace(BODY, signers=(SIGNER, SIGNER)), "signers"),
        (replace(BODY, signers=(SIGNER._replace(certificate_sha256=b"short"),)), "signers"),
        (replace(BODY, signers=(SIGNER._replace(algorithm=""),)), "signers"),
        (replace(BODY, signers=tuple(NamedSigner(bytes([n]) * 32, "a") for n in range(17))), "signers"),
    ],
)
def test_a_body_with_a_broken_system_or_signer_is_refused(body: Body, broken: str) -> None:
    with pytest.raises(EnvelopeMalformed, match=broken):
        CODEC.parse_body(CODEC.encode_body(body))


def sections(count: int, **fields: Any) -> dict[str, Any]:
    plain = SectionDescriptor("s", "t", bytes(32), frozenset())
    return {"sections": tuple(plain._replace(name=f"s-{number}", **fields) for number in range(count))}


def wraps(count: int, places: tuple[int, ...]) -> dict[str, Any]:
    (wrap,) = SEALED.key_wraps
    every = tuple(wrap._replace(key_id=bytes([n]) * 32, sections=places) for n in range(count))
    return {"sections": SEALED.sections, "key_wraps": every}


def test_a_wrap_of_very_many_sections_is_refused_before_it_is_read() -> None:
    with pytest.raises(EnvelopeMalformed, match="wraps have more than 32"):
        CODEC.parse_body(CODEC.encode_body(replace(BODY, **wraps(1, (1,) * 33))))


def agencies(count: int) -> list[str]:
    return [f"agency-{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("most", "of", "broken"),
    [
        (64, lambda count: {"recipients": tuple(Recipient(name, 1) for name in agencies(count))}, "recipients"),
        (16, lambda count: {"signers": tuple(NamedSigner(bytes([n]) * 32, "a") for n in range(count))}, "signers"),
        (32, sections, "sections"),
        (64, lambda count: sections(1, audience=frozenset(agencies(count))), "audience"),
        (72, lambda count: wraps(count, (1,)), "key_wraps"),
        (200, lambda count: sections(1, type="t" * count), "type"),
        (200, lambda count: {"signers": (SIGNER._replace(algorithm="a" * count),)}, "algorithm"),
    ],
    ids=["recipients", "signers", "sections", "audience", "wraps", "length of a type", "length of an algorithm"],
)
def test_a_body_has_so_many_parts_and_names_of_such_a_length_and_no_more(
    most: int, of: Callable[[int], dict[str, Any]], broken: str
) -> None:
    whole = replace(BODY, **of(most))
    assert CODEC.parse_body(CODEC.encode_body(whole)) == whole
    with pytest.raises(EnvelopeMalformed, match=broken):
        CODEC.parse_body(CODEC.encode_body(replace(BODY, **of(most + 1))))


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_an_envelope_carries_body_and_sections_byte_for_byte(body: bytes, content: bytes) -> None:
    envelope = Envelope(BODY_TYPE, body, (Signature(b"c" * 32, b"s"),), (Section("request", content),))
    assert CODEC.decode_envelope(CODEC.encode_envelope(envelope)) == envelope


def test_an_envelope_that_came_as_bytes_is_written_as_one_that_was_made() -> None:
    made = Envelope(BODY_TYPE, b"body", (Signature(b"c" * 32, b"s"),), (Section("a", b"1" * 16), Section("b", b"")))
    came = CODEC.decode_envelope(CODEC.encode_envelope(made))
    assert came.serialised == CODEC.encode_envelope(made)
    for names in (frozenset({"a", "b"}), frozenset({"a"}), frozenset[str]()):
        assert CODEC.encode_envelope(came.with_sections(names)) == CODEC.encode_envelope(made.with_sections(names))
        copies = [envelope.with_sections(names) for envelope in (came, made)]
        deliveries = [WireDelivery(1 << 62, Position("dna", 0, 1), 1_790_000_000_123, 1, copy) for copy in copies]
        first, second = (deliveries_to([delivery]) for delivery in deliveries)
        assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
        entries = [BundleEntry(Position("dna", 0, 0), 0, "a-log", 0, copy) for copy in copies]
        frames = [CODEC.encode_frame(PartitionRecords((item,), None)) for item in entries]
        assert frames[0] == frames[1]
        assert frame_from(frames[0]) == PartitionRecords((entries[1],), None)


@pytest.mark.parametrize("place", ["envelope", "signature", "section"])
def test_a_field_that_this_version_does_not_know_is_not_passed_on(place: str) -> None:
    envelope = Envelope(BODY_TYPE, b"body", (Signature(b"c" * 32, b"s"),), (Section("a", b"1" * 16),))
    data = CODEC.encode_envelope(envelope)
    message = envelope_pb2.Envelope.FromString(data)
    part = {"envelope": message, "signature": message.signatures[0], "section": message.sections[0]}[place]
    part.MergeFromString(b"\xfa\x07\x0eunknown-canary")
    longer = message.SerializeToString()
    assert b"unknown-canary" in longer
    assert CODEC.encode_envelope(CODEC.decode_envelope(longer)) == data
    assert CODEC.encode_envelope(kept_from(message)) == data


def test_the_routing_of_a_body_is_what_the_body_says() -> None:
    routing = CODEC.read_routing(CODEC.encode_body(BODY))
    assert routing == Routing(BODY.record_id, BODY.kind, BODY.case_id, BODY.publisher, BODY.recipients, BODY.sections)
    with pytest.raises(EnvelopeMalformed):
        CODEC.read_routing(b"\xff")


def test_a_statement_says_what_it_was_given() -> None:
    position = Position("dna", 1, 42)
    statement = ReceiptStatement(BODY.record_id, bytes(32), position, "a-log", 7, 1_790_000_000_123, "shanxi-police")
    assert CODEC.parse_statement(CODEC.encode_statement(statement)) == statement
    message = receipt_pb2.ReceiptStatement.FromString(CODEC.encode_statement(statement))
    assert (message.position.stream, message.position.partition, message.position.offset) == position
    assert message.accepted_at.ToMilliseconds() == statement.accepted_at_ms
    assert (message.log_id, message.epoch) == ("a-log", 7)
    assert (message.record_id, message.publisher) == (BODY.record_id, "shanxi-police")


@pytest.mark.parametrize(
    "event",
    [
        DeadLetterMade(Position("dna", 1, 4), "samples", 3, "lab", "case", "LOG_CORRUPT", reign=2**62),
        RecordsParked(Position("dna", 1, 4), "samples", "lab", "case", (5, 6), 2**62),
        SetAsideEnded(Position("dna", 1, 4), "samples", "lab", (5, 6), 2**62),
        TakenOver(StreamPartition("dna", 1), "samples", "lab", 2**62),
    ],
)
def test_events_of_a_reign_come_back_as_they_were_and_old_ones_are_of_reign_0(
    event: DeadLetterMade | RecordsParked | SetAsideEnded | TakenOver,
) -> None:
    told = AuditEvent(1000, "", event)
    assert CODEC.decode_audit_events(CODEC.encode_audit_events([told])) == [told]
    old = audit_pb2.AuditEvents.FromString(CODEC.encode_audit_events([told]))
    which = old.events[0].WhichOneof("event")
    assert which is not None
    getattr(old.events[0], which).ClearField("reign")
    (read,) = CODEC.decode_audit_events(old.SerializeToString())
    assert read == replace(told, event=replace(event, reign=0))


def test_audit_events_keep_their_order_and_kind() -> None:
    events = (
        AuditEvent(
            1000, "spiffe://x/agency/a/b", DeliveryMade(Position("dna", 0, 1), "samples", 2, ("identity",), (3, 2))
        ),
        AuditEvent(1500, "spiffe://x/agency/a/b", DeliveryConfirmed(Position("dna", 0, 1), "samples", (3, 2))),
        AuditEvent(
            1600,
            "spiffe://x/agency/a/b",
            DeliveryRefused(Position("dna", 1, 4), "samples", "TIME_INVALID", (5,), "shanxi-police", "a"),
        ),
        AuditEvent(2000, "spiffe://x/agency/a/b", RefusalMade("RIGHT_DENIED", BODY.record_id, 1, (("a", 3), ("b", 1)))),
        AuditEvent(2500, "spiffe://x/agency/a/b", RefusalMade("RIGHT_DENIED", "", 1995)),
        AuditEvent(
            2600, "spiffe://x/agency/a/b", DeadLetterOrdered(Position("dna", 1, 4), "samples", "a", "c", "LATE")
        ),
        AuditEvent(
            2700, "", DeadLetterMade(Position("dna", 1, 4), "samples", 2, "a", "c", "", "shanxi-police", "LATE")
        ),
    )
    message = audit_pb2.AuditEvents.FromString(CODEC.encode_audit_events(events))
    kinds = ["delivery", "confirmation", "delivery_refused", "refusal", "refusal", "ordered", "dead_letter"]
    assert CODEC.decode_audit_events(message.SerializeToString()) == list(events)
    assert [event.WhichOneof("event") for event in message.events] == kinds
    assert list(message.events[0].delivery.more_offsets) == [3, 2]
    assert list(message.events[1].confirmation.more_offsets) == [3, 2]
    assert list(message.events[2].delivery_refused.more_offsets) == [5]
    assert message.events[2].delivery_refused.code == "TIME_INVALID"
    assert list(message.events[0].delivery.withheld_sections) == ["identity"]


@pytest.mark.parametrize("asked", [EARLIEST, StartPoint(latest=True), StartPoint(time_ms=1_790_000_000_123)])
@pytest.mark.parametrize("cause", list(Cause))
def test_the_orders_about_subscriptions_are_read_as_they_were_written(asked: StartPoint, cause: Cause) -> None:
    dna, cases = StreamPartition("dna", 3), StreamPartition("cases", 0)
    moved = (Moved(dna, 5, 9, 2), Moved(cases, 7, 0, 0))
    starts = (KindsStart(dna, ("SampleRequest", "StrProfile"), 9),)
    begun = SubscriptionBegun("samples", "lab", 4, cause, asked, ("Closure", "SampleRequest"), starts, moved)
    events = [
        AuditEvent(1000, "spiffe://x/agency/lab/b", begun),
        AuditEvent(2000, "spiffe://x/agency/lab/b", SubscriptionDeleted("samples", "lab", 4, moved, 3)),
    ]
    assert CODEC.decode_audit_events(CODEC.encode_audit_events(events)) == events
