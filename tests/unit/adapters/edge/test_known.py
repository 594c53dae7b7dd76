"""Governance alone cannot make an edge seal to a key of its own, and a new right to publish plain is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from adapters.edge.known import WAIT_MS, KnownAgencies
from broker.core.encryptionkeys import P256, RECORDS, EncryptionKey
from broker.core.policy import ANY, PublishRight, keys_in_force
from broker.trust.directory import open_directory
from broker.trust.hpke import PrivateEncryptionKey
from broker.trust.keystatements import state_key
from certs.rights import HEBEI, SHANXI, TRUST_DOMAIN
from tests.support.pki import ManualClock, SamplePki

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.policy import Directory
    from broker.ports import Signer


class Seen:
    """What an edge knows, while governance signs versions."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self.pki, self.folder, self.clock = pki, folder, ManualClock(pki.now_ms)
        self.known = self.restart()

    def restart(self) -> KnownAgencies:
        self.known = KnownAgencies(self.folder / "agencies.json", self.clock)
        return self.known

    def key(self, signer: Signer) -> EncryptionKey:
        """A key of Shanxi that is newer than the one in the sample directory."""
        now_ms = self.pki.now_ms
        key = PrivateEncryptionKey.generate(P256).stated_as(SHANXI, RECORDS, now_ms + 1, now_ms + 30 * 86_400_000)
        return state_key(key, TRUST_DOMAIN, now_ms, signer)

    def version(self, number: int, *keys: EncryptionKey, certificates: tuple[bytes, ...] = ()) -> Directory:
        """A version that governance signed, with more keys and certificates of Shanxi."""
        police = self.pki.directory.agency(SHANXI)
        changed = replace(
            police,
            encryption_keys=(*police.encryption_keys, *keys),
            signing_certificates=(*police.signing_certificates, *certificates),
        )
        agencies = {**self.pki.directory.agencies, SHANXI: changed}
        document = self.pki.sign(replace(self.pki.directory, version=number, agencies=agencies))
        return open_directory(document, self.pki.governance)

    def sealed_to(self, directory: Directory) -> bytes:
        """The key to which this edge seals for Shanxi."""
        usable = self.known.usable(directory)
        return keys_in_force(usable.agency(SHANXI), self.pki.now_ms + 2)[0].key_id


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def seen(pki: SamplePki, tmp_path: Path) -> Seen:
    return Seen(pki, tmp_path)


def test_a_key_of_a_new_certificate_is_named_and_nothing_is_sealed_to_it_for_seven_days(
    pki: SamplePki, seen: Seen
) -> None:
    first = seen.sealed_to(seen.version(1))
    made = pki.credential()
    rogue = seen.key(made.signer)
    version = seen.version(2, rogue, certificates=(made.der,))
    with capture_logs() as logs:
        assert seen.sealed_to(version) == first
        assert seen.sealed_to(version) == first
    assert [(line["log_level"], line["agency"], line["key_id"], line["version"]) for line in logs] == [
        ("error", SHANXI, rogue.key_id.hex(), 2)
    ]
    # Neither time in the directory nor a restart makes it shorter. The edge's own clock counts.
    seen.clock.value_ms += WAIT_MS - 1
    seen.restart()
    assert seen.sealed_to(version) == first
    seen.clock.value_ms += 1
    assert seen.sealed_to(version) == rogue.key_id


def test_a_certificate_listed_just_before_its_key_gains_nothing(pki: SamplePki, seen: Seen) -> None:
    first = seen.sealed_to(seen.version(1))
    made = pki.credential()
    seen.known.usable(seen.version(2, certificates=(made.der,)))
    key = seen.key(made.signer)
    assert seen.sealed_to(seen.version(3, key, certificates=(made.der,))) == first
    # Nor does leaving the agency out for a version.
    agencies = {name: one for name, one in pki.directory.agencies.items() if name != SHANXI}
    seen.known.usable(replace(pki.directory, version=4, agencies=agencies))
    assert seen.sealed_to(seen.version(5, key, certificates=(made.der,))) == first


def test_a_key_of_a_certificate_that_is_known_counts_at_once(pki: SamplePki, seen: Seen) -> None:
    seen.sealed_to(seen.version(1))
    key = seen.key(pki.signer())
    with capture_logs() as logs:
        assert seen.sealed_to(seen.version(2, key)) == key.key_id
    assert logs == []


def test_who_sees_an_agency_for_the_first_time_believes_the_directory(
    pki: SamplePki, seen: Seen, tmp_path: Path
) -> None:
    made = pki.credential()
    key = seen.key(made.signer)
    version = seen.version(2, key, certificates=(made.der,))
    assert seen.sealed_to(version) == key.key_id
    # Also an agency that joins later.
    agencies = {name: one for name, one in pki.directory.agencies.items() if name != SHANXI}
    later = Seen(pki, tmp_path / "later")
    later.known.usable(replace(pki.directory, agencies=agencies))
    assert later.sealed_to(version) == key.key_id
    # A file that was damaged is as none.
    (tmp_path / "agencies.json").write_text("[]")
    with capture_logs() as logs:
        seen.restart()
    assert [line["log_level"] for line in logs] == ["error"]
    assert seen.sealed_to(version) == key.key_id


def test_a_version_that_lets_more_be_plain_is_named(pki: SamplePki, seen: Seen) -> None:
    sealed = replace(pki.directory.agency(HEBEI), publish={})
    agencies = {**pki.directory.agencies, HEBEI: sealed}
    with capture_logs() as logs:
        seen.known.usable(replace(pki.directory, agencies=agencies))
    assert logs == []
    rights = {"CaseRecord": PublishRight(frozenset({ANY}), frozenset({ANY}), frozenset({ANY}))}
    plain = replace(pki.directory, version=2, agencies={**agencies, HEBEI: replace(sealed, publish=rights)})
    seen.restart()
    with capture_logs() as logs:
        seen.known.usable(plain)
        seen.known.usable(plain)
    assert [(line["log_level"], line["agency"], line["kind"], line["version"]) for line in logs] == [
        ("error", HEBEI, "CaseRecord", 2)
    ]
