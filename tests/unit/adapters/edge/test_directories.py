"""The directory versions that an edge has seen, and what it takes from a broker that it does not believe."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from adapters.edge.directories import SeenDirectories
from adapters.edge.spool import Spool
from broker.core.errors import (
    ConnectionFailed,
    DirectoryInvalid,
    DirectoryVersionMissing,
    KeyHistoryBroken,
    PeerRevoked,
)
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS
from broker.core.keyhistory import KeyHistory
from broker.trust.directory import open_directory, sign_directory
from broker.trust.directory_payload import directory_payload
from tests.support.pki import ManualClock, SamplePki

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from broker.core.errors import CaseExchangeError
    from broker.core.inforce import DirectoryVersion

DAY = 86_400_000


class Broker:
    """Hands over what a test puts here: documents by the time asked for, or an error."""

    def __init__(self) -> None:
        self.documents: dict[int | None, list[bytes]] = {}
        self.failure: CaseExchangeError | None = None
        self.asked: list[int | None] = []

    async def ask(self, at_ms: int | None) -> list[bytes]:
        self.asked.append(at_ms)
        if self.failure is not None:
            raise self.failure
        return self.documents.get(at_ms, [])


class Edge:
    """One edge's folder, and versions that begin a day apart and end after ten."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self.pki = pki
        self.broker = Broker()
        self.clock = ManualClock(pki.now_ms + 5 * DAY)
        self.spool = Spool(folder / "spool.db")
        self.seen = self.start()

    def start(self) -> SeenDirectories:
        """As a restart does, on the same spool."""
        read = functools.partial(open_directory, governance=self.pki.governance)
        return SeenDirectories(
            self.spool, read, self.pki.revocation_lists(), self.clock, self.broker.ask, history=KeyHistory()
        )

    def issued(self, number: int) -> int:
        return self.pki.now_ms + number * DAY

    def document(self, number: int) -> bytes:
        issued = self.issued(number)
        return self.pki.sign(
            replace(self.pki.directory, version=number, issued_at_ms=issued, expires_at_ms=issued + 10 * DAY)
        )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def edge(pki: SamplePki, tmp_path: Path) -> Iterator[Edge]:
    edge = Edge(pki, tmp_path)
    yield edge
    edge.spool.close()


def numbers(versions: Sequence[DirectoryVersion]) -> list[int]:
    return [version.directory.version for version in versions]


def test_the_newest_version_that_was_issued_by_then_and_had_not_expired_is_tried(edge: Edge) -> None:
    for number in (3, 1, 2):
        edge.seen.note(edge.document(number))
    found = {at: numbers(edge.seen.from_seen(edge.issued(at)).accepted) for at in (0, 1, 2, 3, 10, 11, 12, 13)}
    assert found == {0: [], 1: [1], 2: [2], 3: [3], 10: [3], 11: [3], 12: [3], 13: [3]}
    late = edge.issued(13) + CHANGE_OF_DIRECTORY_MS
    assert numbers(edge.seen.from_seen(late).accepted) == []
    assert numbers(edge.seen.from_seen(edge.issued(1)).delivered) == [3]


def test_a_version_that_takes_a_key_statement_back_is_refused_and_one_seen_before_is_named(edge: Edge) -> None:
    pki = edge.pki
    police = replace(pki.directory.agency("shanxi-police"), encryption_keys=())
    without = replace(pki.directory, agencies={**pki.directory.agencies, police.id: police})
    edge.seen.note(edge.document(1))
    with pytest.raises(KeyHistoryBroken):
        edge.seen.note(pki.sign(replace(without, version=2)))
    # This edge sees the higher version first. It cannot know better, until it sees the lower one.
    seen = edge.start()
    with capture_logs() as logs:
        seen.note(pki.sign(replace(without, version=2)))
        assert logs == []
        assert seen.note(edge.document(1)).directory.version == 1
    records, archive = pki.directory.agency("shanxi-police").encryption_keys
    assert [(line["reason"], line["version"], line["key_id"]) for line in logs] == [
        ("KEY_HISTORY_BROKEN", "2", key.key_id.hex()) for key in (records, archive)
    ]


def test_a_restart_forgets_no_version(edge: Edge) -> None:
    for number in (1, 2):
        edge.seen.note(edge.document(number))
    # Durable once something was judged by them.
    edge.seen.from_seen(edge.issued(1))
    assert numbers(edge.start().from_seen(edge.issued(1)).accepted) == [1]


async def test_what_the_broker_tells_decides_and_is_kept(edge: Edge) -> None:
    edge.seen.note(edge.document(1))
    at_ms = edge.issued(3)
    edge.broker.documents = {at_ms: [edge.document(2), edge.document(3)], None: [edge.document(4)]}
    answered = await edge.seen.from_broker(at_ms)
    assert (numbers(answered.accepted), numbers(answered.delivered)) == ([2, 3], [4])
    assert edge.broker.asked == [at_ms, None]
    assert numbers(edge.start().from_seen(edge.clock.now_ms()).accepted) == [4]


async def test_a_version_counts_only_if_governance_signed_it_issued_it_by_then_and_it_had_not_expired(
    edge: Edge,
) -> None:
    forged = sign_directory(
        directory_payload(replace(edge.pki.directory, version=7)), ec.generate_private_key(ec.SECP256R1())
    )
    for at_ms, documents in (
        (edge.issued(2), [b"", b"{}", forged]),
        (edge.issued(2) - CHANGE_OF_DIRECTORY_MS - 1, [edge.document(2)]),
        (edge.issued(12) + CHANGE_OF_DIRECTORY_MS, [edge.document(2)]),
    ):
        edge.broker.documents = {at_ms: documents}
        answered = await edge.seen.from_broker(at_ms)
        assert (answered.accepted, answered.delivered) == ([], [])


@pytest.mark.parametrize("failure", [ConnectionFailed("nobody answers"), PeerRevoked("not welcome")], ids=repr)
async def test_a_broker_that_does_not_tell_makes_the_record_wait(edge: Edge, failure: CaseExchangeError) -> None:
    edge.broker.failure = failure
    with pytest.raises(DirectoryVersionMissing):
        await edge.seen.from_broker(edge.issued(1))


async def test_of_two_directories_of_one_version_the_first_seen_stays(edge: Edge) -> None:
    edge.seen.note(edge.document(2))
    # The same again under another signature is the same.
    edge.seen.note(edge.document(2))
    other = replace(edge.pki.directory_with("shanxi-police", []), version=2, issued_at_ms=edge.issued(2))
    with pytest.raises(DirectoryInvalid):
        edge.seen.note(edge.pki.sign(other))
    edge.broker.documents = {edge.issued(2): [edge.pki.sign(other)]}
    assert (await edge.seen.from_broker(edge.issued(2))).accepted == []
    (kept,) = edge.start().from_seen(edge.issued(2)).accepted
    assert kept.directory.agencies["shanxi-police"].signing_certificates
