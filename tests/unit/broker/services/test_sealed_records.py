"""A broker without any key refuses what is not sealed for exactly its recipients. An auditor's verdict is the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from adapters.edge.sending import time_cures
from broker.client.composing import SectionDraft
from broker.core.audit.judge import BatchJudge
from broker.core.bundle import BundleSource, PartitionRecords
from broker.core.encryptionkeys import KeyRetirement
from broker.core.envelope import BODY_TYPE, Envelope, Signature, pae
from broker.core.errors import EncryptionKeyNotInForce
from broker.core.identity import Principal
from broker.core.receipt import portable_receipt
from broker.core.streams import StreamPartition
from broker.messagelog.sqlite import SqliteLog
from broker.services.publish import Accepted, PublishService
from broker.services.versions import DirectoryVersions, KnownVersions
from broker.trust.directory import open_directory
from broker.wire.receipts import receipt_bytes
from certs.rights import HEBEI, LAB, SHANXI, TRUST_DOMAIN
from tests.support.bundles import LyingExchange
from tests.support.fakes import FixedDirectory, ListedAudit
from tests.support.letters import audit_trail
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CODEC, RecordMaker
from tests.support.sealing import keys_for, sealing, with_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from broker.core.body import Body
    from broker.core.bundle import DirectoryDocument
    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.inforce import DirectoryVersion
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

    def service(
        self, directory: Directory | None = None, log: SqliteLog | None = None, **parts: object
    ) -> PublishService:
        directory = directory or self.directory
        parts |= {"directory": FixedDirectory(directory), "keyring": self.pki.keyring(directory)}
        return publish_service(self.pki, log or self.log, self.clock, self.audit, **parts)

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

    def judged(
        self,
        envelope: Envelope,
        directory: Directory | None = None,
        *,
        versions: Sequence[DirectoryVersion] = (),
    ) -> set[str]:
        """What an auditor says of a log with this record."""
        versions = versions or [self.pki.version(directory or self.directory)]
        entries = LyingExchange(self.pki).add(DNA_0, [envelope], self.clock.now_ms())
        report = BatchJudge(versions, CODEC, BundleSource.MESSAGE_LOG).judge(
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


def ending(key: EncryptionKey, how: str, at_ms: int) -> EncryptionKey:
    return replace(key, retired_at_ms=at_ms) if how == "retired" else replace(key, not_after_ms=at_ms)


@pytest.mark.parametrize("end", ["expired", "retired"])
async def test_a_record_that_is_dated_back_into_the_life_of_a_key_that_ended_long_before_is_refused(
    blind: Blind, end: str
) -> None:
    for late_ms, reason in ((-60_000, ""), (60_000, "ENCRYPTION_KEY_NOT_IN_FORCE")):
        end_ms = blind.clock.now_ms() - 7 * DAY_MS - late_ms
        # So long before, every key of the directory was in force.
        keys = {
            agency: tuple(replace(key, listed=replace(key.listed, not_before_ms=0)) for key in own)
            for agency, own in blind.keys.items()
        }
        records, archive = keys[LAB]
        keys[LAB] = (replace(records, listed=ending(records.listed, end, end_ms)), archive)
        ended = with_keys(blind.pki.directory, keys)
        envelope = RecordMaker(blind.pki, ManualClock(end_ms - 1), sealing=sealing(ended)).make()
        assert await blind.published(envelope, blind.service(ended)) == reason
        assert blind.judged(envelope, ended) == ({reason} if reason else set())


async def test_a_record_that_waited_while_rights_changed_may_be_sealed_by_the_directory_of_its_issue(
    blind: Blind,
) -> None:
    lab, issued_ms = blind.directory.agencies[LAB], blind.clock.now_ms()
    right = replace(lab.receive["SampleRequest"], sections=frozenset())
    narrower = replace(lab, receive={**lab.receive, "SampleRequest": right})
    after = replace(blind.directory, version=2, agencies={**blind.directory.agencies, LAB: narrower})
    directories = {1: replace(blind.directory, version=1), 2: after}
    waited, hour_ms = blind.maker.make(), DAY_MS // 24
    begins = {1: issued_ms - DAY_MS, 2: issued_ms + hour_ms}
    for number, begin_ms in begins.items():
        blind.clock.value_ms = begin_ms
        listed = replace(blind.pki.directory, version=number)
        await audit_trail(blind.pki, blind.log, blind.clock, listed).directory_in_force()
    blind.clock.value_ms = issued_ms + 2 * hour_ms

    def read(found: DirectoryDocument) -> DirectoryVersion:
        number = open_directory(found.document, blind.pki.governance).version
        return blind.pki.version(directories[number], in_force_from_ms=found.in_force_from_ms)

    service = blind.service(after, versions=KnownVersions(DirectoryVersions(blind.log, CODEC), read))
    versions = [blind.pki.version(directories[number], in_force_from_ms=at_ms) for number, at_ms in begins.items()]
    assert await blind.published(waited, service) == ""
    assert blind.judged(waited, versions=versions) == set()
    # What is issued after the change is not sealed as it must be.
    late = blind.maker.make()
    assert await blind.published(late, service) == "KEY_WRAPS_INVALID"
    assert blind.judged(late, versions=versions) == {"KEY_WRAPS_INVALID"}


async def test_a_key_that_only_a_newer_directory_lists_holds_the_record_until_the_broker_has_it(blind: Blind) -> None:
    envelope = blind.maker.make()
    older = with_keys(blind.pki.directory, {**blind.keys, LAB: blind.keys[LAB][1:]})
    (refused,) = (await blind.service(older).publish(POLICE, [envelope])).results
    assert isinstance(refused, EncryptionKeyNotInForce)
    assert time_cures(refused)
    assert refused.numbers == ()
    assert await blind.published(envelope) == ""
    # An agency's word that the key has ended, or a long wait, ends it.
    ended = KeyRetirement(LAB, blind.keys[LAB][0].private.key_id, blind.clock.now_ms(), b"")
    retired = replace(older.agencies[LAB], key_retirements=(ended,))
    for directory, later_ms in ((replace(older, agencies={**older.agencies, LAB: retired}), 0), (older, 8 * DAY_MS)):
        dated = blind.signed(envelope, partial(issued_earlier, by_ms=later_ms))
        (refused,) = (await blind.service(directory).publish(POLICE, [dated])).results
        assert isinstance(refused, EncryptionKeyNotInForce)
        assert not time_cures(refused)


def issued_earlier(body: Body, by_ms: int) -> Body:
    return replace(body, issued_at_ms=body.issued_at_ms - by_ms)


@pytest.mark.parametrize("size", [12 + 16 + 255, 12 + 16 + 257, 12 + 16])
async def test_a_size_that_no_sealed_section_has_is_refused(blind: Blind, size: int) -> None:
    envelope, data = blind.maker.make(), bytes(size)

    def other(body: Body) -> Body:
        (section,) = body.sections
        return replace(body, sections=(section._replace(sha256=sha256(data).digest()),))

    changed = blind.signed(envelope, other)
    changed = replace(changed, sections=(changed.sections[0]._replace(content=data),))
    assert await blind.published(changed) == "ENVELOPE_MALFORMED"
    assert blind.judged(changed) == {"ENVELOPE_MALFORMED"}
