"""Which directory version a record is judged by, and when two are accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import DirectoryVersionMissing, RightDenied, SignerUnknown
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS, SignerEnd, by_any, may_be_in_force, signer_end, versions_at
from broker.core.policy import RetiredCertificate
from broker.trust.certificates import der
from certs import profiles
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import RecordMaker

if TYPE_CHECKING:
    from broker.core.inforce import DirectoryVersion
    from broker.core.policy import Agency

NEAR = CHANGE_OF_DIRECTORY_MS
CHANGES = (100_000, 200_000, 300_000)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture(scope="module")
def versions(pki: SamplePki) -> list[DirectoryVersion]:
    return [
        pki.version(replace(pki.directory, version=number), in_force_from_ms=at_ms)
        for number, at_ms in enumerate(CHANGES, start=1)
    ]


@pytest.mark.parametrize(
    ("at_ms", "expected"),
    [
        pytest.param(1, [1], id="before all: the first that is known"),
        pytest.param(100_000 - NEAR - 1, [1], id="too long before the first"),
        pytest.param(100_000 - NEAR, [1], id="just before the first"),
        pytest.param(150_000, [1], id="between"),
        pytest.param(200_000 - NEAR - 1, [1], id="not yet near"),
        pytest.param(200_000 - NEAR, [1, 2], id="near, before"),
        pytest.param(199_999, [1, 2], id="at the last moment"),
        pytest.param(200_000, [2, 1], id="at the change"),
        pytest.param(200_000 + NEAR, [2, 1], id="near, after"),
        pytest.param(200_000 + NEAR + 1, [2], id="no longer near"),
        pytest.param(999_999, [3], id="after all"),
    ],
)
def test_around_a_change_either_version_will_do_the_likelier_first(
    versions: list[DirectoryVersion], at_ms: int, expected: list[int]
) -> None:
    assert [version.directory.version for version in versions_at(versions, at_ms)] == expected


@pytest.mark.parametrize(
    ("known", "at_ms", "expected"),
    [
        pytest.param((100_000,), 50_000, [1], id="one, too early"),
        pytest.param((100_000,), 100_000, [1], id="one"),
        pytest.param((100_000, 200_000), 200_000, [2, 1], id="two, near"),
        pytest.param((1, 2, 3, 4), 4, [4, 3], id="many at once: the one before, and no others"),
    ],
)
def test_however_many_versions_are_known_those_of_the_time_decide(
    pki: SamplePki, known: tuple[int, ...], at_ms: int, expected: list[int]
) -> None:
    listed = [
        pki.version(replace(pki.directory, version=number), in_force_from_ms=from_ms)
        for number, from_ms in enumerate(known, start=1)
    ]
    assert [version.directory.version for version in versions_at(listed, at_ms)] == expected


def test_a_version_may_be_in_force_from_its_issue_to_its_end(pki: SamplePki) -> None:
    directory = replace(pki.directory, issued_at_ms=1_000_000, expires_at_ms=2_000_000)
    times = (1_000_000 - NEAR - 1, 1_000_000 - NEAR, 2_000_000 + NEAR - 1, 2_000_000 + NEAR)
    assert [may_be_in_force(directory, at_ms) for at_ms in times] == [False, True, True, False]


def test_any_version_may_allow_and_the_likeliest_says_why_none_does(versions: list[DirectoryVersion]) -> None:
    def check(version: DirectoryVersion) -> int:
        if version.directory.version == 1:
            message = "not listed"
            raise SignerUnknown(message)
        if version.directory.version == 2:
            message = "no right"
            raise RightDenied(message)
        return version.directory.version

    assert by_any(versions, check) == 3
    with pytest.raises(SignerUnknown):
        by_any(versions[:2], check)
    with pytest.raises(RightDenied):
        by_any(versions[1::-1], check)
    with pytest.raises(DirectoryVersionMissing):
        by_any([], check)


def test_what_became_of_a_signer_is_what_the_newest_version_says_or_those_of_the_acceptance(pki: SamplePki) -> None:
    record = RecordMaker(pki, ManualClock(pki.now_ms)).make()
    listed = pki.keyring().signer(pki.signer().certificate_sha256)
    member = pki.directory.agencies[listed.agency]
    retired_ms = pki.now_ms + 5000
    retired = replace(
        member, signing_certificates=(), retired_certificates=(RetiredCertificate(der(listed.certificate), retired_ms),)
    )
    removed = replace(member, signing_certificates=(), retired_certificates=())

    def end(*members: Agency, of_ms: int = pki.now_ms) -> SignerEnd:
        found = [
            pki.version(
                replace(pki.directory, version=number, agencies={**pki.directory.agencies, listed.agency: each}),
                in_force_from_ms=pki.now_ms + (number - 1) * 10 * NEAR,
            )
            for number, each in enumerate(members, start=1)
        ]
        return signer_end(found, record, pki.now_ms, of_ms)

    at_its_end = SignerEnd(None, listed.ended_at_ms)
    assert end(member) == end(member, removed) == end(member, retired, removed) == at_its_end
    assert end(member, retired) == end(member, removed, retired) == SignerEnd(None, retired_ms)
    # What was so when the record was judged became nothing later. An unknown signer has no end.
    assert end(member, retired, of_ms=retired_ms) == SignerEnd()
    assert end(member, retired, of_ms=retired_ms - 1) == SignerEnd(None, retired_ms)
    assert end(removed) == SignerEnd()


def test_a_revocation_is_told_if_it_came_after_the_time_at_which_the_record_was_judged(pki: SamplePki) -> None:
    revoked = pki.revoked[profiles.SIGNING.authority]
    maker = RecordMaker(pki, ManualClock(pki.now_ms), "hebei-police")
    maker.composer._signer = revoked.signer
    record, version = maker.make(), pki.version(pki.directory_with("hebei-police", [revoked.der]))
    found = [signer_end([version], record, pki.now_ms, pki.now_ms + of_ms).revoked_at_ms for of_ms in (-1, 0)]
    assert found == [pki.now_ms, None]
