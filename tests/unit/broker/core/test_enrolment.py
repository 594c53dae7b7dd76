"""Who may do what after an agency has joined with the rights of another one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.core.counterparts import rights_without_counterpart
from broker.core.enrolment import enrol, next_version, with_certificate
from broker.core.errors import EnrolmentRefused
from broker.core.policy import ANY, Agency, Directory, PublishRight
from certs.rights import (
    EXCHANGE,
    HEBEI,
    LAB,
    MAY_CORRECT,
    MINISTRY,
    NGO,
    PURPOSES,
    SHANXI,
    TRUST_DOMAIN,
    Member,
    members,
)

GANSU = "gansu-police"
CERTIFICATE = b"a certificate"


def listed(member: Member) -> Agency:
    former = f"a certificate of {member.agency}".encode()
    return Agency(member.agency, member.name, (former,), member.publish, member.receive, member.replay)


@pytest.fixture
def directory() -> Directory:
    """With the rights of the development exchange."""
    return Directory(
        version=1,
        trust_domain=TRUST_DOMAIN,
        issued_at_ms=1_800_000_000_000,
        expires_at_ms=1_831_536_000_000,
        exchange=EXCHANGE,
        signing_authorities=(),
        log_keys=(),
        purposes=PURPOSES,
        agencies={member.agency: listed(member) for member in members()},
        document=b"",
        may_correct=MAY_CORRECT,
    )


def joined(directory: Directory, like: str = SHANXI) -> Directory:
    return enrol(directory, GANSU, "Gansu police (sample)", CERTIFICATE, like=like)


def test_it_may_do_what_the_other_one_may(directory: Directory) -> None:
    member, model = joined(directory).agency(GANSU), directory.agency(SHANXI)
    assert (member.publish, member.receive) == (model.publish, model.receive)
    assert member.signing_certificates == (CERTIFICATE,)
    assert member.retired_certificates == ()


def test_the_others_treat_it_as_they_treat_the_other_one(directory: Directory) -> None:
    after = joined(directory)
    for agency in (HEBEI, LAB, MINISTRY, NGO):
        for kind, right in after.agency(agency).publish.items():
            assert (GANSU in right.recipients) is (SHANXI in right.recipients), (agency, kind)
        for kind, heard in after.agency(agency).receive.items():
            assert (GANSU in heard.publishers) is (SHANXI in heard.publishers), (agency, kind)
    assert after.may_correct["PublicNotice"] == {SHANXI, HEBEI, GANSU}
    assert MINISTRY in after.may_correct["CaseRecord"]
    assert GANSU not in after.may_correct["CaseRecord"]
    # So no right is without its counterpart.
    assert rights_without_counterpart(after) == rights_without_counterpart(directory)


def test_the_other_one_itself_and_every_section_right_stay(directory: Directory) -> None:
    after = joined(directory)
    assert after.agency(SHANXI) == directory.agency(SHANXI)
    for agency in directory.agencies:
        for kind, right in directory.agency(agency).receive.items():
            assert after.agency(agency).receive[kind].sections == right.sections


def test_where_the_other_one_names_itself_the_new_one_names_itself(directory: Directory) -> None:
    after = joined(directory, like=LAB)
    assert GANSU in after.agency(GANSU).publish["StrProfile"].recipients
    assert LAB not in after.agency(GANSU).publish["StrProfile"].recipients
    assert GANSU not in after.agency(LAB).publish["StrProfile"].recipients
    assert after.agency(GANSU).receive["StrProfile"].publishers == {GANSU}


def test_quotas_replays_and_everybody_are_taken_over(directory: Directory) -> None:
    model = replace(
        directory.agency(SHANXI),
        limits={"subscriptions": 7},
        publish={"Tip": PublishRight(frozenset({ANY}), frozenset({ANY}))},
    )
    after = joined(replace(directory, agencies={**directory.agencies, SHANXI: model}))
    assert after.agency(GANSU).limits == {"subscriptions": 7}
    assert after.agency(GANSU).publish["Tip"].recipients == {ANY}
    auditors = enrol(directory, "second-audit", "Sample", CERTIFICATE, like="national-audit")
    assert auditors.agency("second-audit").replay == directory.agency("national-audit").replay


def test_who_cannot_be_a_model_and_who_cannot_join_twice(directory: Directory) -> None:
    with pytest.raises(EnrolmentRefused, match="no agency nobody-police"):
        joined(directory, like="nobody-police")
    with pytest.raises(EnrolmentRefused, match="the exchange itself"):
        joined(directory, like=EXCHANGE)
    with pytest.raises(EnrolmentRefused, match="already"):
        joined(joined(directory))
    with pytest.raises(EnrolmentRefused, match="no agency gansu-police"):
        joined(directory, like=GANSU)


def test_a_renewed_certificate_is_listed_beside_the_former_one(directory: Directory) -> None:
    after = with_certificate(directory, SHANXI, CERTIFICATE)
    assert after.agency(SHANXI).signing_certificates == (*directory.agency(SHANXI).signing_certificates, CERTIFICATE)
    with pytest.raises(EnrolmentRefused, match="already"):
        with_certificate(after, SHANXI, CERTIFICATE)
    with pytest.raises(EnrolmentRefused, match="no agency gansu-police"):
        with_certificate(directory, GANSU, CERTIFICATE)


def test_the_next_version_lives_as_long_as_the_former_one_or_as_asked(directory: Directory) -> None:
    now_ms = directory.issued_at_ms + 5000
    after = next_version(directory, now_ms)
    assert (after.version, after.issued_at_ms) == (directory.version + 1, now_ms)
    assert after.expires_at_ms - now_ms == directory.expires_at_ms - directory.issued_at_ms
    assert next_version(directory, now_ms, 1000).expires_at_ms == now_ms + 1000
