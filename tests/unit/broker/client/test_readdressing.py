"""Supplements: what their recipients read, what a publisher cannot seal again, and what a liar cannot make of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from broker.client.composing import SectionDraft
from broker.client.readdressing import Readdresser
from broker.client.verifying import RecordVerifier
from broker.core.body import Recipient, RecordReference
from broker.core.envelope import BODY_TYPE, Envelope, Section, Signature, pae
from broker.core.errors import (
    EncryptionKeyMissing,
    KeyCommitmentBroken,
    NotAddressed,
    NotReaddressable,
    RecordExpired,
    RightDenied,
    SealInvalid,
    SealKeyMissing,
    SectionMismatch,
    SignatureInvalid,
    SignerNotPrincipal,
)
from broker.core.supplements import check_supplement, repeated
from certs.rights import HEBEI, LAB, MINISTRY, NGO, SHANXI
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, RecordMaker
from tests.support.sealing import OwnKey, keys_for, opening, sealing, with_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.client.composing import Composed
    from broker.core.body import Body
    from broker.core.policy import Directory

CONTENT = {"case": b"CANARY case (synthetic)", "identity": b"CANARY identity (synthetic)"}


@dataclass
class World:
    """Agencies with keys, of which Shanxi has published a case to the ministry, and may publish it to Hebei."""

    pki: SamplePki
    clock: ManualClock
    keys: dict[str, tuple[OwnKey, ...]]
    directory: Directory
    maker: RecordMaker = field(init=False)
    original: Envelope = field(init=False)

    def __post_init__(self) -> None:
        self.maker = RecordMaker(self.pki, self.clock, sealing=sealing(self.directory))
        self.original = self.make()

    def make(self, *, to: str = MINISTRY, named: frozenset[str] = frozenset()) -> Envelope:
        sections = [SectionDraft(name, "synthetic", content) for name, content in CONTENT.items()]
        sections[1] = sections[1]._replace(audience=named)
        return self.maker.make("CaseRecord", "cases", to=[to], purpose="child-rescue", sections=sections)

    def readdresser(self, *, agency: str = SHANXI, keys: tuple[OwnKey, ...] | None = None) -> Readdresser:
        maker = RecordMaker(self.pki, self.clock, agency, sealing=sealing(self.directory))
        own = opening(self.keys[agency] if keys is None else keys)
        return Readdresser(agency, maker.composer, CODEC, self.pki.keyring(), own, lambda: self.directory, self.clock)

    def supplement(self, envelope: Envelope | None = None, to: str = HEBEI) -> Composed:
        return self.readdresser().supplement(envelope or self.original, [Recipient(to, 9)])

    def signed(self, body: Body, sections: tuple[Section, ...]) -> Envelope:
        """A body that the publisher signed, whatever stands in it."""
        data, signer = CODEC.encode_body(body), self.pki.signer()
        return Envelope(
            BODY_TYPE, data, (Signature(signer.certificate_sha256, signer.sign(pae(BODY_TYPE, data))),), sections
        )

    def open(self, envelope: Envelope, agency: str = HEBEI) -> Mapping[str, bytes]:
        verifier = RecordVerifier(agency, CODEC, opening(self.keys[agency]))
        return verifier.verify(envelope, self.clock.now_ms(), self.pki.in_force(self.directory)).sections


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def world(pki: SamplePki) -> World:
    keys = keys_for(pki.directory, pki.now_ms)
    return World(pki, ManualClock(pki.now_ms), keys, with_keys(pki.directory, keys))


def body_of(envelope: Envelope) -> Body:
    return CODEC.parse_body(envelope.body)


def test_a_newcomer_reads_the_same_bytes_and_no_byte_of_a_section_is_new(world: World) -> None:
    original = body_of(world.original)
    world.clock.value_ms += 1000
    body, envelope = world.supplement()
    assert world.open(envelope) == CONTENT
    assert envelope.sections == world.original.sections
    assert body.supplements == RecordReference(original.record_id, world.original.record_sha256)
    assert (body.recipients, body.issued_at_ms) == ((Recipient(HEBEI, 9),), world.clock.now_ms())
    assert body.record_id != original.record_id
    assert {wrap.agency for wrap in body.key_wraps} == {HEBEI, SHANXI}
    check_supplement(body, repeated(original, world.original.record_sha256))
    # It reached nobody else.
    with pytest.raises(NotAddressed):
        world.open(envelope, MINISTRY)


def test_it_goes_to_the_recipients_newest_key_and_only_the_archive_key_is_needed(world: World) -> None:
    fresh = OwnKey.make(MINISTRY, world.clock.now_ms() + 1)
    world.keys[MINISTRY] = (fresh,)
    world.directory = with_keys(world.pki.directory, world.keys)
    (archive,) = [key for key in world.keys[SHANXI] if key.listed.use == "archive"]
    world.clock.value_ms += 3_600_002
    readdresser = world.readdresser(keys=(archive,))
    body, envelope = readdresser.supplement(world.original, [Recipient(MINISTRY, 2)])
    assert body.key_wraps[0].key_id == fresh.listed.key_id
    assert world.open(envelope, MINISTRY) == CONTENT


def test_a_supplement_can_be_the_source_of_another_to_the_same_original(world: World) -> None:
    first = world.supplement()
    second = world.supplement(first.envelope)
    assert second.body.supplements == first.body.supplements
    assert world.open(second.envelope) == CONTENT


def test_a_section_for_named_agencies_goes_to_no_other(world: World) -> None:
    named = world.make(named=frozenset({MINISTRY}))
    with pytest.raises(NotReaddressable, match="by name"):
        world.supplement(named)
    again = world.supplement(named, MINISTRY)
    assert again.body.sections[1].audience == {MINISTRY}
    assert world.open(again.envelope, MINISTRY) == CONTENT


# --- what cannot be sealed again --------------------------------------------------------------------------------------


def test_without_the_archive_key_nobody_can(world: World) -> None:
    records = tuple(key for key in world.keys[SHANXI] if key.listed.use == "records")
    with pytest.raises(SealKeyMissing):
        world.readdresser(keys=records).supplement(world.original, [Recipient(HEBEI, 1)])
    world.keys[SHANXI] = records
    unarchived = World(world.pki, world.clock, world.keys, with_keys(world.pki.directory, world.keys))
    with pytest.raises(SealKeyMissing, match="no archive key"):
        unarchived.supplement()


def test_an_erased_record_and_one_that_lacks_a_section_cannot(world: World) -> None:
    with pytest.raises(NotReaddressable, match="erased for good: identity"):
        world.supplement(world.original.erase(frozenset({"identity"})))
    with pytest.raises(SectionMismatch):
        world.supplement(world.original.with_sections(frozenset({"case"})))


def test_todays_rights_and_times_count(world: World) -> None:
    with pytest.raises(RightDenied):
        world.supplement(to=LAB)
    with pytest.raises(RightDenied):
        world.supplement(to="nobody")
    expiring = body_of(world.original)
    expired = world.signed(replace(expiring, expires_at_ms=world.clock.now_ms() + 1), world.original.sections)
    world.clock.value_ms += 2
    with pytest.raises(RecordExpired):
        world.supplement(expired)
    world.directory = with_keys(world.pki.directory, {**world.keys, HEBEI: ()})
    with pytest.raises(EncryptionKeyMissing):
        world.supplement()


def test_nobody_hands_the_publisher_bytes_that_it_has_not_signed(world: World) -> None:
    with pytest.raises(SignerNotPrincipal):
        world.readdresser(agency=HEBEI).supplement(world.original, [Recipient(NGO, 1)])
    changed = replace(body_of(world.original), purpose="case-closure")
    with pytest.raises(SignatureInvalid):
        world.supplement(replace(world.original, body=CODEC.encode_body(changed)))
    section = world.original.sections[0]
    damaged = Section(section.name, section.content[:-1] + bytes([section.content[-1] ^ 1]))
    with pytest.raises(SectionMismatch):
        world.supplement(replace(world.original, sections=(damaged, world.original.sections[1])))


# --- a publisher that lies --------------------------------------------------------------------------------------------


def test_ciphertext_does_not_open_under_the_id_of_another_record(world: World) -> None:
    """Its keys and its bytes are bound to the original that the supplement names."""
    body, envelope = world.supplement()
    for named in (None, RecordReference(body_of(world.make()).record_id, world.original.record_sha256)):
        moved = world.signed(replace(body, supplements=named), envelope.sections)
        with pytest.raises((SealInvalid, KeyCommitmentBroken)):
            world.open(moved)


def test_wraps_of_the_original_do_not_open_in_the_supplement(world: World) -> None:
    first = world.supplement()
    second = world.supplement()
    with pytest.raises(SealInvalid):
        world.open(world.signed(replace(second.body, key_wraps=first.body.key_wraps), second.envelope.sections))
