"""What governance is shown before it signs: what differs, and what it may not have meant."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.enrolment import enrol, with_certificate
from broker.core.errors import DirectoryInvalid
from broker.core.policy import ReplayRight, RetiredCertificate
from broker.trust.certificates import fingerprint
from broker.trust.directory_diff import differences, payload_differences
from broker.trust.directory_lint import lint
from broker.trust.requests import key_sha256
from certs.rights import HEBEI, SHANXI
from tests.support.pki import milliseconds

if TYPE_CHECKING:
    from tests.support.pki import SamplePki

GANSU = "gansu-police"


def shown(pki: SamplePki, **changes: object) -> list[str]:
    changed = replace(pki.directory, **changes)  # type: ignore[arg-type] # the fields of a directory
    return [f"{one.sign} {one.path}: {one.value}" for one in differences(pki.directory, changed)]


def test_the_same_directory_differs_in_nothing(pki: SamplePki) -> None:
    assert shown(pki) == []


def test_what_an_enrolment_changes_is_shown_and_nothing_else(pki: SamplePki) -> None:
    new = pki.credential(agency=GANSU)
    after = enrol(pki.directory, GANSU, "Gansu police (sample)", new.der, like=SHANXI)
    found = differences(pki.directory, after)
    assert {one.sign for one in found} == {"+"}
    (listed,) = [one.value for one in found if one.path == f"agencies.{GANSU}.signing_certificates"]
    assert key_sha256(new.key.public_key()) in listed
    assert fingerprint(new.certificate).hex() in listed
    lines = {f"{one.path}: {one.value}" for one in found}
    assert f"agencies.{GANSU}.name: Gansu police (sample)" in lines
    assert f"agencies.{GANSU}.publish.CaseRecord.recipients: {HEBEI}" in lines
    assert f"agencies.{HEBEI}.receive.CaseRecord.publishers: {GANSU}" in lines
    assert f"may_correct.PublicNotice: {GANSU}" in lines
    assert not [line for line in lines if line.startswith(f"agencies.{SHANXI}.")]


def test_a_right_that_is_taken_and_a_certificate_that_is_retired_are_shown(pki: SamplePki) -> None:
    before = pki.directory.agency(SHANXI)
    (certificate,) = before.signing_certificates
    retired = (RetiredCertificate(certificate, pki.now_ms),)
    member = replace(before, publish={}, signing_certificates=(), retired_certificates=retired)
    lines = shown(
        pki, agencies={**pki.directory.agencies, SHANXI: member}, version=2, purposes=frozenset({"correction"})
    )
    assert f"- agencies.{SHANXI}.publish.CaseRecord.sections: *" in lines
    assert [line[:45] for line in lines if "retired_certificates" in line] == [
        f"+ agencies.{SHANXI}.retired_certificates"[:45]
    ]
    assert {"- version: 1", "+ version: 2", "- purposes: child-rescue"} <= set(lines)


def test_the_order_of_what_is_listed_is_no_difference(pki: SamplePki) -> None:
    agencies = dict(reversed(list(pki.directory.agencies.items())))
    assert shown(pki, agencies=agencies) == []


def test_a_right_to_nothing_but_digests_is_shown(pki: SamplePki) -> None:
    before = pki.directory.agency(SHANXI)
    member = replace(before, replay={**before.replay, "cases": ReplayRight(frozenset())})
    without = replace(before, replay={})
    one, other = (
        replace(pki.directory, agencies={**pki.directory.agencies, SHANXI: each}) for each in (without, member)
    )
    lines = {f"{found.sign} {found.path}: {found.value}" for found in differences(one, other)}
    assert f"+ agencies.{SHANXI}.replay.cases.sections: none: signatures and digests only" in lines


@pytest.mark.parametrize(
    ("first", "second", "lines"),
    [
        ({}, {"a": []}, ["+ a: (nothing)"]),
        ({"a": {}}, {}, ["- a: (nothing)"]),
        ({"a": ["x"]}, {"a": ["x", "x"]}, ["+ a: x"]),
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}, ["+ a: (the same in another order)"]),
        (
            {"a": {"sections": ["x"]}},
            {"a": {"sections": []}},
            ["- a.sections: x", "+ a.sections: none: signatures and digests only"],
        ),
        ({"a": "x"}, {"a": ["x"]}, ["- a: x", "+ a: x"]),
        ({"a": 1}, {"a": True}, ["- a: 1", "+ a: True"]),
    ],
)
def test_what_is_empty_or_twice_there_is_shown(first: object, second: object, lines: list[str]) -> None:
    assert [f"{one.sign} {one.path}: {one.value}" for one in payload_differences(first, second)] == lines


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "sections"]), inner, max_size=2),
    max_leaves=8,
)


@given(first=_JSON, second=_JSON)
def test_payloads_that_differ_have_a_difference(first: object, second: object) -> None:
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (payload_differences(first, second) == []) == same


def test_nothing_is_found_in_a_directory_as_it_should_be(pki: SamplePki) -> None:
    assert lint(pki.directory, pki.now_ms) == []


def test_a_directory_that_nobody_could_use_is_refused(pki: SamplePki) -> None:
    with pytest.raises(DirectoryInvalid, match="already expired"):
        lint(pki.directory, pki.directory.expires_at_ms)


def test_certificates_that_end_soon_or_cannot_be_used_are_named(pki: SamplePki) -> None:
    life = timedelta(days=2 * 365)
    old = pki.credential(issued=pki.now - life * 2 / 3, lifetime=life)
    found = lint(pki.directory_with(SHANXI, [old.der]), pki.now_ms)
    assert [line.partition(" ends at ")[0] for line in found] == [f"a signing certificate of {SHANXI}"]
    young = pki.credential(issued=pki.now - life * 2 / 3 + timedelta(days=1), lifetime=life)
    assert lint(pki.directory_with(SHANXI, [young.der]), pki.now_ms) == []
    for wrong, text in ((pki.expired(), "leave it out"), (pki.of_another_authority(), "cannot be used")):
        first, second = lint(pki.directory_with(SHANXI, [wrong.der]), pki.now_ms)
        assert text in first
        assert second == f"{SHANXI} signs records, and has no signing certificate that is good now"
    # With another one that is good, only the bad one is named.
    assert len(lint(pki.directory_with(SHANXI, [pki.expired().der, pki.credential().der]), pki.now_ms)) == 1


def test_one_key_of_two_agencies_is_named(pki: SamplePki) -> None:
    key = pki.credential().key
    both = with_certificate(pki.directory, SHANXI, pki.credential(key=key).der)
    both = with_certificate(both, HEBEI, pki.credential(agency=HEBEI, key=key).der)
    assert lint(both, pki.now_ms) == [f"one key has 2 certificates in use, of {HEBEI}, {SHANXI}"]


def test_an_authority_that_ends_soon_is_named(pki: SamplePki) -> None:
    late = milliseconds(pki.authority("signing").certificate.not_valid_after_utc - timedelta(days=3 * 365))
    directory = replace(pki.directory, issued_at_ms=late - 1000, expires_at_ms=late + 365 * 24 * 3_600_000)
    assert any(
        "the authority CN=case-exchange development signing authority ends at" in one for one in lint(directory, late)
    )
