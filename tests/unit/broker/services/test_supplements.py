"""A supplement gives a record to another key. The broker accepts only one that repeats the record that it names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from broker.client.composing import SectionDraft
from broker.client.readdressing import Readdresser
from broker.client.verifying import InForce, RecordVerifier
from broker.core.body import Recipient, RecordReference
from broker.core.envelope import BODY_TYPE, Envelope, Signature, pae
from broker.core.errors import (
    CaseExchangeError,
    InputRefused,
    KeyCommitmentBroken,
    RecordExpired,
    RightDenied,
    SealInvalid,
    SealKeyMissing,
    SectionMismatch,
    SignatureInvalid,
    SignerNotPrincipal,
)
from broker.core.identity import Principal
from broker.messagelog.sqlite import SqliteLog
from broker.services.publish import Accepted
from certs.rights import HEBEI, LAB, SHANXI, TRUST_DOMAIN
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CASE, CODEC, OTHER_CASE, RecordMaker
from tests.support.sealing import OwnKey, keys_for, opening, sealing, with_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from broker.core.body import Body
    from broker.core.policy import Directory
    from broker.services.publish import PublishService

POLICE = Principal(TRUST_DOMAIN, SHANXI, "gateway")
CONTENT = b"CANARY (synthetic)"


@dataclass
class Sealed:
    """A log, a publisher whose sections are sealed, and the laboratory before and after it changed its key."""

    pki: SamplePki
    keys: dict[str, tuple[OwnKey, ...]]
    clock: ManualClock
    log: SqliteLog

    def __post_init__(self) -> None:
        self.before = with_keys(self.pki.directory, self.keys)
        fresh = OwnKey.make(LAB, self.pki.now_ms)
        self.after_keys = {**self.keys, LAB: (fresh, *self.keys[LAB][1:])}
        self.after = with_keys(self.pki.directory, self.after_keys)
        self.service = self._service(self.before)
        self.later = self._service(self.after)
        self.maker = RecordMaker(self.pki, self.clock, sealing=sealing(self.before))

    def _service(self, directory: Directory) -> PublishService:
        keyring = self.pki.keyring(directory)
        return publish_service(self.pki, self.log, self.clock, directory=FixedDirectory(directory), keyring=keyring)

    def readdresser(self, agency: str = SHANXI, directory: Directory | None = None) -> Readdresser:
        newest = directory or self.after
        composer = RecordMaker(self.pki, self.clock, agency, sealing=sealing(newest)).composer
        keyring = self.pki.keyring(newest)
        own = opening(self.keys[agency])
        return Readdresser(agency, composer, CODEC, keyring, own, lambda: newest, self.clock)

    async def original(self) -> Envelope:
        envelope = self.maker.make(sections=[SectionDraft("case", "synthetic", CONTENT)])
        assert await self.published(envelope, self.service) == ""
        return envelope

    def supplement(self, envelope: Envelope, directory: Directory | None = None) -> Envelope:
        return self.readdresser(directory=directory).supplement(envelope, [Recipient(LAB, 9)]).envelope

    def signed(self, envelope: Envelope, change: Callable[[Body], Body]) -> Envelope:
        data, signer = CODEC.encode_body(change(CODEC.parse_body(envelope.body))), self.pki.signer()
        signature = Signature(signer.certificate_sha256, signer.sign(pae(BODY_TYPE, data)))
        return Envelope(BODY_TYPE, data, (signature,), envelope.sections)

    async def published(self, envelope: Envelope, service: PublishService | None = None) -> str:
        """Accepted: nothing. Refused: the reason."""
        (result,) = (await (service or self.later).publish(POLICE, [envelope])).results
        return "" if isinstance(result, Accepted) else result.reason

    def read(self, envelope: Envelope) -> bytes:
        """What the laboratory reads with its new key."""
        version = self.pki.version(self.after)
        verifier = RecordVerifier(LAB, CODEC, opening(self.after_keys[LAB]))
        return verifier.verify(envelope, self.clock.now_ms(), InForce([version], [version])).sections["case"]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def sealed(pki: SamplePki) -> AsyncIterator[Sealed]:
    clock = ManualClock(pki.now_ms + 1000)
    log = await SqliteLog.open(None, clock)
    yield Sealed(pki, keys_for(pki.directory, pki.now_ms), clock, log)
    await log.close()


async def test_the_recipient_of_a_supplement_reads_what_it_could_not_open(sealed: Sealed) -> None:
    envelope = await sealed.original()
    with pytest.raises(CaseExchangeError):
        sealed.read(envelope)
    supplement = sealed.supplement(envelope)
    assert await sealed.published(supplement) == ""
    assert sealed.read(supplement) == CONTENT
    assert supplement.sections == envelope.sections
    body, named = CODEC.parse_body(supplement.body), CODEC.parse_body(envelope.body)
    assert body.supplements == RecordReference(named.record_id, envelope.record_sha256)
    assert (body.recipients, body.sections) == ((Recipient(LAB, 9),), named.sections)
    assert body.record_id != named.record_id


async def test_a_supplement_can_be_made_of_a_supplement_and_names_the_same_original(sealed: Sealed) -> None:
    envelope = await sealed.original()
    again = sealed.supplement(sealed.supplement(envelope))
    assert await sealed.published(again) == ""
    assert CODEC.parse_body(again.body).original_id == CODEC.parse_body(envelope.body).record_id


LIES: dict[str, Callable[[Body], Body]] = {
    "another case": lambda body: replace(body, case_id=OTHER_CASE if body.case_id == CASE else CASE),
    "another purpose": lambda body: replace(body, purpose="child-rescue"),
    "an answer": lambda body: replace(body, in_reply_to="01990000-0000-7000-8000-0000000000ff"),
    "in place of another": lambda body: replace(body, supersedes="01990000-0000-7000-8000-0000000000ff"),
    "another end": lambda body: replace(body, expires_at_ms=body.issued_at_ms + 3_600_000),
    "other signed bytes": lambda body: replace(body, supplements=RecordReference(body.original_id, b"o" * 32)),
    "another type of section": lambda body: replace(
        body, sections=tuple(section._replace(type="other") for section in body.sections)
    ),
    "another commitment": lambda body: replace(
        body, sections=tuple(section._replace(key_commitment=b"c" * 32) for section in body.sections)
    ),
    "for named agencies only": lambda body: replace(
        body, sections=tuple(section._replace(audience=frozenset({LAB})) for section in body.sections)
    ),
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
async def test_a_supplement_that_does_not_repeat_its_original_is_refused(
    sealed: Sealed, change: Callable[[Body], Body]
) -> None:
    supplement = sealed.supplement(await sealed.original())
    assert await sealed.published(sealed.signed(supplement, change)) == "SUPPLEMENT_INVALID"


async def test_other_sections_are_no_supplement(sealed: Sealed) -> None:
    envelope = await sealed.original()
    named = RecordReference(CODEC.parse_body(envelope.body).record_id, envelope.record_sha256)
    newer = RecordMaker(sealed.pki, sealed.clock, sealing=sealing(sealed.after))
    other = newer.make(sections=[SectionDraft("case", "synthetic", b"something else")])
    assert await sealed.published(sealed.signed(other, lambda body: replace(body, supplements=named))) == (
        "SUPPLEMENT_INVALID"
    )


async def test_a_supplement_that_names_a_supplement_is_refused(sealed: Sealed) -> None:
    first = sealed.supplement(await sealed.original())
    assert await sealed.published(first) == ""
    named = RecordReference(CODEC.parse_body(first.body).record_id, first.record_sha256)
    second = sealed.signed(sealed.supplement(first), lambda body: replace(body, supplements=named))
    assert await sealed.published(second) == "SUPPLEMENT_INVALID"


async def test_a_supplement_whose_original_the_log_does_not_have_is_accepted(sealed: Sealed) -> None:
    envelope = sealed.maker.make(sections=[SectionDraft("case", "synthetic", CONTENT)])
    assert await sealed.published(sealed.supplement(envelope)) == ""


@pytest.mark.parametrize(
    ("change", "error"),
    [
        # As a record of its own its sections would be of another record.
        (lambda body: replace(body, supplements=None), SealInvalid),
        (
            lambda body: replace(
                body, supplements=RecordReference(body.case_id[:14] + "7" + body.case_id[15:], b"o" * 32)
            ),
            KeyCommitmentBroken,
        ),
        (
            lambda body: replace(body, record_id=body.record_id[:-1] + ("0" if body.record_id[-1] != "0" else "1")),
            SealInvalid,
        ),
    ],
    ids=["without its original", "of another original", "wraps of another supplement"],
)
async def test_sections_and_wraps_open_only_where_they_belong(
    sealed: Sealed, change: Callable[[Body], Body], error: type[CaseExchangeError]
) -> None:
    supplement = sealed.supplement(await sealed.original())
    with pytest.raises(error):
        sealed.read(sealed.signed(supplement, change))


async def test_only_the_publisher_makes_a_supplement_and_only_of_what_it_signed(sealed: Sealed) -> None:
    envelope = await sealed.original()
    with pytest.raises(SignerNotPrincipal):
        sealed.readdresser(HEBEI).supplement(envelope, [Recipient(LAB, 1)])
    forged = replace(envelope, signatures=(envelope.signatures[0]._replace(value=b"forged"),))
    with pytest.raises(SignatureInvalid):
        sealed.supplement(forged)
    with pytest.raises(SectionMismatch):
        sealed.supplement(replace(envelope, sections=()))
    sealed.keys = {**sealed.keys, SHANXI: (OwnKey.make(SHANXI, sealed.pki.now_ms, use="archive"),)}
    with pytest.raises(SealKeyMissing):
        sealed.supplement(envelope)


async def test_today_s_rights_and_the_record_s_own_end_count(sealed: Sealed) -> None:
    envelope = await sealed.original()
    with pytest.raises(RightDenied):
        sealed.readdresser().supplement(envelope, [Recipient(HEBEI, 1)])
    ends = sealed.clock.now_ms() + 60_000
    ending = sealed.signed(envelope, lambda body: replace(body, expires_at_ms=ends))
    sealed.clock.value_ms += 120_000
    with pytest.raises(RecordExpired):
        sealed.supplement(ending)


async def test_a_section_for_named_agencies_goes_to_these_only(sealed: Sealed) -> None:
    draft = SectionDraft("case", "synthetic", CONTENT, frozenset({LAB}))
    envelope = sealed.maker.make(sections=[draft])
    assert await sealed.published(sealed.supplement(envelope)) == ""
    with pytest.raises(InputRefused, match="by name"):
        sealed.readdresser().supplement(envelope, [Recipient(HEBEI, 1)])
