"""Sealed records: who can read what, and what a publisher that lies, or somebody between, cannot do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.client.composing import Draft, RecordComposer, SectionDraft
from broker.client.opening import Opening
from broker.client.verifying import RecordVerifier
from broker.core.body import Recipient
from broker.core.encryptionkeys import MLKEM768_X25519, P256
from broker.core.envelope import BODY_TYPE, Envelope, Section, Signature, pae
from broker.core.errors import (
    CaseExchangeError,
    EncryptionKeyMissing,
    EncryptionKeyNotInForce,
    KeyCommitmentBroken,
    KeyWrapsInvalid,
    SealingRequired,
    SealInvalid,
    SealKeyMissing,
    SectionNotAllowed,
)
from broker.core.identity import Principal
from broker.core.sealing import SealedContent, padded_size, section_context, wrap_info
from broker.trust.system import SystemEntropy
from certs.rights import HEBEI, MINISTRY, NGO, SHANXI, TRUST_DOMAIN
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CASE, CODEC
from tests.support.sealing import CIPHER, WRAPPER, HeldKeys, OwnKey, keys_for, opening, sealing, with_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from broker.client.composing import Composed
    from broker.client.sealing import Sealing
    from broker.core.body import Body, KeyWrap, SectionDescriptor
    from broker.core.policy import Directory

CANARY = b"CANARY Wang Xiaoming (synthetic) D3S1358 15,17"
"""What stands in every section, followed by the section's name."""


@dataclass
class World:
    """The agencies with their keys, and one composed record for hebei, the ministry and an NGO."""

    pki: SamplePki
    suite: str

    @cached_property
    def keys(self) -> dict[str, tuple[OwnKey, ...]]:
        return keys_for(self.pki.directory, self.pki.now_ms, suite=self.suite)

    @cached_property
    def directory(self) -> Directory:
        return with_keys(self.pki.directory, self.keys)

    @cached_property
    def record(self) -> Composed:
        return self.compose()

    def compose(
        self,
        *,
        sealed_with: Sealing | None = None,
        kind: str = "CaseRecord",
        to: Sequence[str] = (HEBEI, MINISTRY, NGO),
        content: bytes = CANARY,
    ) -> Composed:
        principal = Principal(TRUST_DOMAIN, SHANXI, "gateway")
        parts = (principal, self.pki.signer(), CODEC, SystemEntropy(), ManualClock(self.pki.now_ms))
        composer = RecordComposer(*parts, sealing=sealed_with or sealing(self.directory))
        sections = [SectionDraft(name, "synthetic", content + name.encode()) for name in ("case", "identity", "photos")]
        sections[1] = sections[1]._replace(audience=frozenset(to[:1]))
        recipients = tuple(Recipient(agency, 1) for agency in to)
        return composer.compose(Draft(kind, "cases", CASE, recipients, "child-rescue", tuple(sections)))

    def signed(self, body: Body, sections: Sequence[Section]) -> Envelope:
        """A body that the publisher signed, whatever stands in it."""
        data, signer = CODEC.encode_body(body), self.pki.signer()
        signature = Signature(signer.certificate_sha256, signer.sign(pae(BODY_TYPE, data)))
        return Envelope(BODY_TYPE, data, (signature,), tuple(sections))

    def open(
        self,
        envelope: Envelope,
        agency: str = HEBEI,
        *,
        keys: Sequence[OwnKey] | None = None,
        directory: Directory | None = None,
        delivered: Directory | None = None,
    ) -> Mapping[str, bytes]:
        verifier = RecordVerifier(agency, CODEC, opening(self.keys[agency] if keys is None else keys))
        in_force = self.pki.in_force(directory or self.directory)
        if delivered is not None:
            in_force = in_force._replace(delivered=[self.pki.version(delivered)])
        return verifier.verify(envelope, self.pki.now_ms, in_force).sections


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture(scope="module", params=[MLKEM768_X25519, P256])
def world(pki: SamplePki, request: pytest.FixtureRequest) -> World:
    return World(pki, request.param)


def content(*names: str) -> dict[str, bytes]:
    return {name: CANARY + name.encode() for name in names}


def test_each_recipient_reads_what_it_may_have_and_nothing_else_holds_a_content(world: World) -> None:
    envelope = world.record.envelope
    for agency, names in {
        HEBEI: ("case", "identity", "photos"),
        MINISTRY: ("case", "photos"),
        NGO: ("case", "photos"),
    }.items():
        copy = envelope.with_sections(frozenset(names))
        assert world.open(copy, agency) == content(*names)
    assert b"CANARY" not in CODEC.encode_envelope(envelope)
    assert [(wrap.agency, wrap.sections) for wrap in world.record.body.key_wraps] == [
        (HEBEI, (0, 1, 2)),
        (MINISTRY, (0, 2)),
        (NGO, (0, 2)),
        (SHANXI, (0, 1, 2)),
    ]


def test_the_publisher_reads_again_what_it_sent_with_the_key_of_its_archive(world: World) -> None:
    body = world.record.body
    archive = world.keys[SHANXI][1].private
    wrap = body.key_wraps[-1]
    keys = archive.unwrap(wrap.wrapped_keys, wrap_info(TRUST_DOMAIN, body, wrap))
    assert len(keys) == 96
    assert len(set(keys[:32]) | set(keys[32:64])) > 2


def test_the_digest_that_is_signed_is_that_of_the_ciphertext_and_sizes_are_buckets(world: World) -> None:
    body, envelope = world.record
    for descriptor, section in zip(body.sections, envelope.sections, strict=True):
        assert hashlib.sha256(section.content).digest() == descriptor.sha256
        assert len(section.content) == 12 + padded_size(len(CANARY)) + 16


def test_two_records_of_one_draft_have_nothing_in_common(world: World) -> None:
    first, second = world.record, world.compose()
    assert not {item.content[:12] for item in first.envelope.sections} & {
        item.content[:12] for item in second.envelope.sections
    }
    assert not {item.key_commitment for item in first.body.sections} & {
        item.key_commitment for item in second.body.sections
    }


def test_a_withheld_section_takes_nothing_from_the_others(world: World) -> None:
    copy = world.record.envelope.with_sections(frozenset({"photos"}))
    assert world.open(copy) == content("photos")
    assert world.open(copy.with_sections(frozenset())) == {}


def test_a_record_that_is_issued_again_keeps_its_seal(world: World) -> None:
    parts = (Principal(TRUST_DOMAIN, SHANXI, "gateway"), world.pki.signer(), CODEC, SystemEntropy())
    composer = RecordComposer(*parts, ManualClock(world.pki.now_ms - 500), sealing=sealing(world.directory))
    again = composer.issue_again(world.record.envelope)
    assert again.body.issued_at_ms == world.pki.now_ms - 500
    assert world.open(again.envelope) == content("case", "identity", "photos")


# --- keys -------------------------------------------------------------------------------------------------------------


def test_without_the_private_key_the_record_waits(world: World) -> None:
    with pytest.raises(SealKeyMissing) as missing:
        world.open(world.record.envelope, keys=world.keys[MINISTRY])
    assert missing.value.details["key_id"] == world.keys[HEBEI][0].private.key_id.hex()
    with pytest.raises(SealKeyMissing):
        RecordVerifier(HEBEI, CODEC).verify(
            world.record.envelope, world.pki.now_ms, world.pki.in_force(world.directory)
        )


def test_nothing_is_made_for_a_recipient_without_a_key(world: World) -> None:
    keyless = with_keys(world.pki.directory, {**world.keys, NGO: ()})
    with pytest.raises(EncryptionKeyMissing) as refused:
        world.compose(sealed_with=sealing(keyless))
    assert refused.value.details == {"agency": NGO}


def test_while_an_agency_changes_its_key_the_newer_one_is_used_and_either_opens(world: World) -> None:
    old = world.keys[HEBEI][0]
    new = OwnKey.make(HEBEI, world.pki.now_ms + 60_000, suite=world.suite)
    both = with_keys(world.pki.directory, {**world.keys, HEBEI: (old, new)})
    record = world.compose(sealed_with=sealing(both))
    assert record.body.key_wraps[0].key_id == new.private.key_id
    assert world.open(record.envelope, keys=[old, new], directory=both) == content("case", "identity", "photos")
    assert world.open(world.record.envelope, keys=[old, new], directory=both) == content("case", "identity", "photos")
    with pytest.raises(SealKeyMissing):
        world.open(record.envelope, keys=[old], directory=both)


def test_a_section_that_the_directory_grants_only_later_counts_as_withheld(world: World) -> None:
    ngo = world.directory.agencies[NGO]
    wider = replace(
        ngo, receive={**ngo.receive, "CaseRecord": replace(ngo.receive["CaseRecord"], sections=frozenset("*"))}
    )
    later = replace(world.directory, agencies={**world.directory.agencies, NGO: wider})
    record = world.compose(to=(NGO, MINISTRY))
    verifier = RecordVerifier(NGO, CODEC, opening(world.keys[NGO]))
    in_force = world.pki.in_force(world.directory)._replace(delivered=[world.pki.version(later)])
    verified = verifier.verify(record.envelope, world.pki.now_ms, in_force)
    assert verified.sections == content("case", "photos")
    assert verified.withheld_sections == ("identity",)


def test_no_content_is_in_the_text_of_a_record(world: World) -> None:
    verifier = RecordVerifier(HEBEI, CODEC, opening(world.keys[HEBEI]))
    verified = verifier.verify(world.record.envelope, world.pki.now_ms, world.pki.in_force(world.directory))
    assert "CANARY" in str(verified.sections)
    assert "CANARY" not in repr(verified) + repr(SectionDraft("case", "synthetic", CANARY))


def test_a_recipient_opens_by_the_directory_that_the_record_was_sealed_by(world: World) -> None:
    """The right to a section was withdrawn while the record waited at its publisher. The broker withholds it."""
    hebei = world.directory.agencies[HEBEI]
    right = replace(hebei.receive["CaseRecord"], sections=frozenset({"case"}))
    narrower = replace(hebei, receive={**hebei.receive, "CaseRecord": right})
    later = world.pki.in_force(replace(world.directory, agencies={**world.directory.agencies, HEBEI: narrower}))
    verifier = RecordVerifier(HEBEI, CODEC, opening(world.keys[HEBEI]))
    copy = world.record.envelope.with_sections(frozenset({"case"}))
    with pytest.raises(KeyWrapsInvalid):
        verifier.verify(copy, world.pki.now_ms, later)
    sealed = later._replace(sealed=[world.pki.version(world.directory)])
    assert verifier.verify(copy, world.pki.now_ms, sealed).sections == content("case")
    with pytest.raises(SectionNotAllowed):
        verifier.verify(world.record.envelope, world.pki.now_ms, sealed)


def test_what_is_issued_again_must_fit_the_newest_directory(world: World) -> None:
    parts = (Principal(TRUST_DOMAIN, SHANXI, "gateway"), world.pki.signer(), CODEC, SystemEntropy())
    now_ms = world.pki.now_ms
    old, archive = world.keys[HEBEI]
    over = replace(old, listed=replace(old.listed, not_before_ms=now_ms - 100))
    directory = with_keys(world.pki.directory, {**world.keys, HEBEI: (over, archive)})
    composer = RecordComposer(*parts, ManualClock(now_ms - 500), sealing=sealing(directory))
    with pytest.raises(EncryptionKeyNotInForce, match=HEBEI):
        composer.issue_again(world.record.envelope)


# --- what a publisher that lies, or somebody between, can try ---------------------------------------------------------

Tampering = tuple[tuple["KeyWrap", ...], tuple["SectionDescriptor", ...], tuple[Section, ...]]


def swapped_wraps(_: World, body: Body, sections: tuple[Section, ...]) -> Tampering:
    """Those of the ministry and of the NGO, which have the same sections."""
    first, ministry, ngo, archive = body.key_wraps
    ngo, ministry = (ngo._replace(wrapped_keys=each.wrapped_keys) for each in (ministry, ngo))
    return (
        (first, ministry._replace(agency=MINISTRY, key_id=body.key_wraps[1].key_id), ngo, archive),
        body.sections,
        sections,
    )


def wrap_for_another(world: World, body: Body, sections: tuple[Section, ...]) -> Tampering:
    """It names hebei's key, but only the ministry's opens it."""
    wrap = body.key_wraps[0]
    content_keys = world.keys[HEBEI][0].private.unwrap(wrap.wrapped_keys, wrap_info(TRUST_DOMAIN, body, wrap))
    info = wrap_info(TRUST_DOMAIN, body, wrap)
    wrapped = WRAPPER.wrap(world.keys[MINISTRY][0].listed, content_keys, info)
    return (wrap._replace(wrapped_keys=wrapped), *body.key_wraps[1:]), body.sections, sections


def moved_section(world: World, body: Body, sections: tuple[Section, ...]) -> Tampering:
    """The ciphertexts of two sections change places, with their digests and commitments."""
    one, two, three = body.sections
    described = (
        one._replace(sha256=three.sha256, key_commitment=three.key_commitment),
        two,
        three._replace(sha256=one.sha256, key_commitment=one.key_commitment),
    )
    moved = (
        sections[0]._replace(content=sections[2].content),
        sections[1],
        sections[2]._replace(content=sections[0].content),
    )
    # The publisher wraps the content keys in the new order, to what the wrap is bound to now.
    changed = replace(body, sections=described)
    wraps = tuple(rewrapped(world, body, changed, wrap, lambda keys: keys[::-1]) for wrap in body.key_wraps)
    return wraps, described, moved


def rewrapped(
    world: World, body: Body, changed: Body, wrap: KeyWrap, make: Callable[[list[bytes]], list[bytes]]
) -> KeyWrap:
    """A wrap as the publisher would make it, with other content keys."""
    key = next(key for key in world.keys[wrap.agency] if key.private.key_id == wrap.key_id)
    joined = key.private.unwrap(wrap.wrapped_keys, wrap_info(TRUST_DOMAIN, body, wrap))
    parts = make([joined[at : at + 32] for at in range(0, len(joined), 32)])
    return wrap._replace(wrapped_keys=WRAPPER.wrap(key.listed, b"".join(parts), wrap_info(TRUST_DOMAIN, changed, wrap)))


def two_key_ciphertext(world: World, body: Body, sections: tuple[Section, ...]) -> Tampering:
    """One recipient gets another content key than the others, as for a ciphertext that opens under two keys."""
    wrap = rewrapped(world, body, body, body.key_wraps[0], lambda keys: [b"\1" * 32, *keys[1:]])
    return (wrap, *body.key_wraps[1:]), body.sections, sections


def truncated(by: int) -> Callable[[World, Body, tuple[Section, ...]], Tampering]:
    def cut(_world: World, body: Body, sections: tuple[Section, ...]) -> Tampering:
        return with_content(body, sections, sections[0].content[:by])

    return cut


def with_content(body: Body, sections: tuple[Section, ...], data: bytes) -> Tampering:
    """The first section has other bytes, and the publisher signs their digest."""
    described = (body.sections[0]._replace(sha256=hashlib.sha256(data).digest()), *body.sections[1:])
    return body.key_wraps, described, (sections[0]._replace(content=data), *sections[1:])


def of_another_record(world: World, *_: object) -> Tampering:
    """Wraps and sections of another record of the same publisher."""
    other = world.compose()
    return other.body.key_wraps, other.body.sections, other.envelope.sections


def section_of_another_record(world: World, body: Body, sections: tuple[Section, ...]) -> Tampering:
    """A section of another record, with a wrap that was made for this one."""
    other = world.compose()
    described = (other.body.sections[0], *body.sections[1:])
    changed = replace(body, sections=described)
    theirs = other.body.key_wraps[0]
    first = world.keys[HEBEI][0].private.unwrap(theirs.wrapped_keys, wrap_info(TRUST_DOMAIN, other.body, theirs))[:32]
    wraps = tuple(rewrapped(world, body, changed, wrap, lambda keys: [first, *keys[1:]]) for wrap in body.key_wraps)
    return wraps, described, (other.envelope.sections[0], *sections[1:])


def not_padded(world: World, body: Body, sections: tuple[Section, ...]) -> Tampering:
    """The publisher encrypts what ``pad`` never returns."""
    content_key = b"\2" * 32
    context = section_context(TRUST_DOMAIN, body, body.sections[0])
    data, commitment = CIPHER.seal(content_key, b"n" * 12, context, CANARY)
    digest = hashlib.sha256(data).digest()
    described = (body.sections[0]._replace(sha256=digest, key_commitment=commitment), *body.sections[1:])
    changed = replace(body, sections=described)
    wraps = tuple(
        rewrapped(world, body, changed, wrap, lambda keys: [content_key, *keys[1:]]) for wrap in body.key_wraps
    )
    return wraps, described, (sections[0]._replace(content=data), *sections[1:])


ATTACKS: dict[str, tuple[type[CaseExchangeError], str, Callable[..., Tampering]]] = {
    "wraps swapped": (SealInvalid, MINISTRY, swapped_wraps),
    "a wrap that opens only for another": (SealInvalid, HEBEI, wrap_for_another),
    "sections moved": (KeyCommitmentBroken, HEBEI, moved_section),
    "a ciphertext for two keys": (KeyCommitmentBroken, HEBEI, two_key_ciphertext),
    "cut by a byte": (SealInvalid, HEBEI, truncated(-1)),
    "cut to nonce and a little": (SealInvalid, HEBEI, truncated(16)),
    "replayed in another record": (SealInvalid, HEBEI, of_another_record),
    "a section replayed in another record": (KeyCommitmentBroken, HEBEI, section_of_another_record),
    "not padded": (SealInvalid, HEBEI, not_padded),
}


@pytest.mark.parametrize(("error", "agency", "attack"), ATTACKS.values(), ids=ATTACKS)
def test_nothing_of_a_record_is_read_that_is_not_as_it_was_sealed(
    world: World, error: type[CaseExchangeError], agency: str, attack: Callable[..., Tampering]
) -> None:
    body, envelope = world.record
    wraps, described, sections = attack(world, body, envelope.sections)
    tampered = world.signed(replace(body, key_wraps=wraps, sections=described), sections)
    visible = frozenset({"case", "photos"} | ({"identity"} if agency == HEBEI else set()))
    with pytest.raises(error) as refused:
        world.open(tampered.with_sections(visible), agency)
    assert type(refused.value) is error
    assert "CANARY" not in refused.value.line + str(refused.value.details)


def test_what_the_broker_refuses_a_recipient_refuses_too(world: World) -> None:
    body, envelope = world.record
    _, *others = body.key_wraps
    fewer = world.signed(replace(body, key_wraps=tuple(others)), envelope.sections)
    with pytest.raises(KeyWrapsInvalid):
        world.open(fewer)
    ended = replace(world.keys[HEBEI][0], listed=replace(world.keys[HEBEI][0].listed, retired_at_ms=world.pki.now_ms))
    with pytest.raises(EncryptionKeyNotInForce):
        world.open(envelope, directory=with_keys(world.pki.directory, {**world.keys, HEBEI: (ended,)}))
    parts = (Principal(TRUST_DOMAIN, SHANXI, "gateway"), world.pki.signer(), CODEC, SystemEntropy())
    plain = RecordComposer(*parts, ManualClock(world.pki.now_ms)).compose(
        Draft("CaseRecord", "cases", CASE, (Recipient(HEBEI, 1),), "child-rescue", (SectionDraft("case", "t", CANARY),))
    )
    with pytest.raises(SealingRequired):
        world.open(plain.envelope)


@given(data=st.data())
def test_no_changed_byte_of_a_wrap_or_a_section_gives_a_content(pki: SamplePki, data: st.DataObject) -> None:
    world = _worlds.setdefault("one", World(pki, P256))
    body, envelope = world.record
    where = data.draw(st.sampled_from(["wrap", "section", "commitment"]))
    change = data.draw(st.integers(1, 255))

    def flipped(original: bytes) -> bytes:
        at = data.draw(st.integers(0, len(original) - 1))
        return original[:at] + bytes([original[at] ^ change]) + original[at + 1 :]

    wraps, described, sections = body.key_wraps, body.sections, envelope.sections
    if where == "wrap":
        wraps = (wraps[0]._replace(wrapped_keys=flipped(wraps[0].wrapped_keys)), *wraps[1:])
    elif where == "section":
        _, described, sections = with_content(body, sections, flipped(sections[0].content))
    else:
        described = (described[0]._replace(key_commitment=flipped(described[0].key_commitment)), *described[1:])
    with pytest.raises((SealInvalid, KeyCommitmentBroken)):
        world.open(world.signed(replace(body, key_wraps=wraps, sections=described), sections))


_worlds: dict[str, World] = {}


@given(st.binary(max_size=3000))
def test_every_content_comes_back_as_it_was(pki: SamplePki, anything: bytes) -> None:
    world = _worlds.setdefault("one", World(pki, P256))
    record = world.compose(content=anything)
    assert world.open(record.envelope)["case"] == anything + b"case"


def flip_last(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def test_an_opening_gives_all_or_nothing(world: World) -> None:
    """One broken section of several: the whole record is refused, and nothing of it is returned."""
    body, envelope = world.record
    wraps, described, sections = with_content(body, envelope.sections, flip_last(envelope.sections[0].content))
    broken = world.signed(replace(body, key_wraps=wraps, sections=described), sections)
    with pytest.raises(SealInvalid):
        world.open(broken)
    assert world.open(broken.with_sections(frozenset({"photos"}))) == content("photos")


def test_the_cipher_gives_what_the_verifier_gives(world: World) -> None:
    body, envelope = world.record
    wrap = body.key_wraps[0]
    joined = world.keys[HEBEI][0].private.unwrap(wrap.wrapped_keys, wrap_info(TRUST_DOMAIN, body, wrap))
    sealed = SealedContent(envelope.sections[0].content, body.sections[0].key_commitment)
    padded = CIPHER.open(joined[:32], section_context(TRUST_DOMAIN, body, body.sections[0]), sealed)
    assert padded[4 : 4 + len(CANARY) + 4] == CANARY + b"case"
    assert not any(padded[4 + len(CANARY) + 4 :])


def test_a_directory_that_lets_everything_be_plain_unseals_only_the_kinds_that_the_publisher_ever_publishes_plain(
    world: World,
) -> None:
    police = world.directory.agency(SHANXI)
    rights = {name: replace(right, plain=frozenset({"*"})) for name, right in police.publish.items()}
    granted = replace(world.directory, agencies={**world.directory.agencies, SHANXI: replace(police, publish=rights)})
    composed = world.compose(sealed_with=sealing(granted))
    assert CANARY not in b"".join(section.content for section in composed.envelope.sections)
    own_floor = sealing(granted)._replace(plain_kinds=frozenset({"CaseRecord"}))
    composed = world.compose(sealed_with=own_floor)
    assert CANARY in b"".join(section.content for section in composed.envelope.sections)


def test_a_key_that_came_within_one_tick_of_the_folder_s_clock_is_looked_for_again(world: World) -> None:
    class LateKeys(HeldKeys):
        """Knows of no key until somebody opens with it, as a folder that looks unchanged."""

        def key_ids(self) -> Collection[bytes]:
            return ()

    late = Opening(CIPHER, LateKeys(world.keys[HEBEI]))
    verifier = RecordVerifier(HEBEI, CODEC, late)
    version = world.pki.in_force(world.directory)
    opened = verifier.verify(world.record.envelope, world.pki.now_ms, version).sections
    assert opened == content("case", "identity", "photos")
