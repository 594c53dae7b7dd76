"""The rights of a small directory: one publisher, one recipient with part of the sections, one that may have all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.body import Body, NamedSigner, Recipient, SectionDescriptor
from broker.core.counterparts import rights_without_counterpart
from broker.core.errors import PeerUnknown, RightDenied
from broker.core.policy import (
    ANY,
    Agency,
    Directory,
    PublishRight,
    ReceiveRight,
    ReplayRight,
    check_publish,
    check_receive,
    replay_sections,
    visible_sections,
)

if TYPE_CHECKING:
    from collections.abc import Callable

POLICE, NGO, LAB, AUDIT = "police", "ngo", "lab", "audit"
RECORD_ID = "01990000-0000-7000-8000-000000000001"
CASE_ONLY = frozenset({"case"})
EVERY = frozenset({ANY})


def agency(name: str, **rights: object) -> Agency:
    blank = Agency(name, name, (), {}, {}, {})
    return replace(blank, **rights)  # type: ignore[arg-type]


DIRECTORY = Directory(
    version=1,
    trust_domain="case-exchange.example",
    issued_at_ms=0,
    expires_at_ms=1,
    exchange="exchange",
    signing_authorities=(),
    log_keys=(),
    purposes=frozenset({"rescue", "matching"}),
    agencies={
        POLICE: agency(
            POLICE,
            publish={
                "CaseRecord": PublishRight(frozenset({NGO, LAB}), frozenset({"case", "identity"})),
                "Closure": PublishRight(EVERY, EVERY),
            },
        ),
        NGO: agency(NGO, receive={"CaseRecord": ReceiveRight(frozenset({POLICE}), CASE_ONLY)}),
        LAB: agency(
            LAB,
            receive={
                "CaseRecord": ReceiveRight(EVERY, EVERY),
                "Closure": ReceiveRight(frozenset({NGO}), EVERY),
            },
        ),
        AUDIT: agency(AUDIT, replay={"cases": ReplayRight(CASE_ONLY)}),
    },
    document=b"",
)


def section(name: str, *audience: str) -> SectionDescriptor:
    return SectionDescriptor(name, "T", bytes(32), frozenset(audience))


def a_body(**fields: object) -> Body:
    body = Body(
        record_id=RECORD_ID,
        kind="CaseRecord",
        stream="cases",
        case_id="01990000-0000-4000-8000-000000000002",
        publisher=POLICE,
        system="gateway",
        recipients=(Recipient(NGO, 1), Recipient(LAB, 1)),
        issued_at_ms=0,
        expires_at_ms=None,
        in_reply_to="",
        supersedes="",
        purpose="rescue",
        signers=(NamedSigner(bytes(32), ""),),
        sections=(section("case"), section("identity", LAB)),
    )
    return replace(body, **fields)  # type: ignore[arg-type]


def test_what_the_directory_grants_may_be_published() -> None:
    check_publish(DIRECTORY, a_body())
    check_publish(DIRECTORY, a_body(sections=(section("case", NGO, LAB),)))


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        pytest.param({"kind": "Tip"}, {}, id="the kind"),
        pytest.param({"publisher": NGO}, {}, id="a publisher without rights"),
        pytest.param({"purpose": "curiosity"}, {}, id="the purpose"),
        pytest.param({"recipients": (), "sections": ()}, {}, id="no recipient"),
        pytest.param({"recipients": (Recipient(NGO, 1), Recipient(POLICE, 1))}, {}, id="a recipient not granted"),
        pytest.param({"kind": "Closure", "recipients": (Recipient(NGO, 1),)}, {}, id="a recipient without the kind"),
        pytest.param({"kind": "Closure", "recipients": (Recipient(LAB, 1),)}, {}, id="a kind of other publishers"),
        pytest.param({"sections": (section("case"), section("photo"))}, {"section": "photo"}, id="a section"),
        pytest.param(
            {"sections": (section("case", NGO, AUDIT),)}, {"section": "case"}, id="an audience beyond the recipients"
        ),
    ],
)
def test_what_is_not_granted_is_denied_and_named(fields: dict[str, object], details: dict[str, str]) -> None:
    with pytest.raises(RightDenied) as caught:
        check_publish(DIRECTORY, a_body(**fields))
    assert caught.value.details == {"record_id": RECORD_ID, **details}


@pytest.mark.parametrize(
    ("fields", "agency"),
    [
        pytest.param({"publisher": "nobody"}, "nobody", id="the publisher"),
        pytest.param({"kind": "Closure", "recipients": (Recipient("nobody", 1),)}, "nobody", id="a recipient"),
    ],
)
def test_an_agency_that_is_not_listed_is_named(fields: dict[str, object], agency: str) -> None:
    with pytest.raises(PeerUnknown) as caught:
        check_publish(DIRECTORY, a_body(**fields))
    assert caught.value.details == {"agency": agency}


def test_an_agency_has_the_sections_that_are_granted_to_it_and_meant_for_it() -> None:
    body = a_body(sections=(section("case"), section("identity"), section("photo", LAB)))
    assert visible_sections(DIRECTORY, NGO, body) == CASE_ONLY
    assert visible_sections(DIRECTORY, LAB, body) == frozenset({"case", "identity", "photo"})
    assert visible_sections(DIRECTORY, LAB, a_body(sections=(section("case", NGO),))) == frozenset()


@pytest.mark.parametrize(
    ("agency", "fields"),
    [
        pytest.param(LAB, {"recipients": (Recipient(NGO, 1),)}, id="not addressed"),
        pytest.param(NGO, {"kind": "Closure"}, id="without the right to the kind"),
        pytest.param(LAB, {"kind": "Closure"}, id="without the right to this publisher's"),
    ],
)
def test_a_record_that_an_agency_may_not_have_is_not_for_it(agency: str, fields: dict[str, object]) -> None:
    assert visible_sections(DIRECTORY, agency, a_body(**fields)) is None


def test_an_agency_may_subscribe_to_the_kinds_that_it_may_receive() -> None:
    check_receive(DIRECTORY, LAB, frozenset({"CaseRecord", "Closure"}))
    with pytest.raises(RightDenied) as caught:
        check_receive(DIRECTORY, NGO, frozenset({"Tip", "CaseRecord", "Closure"}))
    assert caught.value.details == {"agency": NGO, "kind": "Closure"}


def test_a_stream_is_replayed_by_who_may_and_with_the_sections_granted() -> None:
    assert replay_sections(DIRECTORY, AUDIT, "cases") == CASE_ONLY
    with pytest.raises(RightDenied) as caught:
        replay_sections(DIRECTORY, AUDIT, "dna")
    assert caught.value.details == {"agency": AUDIT, "stream": "dna"}


@pytest.mark.parametrize(
    "ask",
    [
        lambda: visible_sections(DIRECTORY, "nobody", a_body(recipients=(Recipient("nobody", 1),))),
        lambda: check_receive(DIRECTORY, "nobody", frozenset({"CaseRecord"})),
        lambda: replay_sections(DIRECTORY, "nobody", "cases"),
    ],
    ids=["sections", "subscribe", "replay"],
)
def test_nobody_may_do_anything_who_is_not_listed(ask: Callable[[], object]) -> None:
    with pytest.raises(PeerUnknown):
        ask()


def test_rights_that_meet_nobodys_are_named() -> None:
    assert rights_without_counterpart(DIRECTORY) == [
        "police may publish Closure to everybody, but nobody may receive it from police",
        "lab may receive Closure from ngo, but ngo may not publish it to lab",
    ]
    rights = dict(DIRECTORY.agencies[LAB].receive) | {"Closure": ReceiveRight(EVERY, EVERY)}
    heard = replace(DIRECTORY.agencies[LAB], receive=rights)
    assert rights_without_counterpart(replace(DIRECTORY, agencies={**DIRECTORY.agencies, LAB: heard})) == []


@pytest.mark.parametrize(
    ("life_days", "left_days", "soon"), [(365, 31, False), (365, 29, True), (9, 4, False), (9, 2, True), (9, -1, True)]
)
def test_a_directory_expires_soon_in_its_last_month_or_third(life_days: int, left_days: int, soon: bool) -> None:  # noqa: FBT001
    day_ms = 24 * 3_600_000
    directory = replace(DIRECTORY, issued_at_ms=0, expires_at_ms=life_days * day_ms)
    assert directory.expires_soon((life_days - left_days) * day_ms) is soon
