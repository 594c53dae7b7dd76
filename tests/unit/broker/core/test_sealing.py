"""Which wraps a record must have, and how contents are padded. No key is used here: the broker has none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.body import Body, KeyWrap, NamedSigner, Recipient, SectionDescriptor, check_body
from broker.core.encryptionkeys import EncryptionKey, wrapped_size
from broker.core.errors import (
    EncryptionKeyNotInForce,
    EnvelopeMalformed,
    KeyWrapsInvalid,
    SealingRequired,
    SealInvalid,
)
from broker.core.policy import ANY, Agency, Directory, PublishRight, ReceiveRight
from broker.core.sealing import check_sealing, pad, padded_size, section_context, unpad, wrap_info

if TYPE_CHECKING:
    from broker.core.errors import CaseExchangeError

POLICE, NGO, LAB, OTHER = "police", "ngo", "lab", "other"
EVERY = frozenset({ANY})
NOW = 1_790_000_000_000
SUITES = {NGO: "MLKEM768_X25519", LAB: "P256", POLICE: "MLKEM768_X25519", OTHER: "P256"}


def key(agency: str, use: str = "records", number: int = 0, **fields: Any) -> EncryptionKey:
    key_id = (f"{agency}/{use}/{number}".encode() + bytes(32))[:32]
    made = EncryptionKey(agency, key_id, SUITES[agency], use, b"", NOW - 1000, NOW + 1000, None, b"")
    return replace(made, **fields)


def agency(name: str, **fields: Any) -> Agency:
    keys = (key(name), key(name, number=1), key(name, "archive"))
    return replace(Agency(name, name, (), {}, {}, {}, encryption_keys=keys), **fields)


def directory(**fields: Any) -> Directory:
    agencies = {
        POLICE: agency(POLICE, publish={"CaseRecord": PublishRight(EVERY, EVERY, plain=frozenset({"notice"}))}),
        NGO: agency(NGO, receive={"CaseRecord": ReceiveRight(EVERY, frozenset({"case", "notice"}))}),
        LAB: agency(LAB, receive={"CaseRecord": ReceiveRight(EVERY, EVERY)}),
        OTHER: agency(OTHER),
    }
    return Directory(1, "case-exchange.example", 0, 1, "exchange", (), (), frozenset(), {**agencies, **fields}, b"")


def section(name: str, *audience: str, sealed: bool = True) -> SectionDescriptor:
    return SectionDescriptor(name, "T", bytes(32), frozenset(audience), b"c" * 32 if sealed else b"")


def wrap(agency: str, *sections: int, use: str = "records", number: int = 0) -> KeyWrap:
    size = wrapped_size(SUITES[agency], 32 * len(sections))
    return KeyWrap(agency, key(agency, use, number).key_id, sections, bytes(size))


SECTIONS = (section("case"), section("notice", sealed=False), section("identity"), section("sample", LAB))
WRAPS = (wrap(NGO, 0), wrap(LAB, 0, 2, 3), wrap(POLICE, 0, 2, 3, use="archive"))


def a_body(**fields: Any) -> Body:
    body = Body(
        record_id="01990000-0000-7000-8000-000000000001",
        kind="CaseRecord",
        stream="cases",
        case_id="01990000-0000-4000-8000-000000000002",
        publisher=POLICE,
        system="gateway",
        recipients=(Recipient(NGO, 1), Recipient(LAB, 1)),
        issued_at_ms=NOW,
        expires_at_ms=None,
        in_reply_to="",
        supersedes="",
        purpose="rescue",
        signers=(NamedSigner(bytes(32), "a"),),
        sections=SECTIONS,
        key_wraps=WRAPS,
    )
    return replace(body, **fields)


ALLOWED: dict[str, dict[str, Any]] = {
    "a wrap for each": {},
    "in another order": {"key_wraps": WRAPS[::-1]},
    "without an archive": {"key_wraps": WRAPS[:2]},
    "to the second of two keys": {"key_wraps": (wrap(NGO, 0, number=1), *WRAPS[1:])},
    "a recipient that may have nothing sealed needs no wrap": {
        "sections": (section("identity", LAB),),
        "key_wraps": (wrap(LAB, 0),),
    },
    "all of it plain": {"sections": (section("notice", sealed=False),), "key_wraps": ()},
    "sealed, though it might be plain": {"sections": (section("notice"),), "key_wraps": (wrap(NGO, 0), wrap(LAB, 0))},
}


@pytest.mark.parametrize("fields", ALLOWED.values(), ids=ALLOWED)
def test_a_record_that_is_sealed_for_those_who_may_have_it_passes(fields: dict[str, Any]) -> None:
    body = a_body(**fields)
    check_body(body)
    check_sealing(directory(), body, NOW + 1)


REFUSED: dict[str, tuple[type[CaseExchangeError], dict[str, Any]]] = {
    "plain, where sealed is required": (
        SealingRequired,
        {"sections": (section("case", sealed=False),), "key_wraps": ()},
    ),
    "one of them plain": (
        SealingRequired,
        {"sections": (section("case", sealed=False), *SECTIONS[1:]), "key_wraps": (wrap(LAB, 2, 3),)},
    ),
    "no wrap for a recipient": (KeyWrapsInvalid, {"key_wraps": WRAPS[1:]}),
    "no wrap at all": (KeyWrapsInvalid, {"key_wraps": ()}),
    "two for a recipient": (KeyWrapsInvalid, {"key_wraps": (*WRAPS, wrap(NGO, 0, number=1))}),
    "one for an agency that is no recipient": (KeyWrapsInvalid, {"key_wraps": (*WRAPS, wrap(OTHER, 0))}),
    "one for the publisher, which is no recipient": (KeyWrapsInvalid, {"key_wraps": (*WRAPS, wrap(POLICE, 0, 2, 3))}),
    "one for the archive of a recipient": (KeyWrapsInvalid, {"key_wraps": (*WRAPS, wrap(LAB, 0, 2, 3, use="archive"))}),
    "an archive with a part": (KeyWrapsInvalid, {"key_wraps": (*WRAPS[:2], wrap(POLICE, 0, 2, use="archive"))}),
    "a section more than the agency may have": (KeyWrapsInvalid, {"key_wraps": (wrap(NGO, 0, 2), *WRAPS[1:])}),
    "a section less": (KeyWrapsInvalid, {"key_wraps": (WRAPS[0], wrap(LAB, 0, 2), WRAPS[2])}),
    "another section": (KeyWrapsInvalid, {"key_wraps": (wrap(NGO, 2), *WRAPS[1:])}),
    "a byte less": (KeyWrapsInvalid, {"key_wraps": (WRAPS[0]._replace(wrapped_keys=b"w" * 1167), *WRAPS[1:])}),
    "the size of another suite": (
        KeyWrapsInvalid,
        {"key_wraps": (WRAPS[0]._replace(wrapped_keys=b"w" * 113), *WRAPS[1:])},
    ),
    "an unknown key": (EncryptionKeyNotInForce, {"key_wraps": (WRAPS[0]._replace(key_id=b"u" * 32), *WRAPS[1:])}),
    "another agency's key": (
        EncryptionKeyNotInForce,
        {"key_wraps": (WRAPS[0]._replace(key_id=WRAPS[1].key_id), *WRAPS[1:])},
    ),
    "an agency that is not in the directory": (
        EncryptionKeyNotInForce,
        {"key_wraps": (*WRAPS, WRAPS[0]._replace(agency="nobody"))},
    ),
    "two to one key": (KeyWrapsInvalid, {"key_wraps": (*WRAPS, WRAPS[0])}),
    "two to one archive": (KeyWrapsInvalid, {"key_wraps": (*WRAPS, WRAPS[2])}),
    "a place beyond the last": (KeyWrapsInvalid, {"key_wraps": (WRAPS[0]._replace(sections=(4,)), *WRAPS[1:])}),
    "a place twice": (KeyWrapsInvalid, {"key_wraps": (WRAPS[0]._replace(sections=(0, 0)), *WRAPS[1:])}),
    "places in another order": (KeyWrapsInvalid, {"key_wraps": (WRAPS[0], wrap(LAB, 2, 0, 3), WRAPS[2])}),
    "the key of a plain section": (KeyWrapsInvalid, {"key_wraps": (wrap(NGO, 0, 1), *WRAPS[1:])}),
    "a wrap where nothing is sealed": (
        KeyWrapsInvalid,
        {"sections": (section("notice", sealed=False),), "key_wraps": (wrap(NGO, 0),)},
    ),
    "an archive where nothing is sealed": (
        KeyWrapsInvalid,
        {"sections": (section("notice", sealed=False),), "key_wraps": (wrap(POLICE, 0, use="archive"),)},
    ),
    "issued before the key was in force": (EncryptionKeyNotInForce, {"issued_at_ms": NOW - 1001}),
    "issued when the key had expired": (EncryptionKeyNotInForce, {"issued_at_ms": NOW + 1000}),
}


@pytest.mark.parametrize(("error", "fields"), REFUSED.values(), ids=REFUSED)
def test_every_other_record_is_refused(error: type[CaseExchangeError], fields: dict[str, Any]) -> None:
    body = a_body(**fields)
    check_body(body)
    with pytest.raises(error) as refused:
        check_sealing(directory(), body, NOW + 1)
    assert refused.value.details["record_id"] == body.record_id
    assert type(refused.value) is error


def test_a_key_that_its_agency_retired_counts_for_what_was_issued_before() -> None:
    retired = agency(NGO, receive={"CaseRecord": ReceiveRight(EVERY, frozenset({"case"}))})
    retired = replace(retired, encryption_keys=(key(NGO, retired_at_ms=NOW + 1),))
    check_sealing(directory(ngo=retired), a_body(), NOW + 1)
    with pytest.raises(EncryptionKeyNotInForce):
        check_sealing(directory(ngo=retired), a_body(issued_at_ms=NOW + 1), NOW + 1)


MALFORMED: dict[str, dict[str, Any]] = {
    "a commitment of another size": {"sections": (SECTIONS[0]._replace(key_commitment=b"c" * 31), *SECTIONS[1:])},
    "no key id": {"key_wraps": (WRAPS[0]._replace(key_id=b""), *WRAPS[1:])},
    "a long key id": {"key_wraps": (WRAPS[0]._replace(key_id=bytes(33)), *WRAPS[1:])},
    "a wrap of nothing": {"key_wraps": (WRAPS[0]._replace(sections=()), *WRAPS[1:])},
    "a wrap for no agency": {"key_wraps": (WRAPS[0]._replace(agency=""), *WRAPS[1:])},
    "a wrap for a text": {"key_wraps": (WRAPS[0]._replace(agency="\x1b[2JWang (synthetic) " * 9000), *WRAPS[1:])},
    "a wrap of more sections than there may be": {"key_wraps": (WRAPS[0]._replace(sections=(0,) * 33), *WRAPS[1:])},
    "a wrap that is larger than any": {"key_wraps": (WRAPS[0]._replace(wrapped_keys=bytes(2161)), *WRAPS[1:])},
    "too many wraps": {"key_wraps": tuple(WRAPS[0]._replace(key_id=bytes([n]) * 32) for n in range(73))},
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_body_with_a_broken_commitment_or_very_many_wraps_is_malformed(fields: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeMalformed) as refused:
        check_body(a_body(**fields))
    assert len(str(refused.value)) < 200
    assert "synthetic" not in str(refused.value)


OTHER_NAMES = ("publisher", "record_id", "stream", "kind")


@pytest.mark.parametrize("field", OTHER_NAMES)
def test_a_section_and_a_wrap_are_bound_to_their_record(field: str) -> None:
    body = a_body()
    other = replace(body, **{field: getattr(body, field) + "x"})
    assert section_context("d", body, SECTIONS[0]) != section_context("d", other, SECTIONS[0])
    assert wrap_info("d", body, WRAPS[0]) != wrap_info("d", other, WRAPS[0])


def test_a_section_is_bound_to_its_exchange_name_and_type_and_a_wrap_to_its_key_and_content_keys() -> None:
    body, first = a_body(), SECTIONS[0]
    names = (first, first._replace(name="casex"), first._replace(type="Tx"), first._replace(name="caseT", type=""))
    contexts = {section_context(domain, body, each) for domain in ("d", "dd") for each in names}
    assert len(contexts) == 8
    committed = replace(body, sections=(first._replace(key_commitment=b"d" * 32), *SECTIONS[1:]))
    wraps = (
        WRAPS[0],
        WRAPS[0]._replace(agency=LAB),
        WRAPS[0]._replace(key_id=b"k" * 32),
        WRAPS[0]._replace(sections=(2,)),
    )
    infos = {wrap_info(domain, one, each) for domain in ("d", "dd") for one in (body, committed) for each in wraps}
    assert len(infos) == 14  # another content key of a section that is not inside changes nothing


@given(st.binary(max_size=2000))
def test_what_is_padded_comes_back(content: bytes) -> None:
    padded = pad(content)
    assert unpad(padded) == content
    assert len(padded) == padded_size(len(content)) >= 256


@given(st.integers(0, 1 << 32))
def test_a_bucket_holds_its_content_and_adds_little(size: int) -> None:
    bucket = padded_size(size)
    assert bucket >= size + 4
    assert bucket == 256 or bucket <= (size + 4) * 1.0626
    # A content that fills the bucket has the same: so buckets are fixed points.
    assert padded_size(bucket - 4) == bucket


def test_a_record_of_any_size_falls_into_few_buckets() -> None:
    buckets = [padded_size(0)]
    while buckets[-1] < 4 << 20:
        # The next bucket begins with the first content that does not fit.
        buckets.append(padded_size(buckets[-1] - 4 + 1))
    assert len(buckets) == 321


@given(st.binary(max_size=600))
def test_what_is_not_padded_so_is_no_content(data: bytes) -> None:
    try:
        assert pad(unpad(data)) == data
    except SealInvalid:
        assert len(data) != padded_size(int.from_bytes(data[:4])) or any(data[4 + int.from_bytes(data[:4]) :])


@pytest.mark.parametrize(
    "broken", [b"", b"\0\0\0", bytes(255), bytes(257), bytes(255) + b"\1", b"\0\0\1\0" + bytes(252)]
)
def test_a_padding_that_was_changed_is_refused(broken: bytes) -> None:
    with pytest.raises(SealInvalid):
        unpad(broken)
