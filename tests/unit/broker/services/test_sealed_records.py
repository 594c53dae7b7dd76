"""A broker without any key refuses what is not sealed for exactly its recipients. An auditor's verdict is the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from broker.client.records import SectionDraft
from broker.core.audit.judge import BatchJudge
from broker.core.bundle import BundleSource, PartitionRecords
from broker.core.envelope import BODY_TYPE, Envelope, Signature, pae
from broker.core.identity import Principal
from broker.core.receipt import portable_receipt
from broker.core.streams import StreamPartition
from broker.messagelog.sqlite import SqliteLog
from broker.services.publish import Accepted, PublishService
from broker.wire.receipts import receipt_bytes
from certs.rights import HEBEI, LAB, SHANXI, TRUST_DOMAIN
from tests.support.bundles import LyingExchange
from tests.support.fakes import FixedDirectory, ListedAudit
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CODEC, RecordMaker
from tests.support.sealing import keys_for, sealing, with_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from broker.core.body import Body
    from broker.core.policy import Directory
    from tests.support.sealing import OwnKey

DNA_0 = StreamPartition("dna", 0)
POLICE = Principal(TRUST_DOMAIN, SHANXI, "gateway")
DAY_MS = 86_400_000


@dataclass
class Blind:
    """A broker whose directory lets nobody publish plain, and a publisher with the keys of that directory."""

    pki: SamplePki
    keys: dict[str, tuple[OwnKey, ...]]
    directory: Directory
    clock: ManualClock
    log: SqliteLog
    audit: ListedAudit

    def service(self, directory: Directory | None = None, log: SqliteLog | None = None) -> PublishService:
        directory = directory or self.directory
        trust = {"directory": FixedDirectory(directory), "keyring": self.pki.keyring(directory)}
        return publish_service(self.pki, log or self.log, self.clock, self.audit, **trust)

    @property
    def maker(self) -> RecordMaker:
        return RecordMaker(self.pki, self.clock, sealing=sealing(self.directory))

    def signed(self, envelope: Envelope, change: Callable[[Body], Body]) -> Envelope:
        """The record with another body, which its publisher signed."""
        data, signer = CODEC.encode_body(change(CODEC.parse_body(envelope.body))), self.pki.signer()
        signature = Signature(signer.certificate_sha256, signer.sign(pae(BODY_TYPE, data)))
        return Envelope(BODY_TYPE, data, (signature,), envelope.sections)

    async def published(self, envelope: Envelope, service: PublishService | None = None) -> str:
        """Accepted: nothing. Refused: the reason."""
        (result,) = (await (service or self.service()).publish(POLICE, [envelope])).results
        return "" if isinstance(result, Accepted) else result.reason

    def judged(self, envelope: Envelope, directory: Directory | None = None) -> set[str]:
        """What an auditor says of a log with this record."""
        version = self.pki.version(directory or self.directory)
        entries = LyingExchange(self.pki).add(DNA_0, [envelope], self.clock.now_ms())
        report = BatchJudge([version], CODEC, BundleSource.MESSAGE_LOG).judge(
            DNA_0, PartitionRecords(tuple(entries), None)
        )
        return {finding.code for finding in report.findings}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def blind(pki: SamplePki) -> AsyncIterator[Blind]:
    clock = ManualClock(pki.now_ms + 1000)
    log = await SqliteLog.open(None, clock)
    keys = keys_for(pki.directory, pki.now_ms)
    yield Blind(pki, keys, with_keys(pki.directory, keys), clock, log, ListedAudit())
    await log.close()


async def test_a_sealed_record_is_accepted_and_stored_as_ciphertext(blind: Blind) -> None:
    envelope = blind.maker.make(sections=[SectionDraft("case", "synthetic", b"CANARY")])
    assert await blind.published(envelope) == ""
    assert blind.judged(envelope) == set()
    parts = [StreamPartition("dna", number) for number in range(blind.log.partitions("dna"))]
    (stored,) = [entry for part in parts for entry in await blind.log.read(part, 0, 10, 1 << 20)]
    assert CODEC.decode_envelope(stored.value) == envelope
    assert b"CANARY" not in stored.value


def without_wraps(body: Body, _: Blind) -> Body:
    return replace(body, key_wraps=())


def without_the_recipient(body: Body, _: Blind) -> Body:
    return replace(body, key_wraps=body.key_wraps[1:])


def for_another_agency_too(body: Body, blind: Blind) -> Body:
    key = blind.keys[HEBEI][0].listed
    return replace(body, key_wraps=(*body.key_wraps, body.key_wraps[0]._replace(agency=HEBEI, key_id=key.key_id)))


def to_an_unknown_key(body: Body, _: Blind) -> Body:
    return replace(body, key_wraps=(body.key_wraps[0]._replace(key_id=b"u" * 32), *body.key_wraps[1:]))


def a_byte_more(body: Body, _: Blind) -> Body:
    first = body.key_wraps[0]
    return replace(body, key_wraps=(first._replace(wrapped_keys=first.wrapped_keys + b"x"), *body.key_wraps[1:]))


def long_ago(body: Body, _: Blind) -> Body:
    return replace(body, issued_at_ms=body.issued_at_ms - 2 * 3_600_000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_wraps, "KEY_WRAPS_INVALID"),
        (without_the_recipient, "KEY_WRAPS_INVALID"),
        (for_another_agency_too, "KEY_WRAPS_INVALID"),
        (a_byte_more, "KEY_WRAPS_INVALID"),
        (to_an_unknown_key, "ENCRYPTION_KEY_NOT_IN_FORCE"),
        (long_ago, "ENCRYPTION_KEY_NOT_IN_FORCE"),
    ],
)
async def test_a_record_that_is_sealed_for_others_is_refused_and_auditors_are_told(
    blind: Blind, change: Callable[[Body, Blind], Body], reason: str
) -> None:
    envelope = blind.signed(blind.maker.make(), lambda body: change(body, blind))
    assert await blind.published(envelope) == reason
    assert blind.judged(envelope) == {reason}
    assert reason in str(blind.audit.events)


async def test_plain_needs_the_right_to_it(blind: Blind) -> None:
    envelope = RecordMaker(blind.pki, blind.clock).make()
    assert await blind.published(envelope) == "SEALING_REQUIRED"
    assert blind.judged(envelope) == {"SEALING_REQUIRED"}
    assert blind.judged(envelope, blind.pki.directory) == set()
    assert await blind.published(envelope, blind.service(blind.pki.directory)) == ""


async def test_a_record_that_waited_while_its_recipient_retired_the_key_is_accepted(blind: Blind) -> None:
    envelope = blind.maker.make()
    (records, archive), now_ms = blind.keys[LAB], blind.clock.now_ms()
    blind.clock.value_ms += DAY_MS

    def retired(at_ms: int) -> Directory:
        ended = replace(records, listed=replace(records.listed, retired_at_ms=at_ms))
        return with_keys(blind.pki.directory, {**blind.keys, LAB: (ended, archive)})

    assert await blind.published(envelope, blind.service(retired(now_ms))) == "ENCRYPTION_KEY_NOT_IN_FORCE"
    assert await blind.published(envelope, blind.service(retired(now_ms + 1))) == ""


async def test_what_comes_again_is_judged_by_the_same_rule(blind: Blind) -> None:
    envelope, plain = blind.maker.make(), RecordMaker(blind.pki, blind.clock).make()
    receipts = []
    for each, directory in ((envelope, blind.directory), (plain, blind.pki.directory)):
        outcome = await blind.service(directory).publish(POLICE, [each])
        assert outcome.receipts is not None
        receipts.append(receipt_bytes(portable_receipt(outcome.receipts, 0)))
    lost = await SqliteLog.open(None, blind.clock)
    service = blind.service(log=lost)
    assert await blind.published(envelope.with_former_receipt(receipts[0]), service) == ""
    assert await blind.published(plain.with_former_receipt(receipts[1]), service) == "SEALING_REQUIRED"
    await lost.close()
