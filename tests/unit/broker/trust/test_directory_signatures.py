"""What a directory may say of signatures and algorithms, and what is refused or warned about."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker.core.algorithms import MAX_PRINCIPALS, SignatureRule
from broker.core.envelope import ECDSA_P256_SHA256, ML_DSA_65
from broker.core.errors import DirectoryInvalid
from broker.trust.directory import PinnedDirectory, open_directory, sign_directory
from broker.trust.directory_diff import differences
from broker.trust.directory_lint import lint
from broker.trust.directory_payload import directory_payload, parse_payload
from tests.support.pki import ManualClock
from tests.support.signers import BOTH, CHIEF, KIND, TWO_PEOPLE, desk, listing, mldsa_signer

if TYPE_CHECKING:
    from tests.support.pki import SamplePki

RULE = {"algorithms": [ECDSA_P256_SHA256, ML_DSA_65], "principals": 2}
NOON = "2036-01-01T12:00:00Z"


def changed(pki: SamplePki, **fields: Any) -> bytes:
    return json.dumps({**json.loads(directory_payload(pki.directory)), **fields}).encode()


def test_rules_and_ends_read_back_as_they_were_written(pki: SamplePki) -> None:
    former = SignatureRule((ECDSA_P256_SHA256,), 2, 1_900_000_000_000, SignatureRule(principals=3))
    rules = {
        KIND: TWO_PEOPLE,
        "Tip": SignatureRule((ML_DSA_65,), 1, 2_000_000_000_000),
        "Closure": TWO_PEOPLE._replace(from_ms=2_000_000_000_000, before=former),
    }
    directory = replace(desk(pki).directory, signatures=rules, ended_algorithms={ECDSA_P256_SHA256: 2_082_801_600_000})
    opened = open_directory(pki.sign(directory), pki.governance)
    assert opened == replace(directory, document=opened.document)


def test_the_forms_of_rules_and_ends(pki: SamplePki) -> None:
    directory = parse_payload(
        changed(
            pki,
            signatures={KIND: {**RULE, "from": NOON, "before": RULE}},
            algorithms={"ml-dsa-65": {"not_after": NOON}},
        ),
        b"",
    )
    assert directory.signatures == {KIND: SignatureRule(BOTH, 2, 2_082_801_600_000, TWO_PEOPLE)}
    assert directory.ended_algorithms == {ML_DSA_65: 2_082_801_600_000}


@pytest.mark.parametrize(
    "fields",
    [
        {"signatures": {"Gossip": RULE}},
        {"signatures": {"AuditEvents": RULE}},
        {"signatures": {"*": RULE}},
        {"signatures": {KIND: {"algorithms": list(BOTH)}}},
        {"signatures": {KIND: {**RULE, "more": 1}}},
        {"signatures": {KIND: {**RULE, "algorithms": []}}},
        {"signatures": {KIND: {**RULE, "algorithms": ["ed25519"]}}},
        {"signatures": {KIND: {**RULE, "algorithms": ["ml-dsa-44"]}}},
        {"signatures": {KIND: {**RULE, "algorithms": [ML_DSA_65, ML_DSA_65]}}},
        {"signatures": {KIND: {**RULE, "principals": 0}}},
        {"signatures": {KIND: {**RULE, "principals": MAX_PRINCIPALS + 1}}},
        {"signatures": {KIND: {**RULE, "principals": True}}},
        {"signatures": {KIND: {**RULE, "from": "tomorrow", "before": None}}},
        # Who forgets the rule that is in force would end it.
        {"signatures": {KIND: {**RULE, "from": NOON}}},
        {"signatures": {KIND: {**RULE, "before": RULE}}},
        {"signatures": {KIND: {**RULE, "from": NOON, "before": {**RULE, "from": NOON, "before": None}}}},
        {"signatures": [KIND]},
        {"algorithms": {"ed25519": {"not_after": NOON}}},
        {"algorithms": {"rsa": {"not_after": NOON}}},
        {"algorithms": {ML_DSA_65: NOON}},
        {"algorithms": {ML_DSA_65: {"not_after": NOON, "more": 1}}},
        {"algorithms": {ML_DSA_65: {"not_after": "never"}}},
        # Nobody could ever follow this.
        {
            "signatures": {KIND: {"algorithms": [ML_DSA_65], "principals": 1}},
            "algorithms": {ML_DSA_65: {"not_after": "2020-01-01T00:00:00Z"}},
        },
        {
            "signatures": {
                KIND: {"algorithms": [ML_DSA_65], "principals": 1, "from": "2037-01-01T00:00:00Z", "before": None}
            },
            "algorithms": {ML_DSA_65: {"not_after": NOON}},
        },
    ],
    ids=json.dumps,
)
def test_what_this_version_would_not_apply_is_refused(pki: SamplePki, fields: dict[str, Any]) -> None:
    with pytest.raises(DirectoryInvalid):
        sign_directory(changed(pki, **fields), pki.governance_key)


@pytest.mark.parametrize("empty", [[], {}, "", None])
def test_an_empty_rule_book_of_an_earlier_version_is_still_read(pki: SamplePki, empty: Any) -> None:
    assert parse_payload(changed(pki, signatures=empty), b"").signatures == {}


def test_an_older_directory_cannot_take_a_rule_away(pki: SamplePki) -> None:
    demanding = replace(desk(pki).directory, version=2)
    pinned = PinnedDirectory(pki.sign(demanding), pki.governance, ManualClock(pki.now_ms))
    with pytest.raises(DirectoryInvalid, match="older than one already seen"):
        pinned.offer(pki.sign(replace(pki.directory, version=1)))
    with pytest.raises(DirectoryInvalid, match="other bytes"):
        pinned.offer(pki.sign(replace(demanding, signatures={})))
    assert pinned.current().signatures == {KIND: TWO_PEOPLE}


def test_a_diff_shows_a_rule_that_goes_and_the_key_of_an_ml_dsa_65_certificate(pki: SamplePki) -> None:
    made = desk(pki)
    text = {(one.path, one.sign): one.value for one in differences(pki.directory, made.directory)}
    assert text[f"signatures.{KIND}.principals", "+"] == "2"
    shown = [one.value for one in differences(pki.directory, made.directory) if "signing_certificates" in one.path]
    assert len(shown) == 3
    assert all(value.startswith("certificate ") and "key " in value for value in shown)


def test_lint_names_who_cannot_follow_a_rule(pki: SamplePki) -> None:
    made = desk(pki)
    agencies = {name for name, agency in made.directory.agencies.items() if KIND in agency.publish}
    warned = [text for text in lint(made.directory, pki.now_ms) if KIND in text and "principals" in text]
    others = agencies - {"hebei-police"}
    assert others
    assert {name for name in agencies if any(name in text for text in warned)} == others
    more = mldsa_signer(pki, "shanxi-police", CHIEF)
    one_more = listing(made.directory, "shanxi-police", more)
    assert any("shanxi-police" in text for text in lint(one_more, pki.now_ms) if KIND in text)


def test_lint_names_the_kinds_that_end_with_an_algorithm(pki: SamplePki) -> None:
    made = desk(pki)
    end_ms = 2_082_801_600_000
    rules = {
        "Tip": SignatureRule(),
        KIND: SignatureRule((ML_DSA_65,), 1, end_ms + 1, SignatureRule()),
        "Closure": SignatureRule(BOTH),
    }
    directory = replace(made.directory, signatures=rules, ended_algorithms={ECDSA_P256_SHA256: end_ms})
    found = lint(directory, pki.now_ms)
    nobody = [text.split(" from ")[0] for text in found if text.startswith("nobody can publish")]
    assert nobody == [f"nobody can publish a {kind}" for kind in (KIND, "Tip")]
    # Without a rule, an agency can go on with another certificate only.
    without = {text.split()[0] for text in found if "can publish no" in text}
    assert without == {
        name
        for name, each in directory.agencies.items()
        if each.publish.keys() - rules.keys() and name != "hebei-police"
    }
    assert not [text for text in lint(made.directory, pki.now_ms) if "can publish no" in text or "nobody" in text]
