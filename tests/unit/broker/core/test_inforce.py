"""Which directory version a record is judged by, and when two are accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import DirectoryVersionMissing, RightDenied, SignerUnknown
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS, by_any, may_be_in_force, versions_at
from tests.support.pki import SamplePki

if TYPE_CHECKING:
    from broker.core.inforce import DirectoryVersion

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
