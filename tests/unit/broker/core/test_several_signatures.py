"""Records of which a directory demands several signatures: what broker, recipient and auditor make of each."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.client.verifying import RecordVerifier
from broker.core.algorithms import ALGORITHMS, ANY_SIGNATURE, SignatureRule, check_required, end_of, rule_for
from broker.core.audit.judge import BatchJudge
from broker.core.body import MAX_SIGNERS, NamedSigner
from broker.core.bundle import BundleEntry, BundleSource, PartitionRecords
from broker.core.envelope import ECDSA_P256_SHA256, ML_DSA_65, Envelope
from broker.core.errors import AlgorithmEnded, CaseExchangeError, SignatureMissing
from broker.core.identity import Principal
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS
from broker.core.streams import Position, StreamPartition
from broker.messagelog.sqlite import SqliteLog
from certs.rights import HEBEI, LAB, SHANXI, TRUST_DOMAIN
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CODEC
from tests.support.signers import (
    BOTH,
    CHIEF,
    KIND,
    TWO_PEOPLE,
    Desk,
    body_of,
    desk,
    ecdsa_signer,
    listing,
    mldsa_signer,
    named,
    record,
    sealed_with,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.policy import Directory
    from broker.ports import Signer

ONE_PERSON: Final = SignatureRule(BOTH)


class World(NamedTuple):
    """An exchange whose directory demands both algorithms of two principals, and further listed keys."""

    pki: SamplePki
    desk: Desk
    directory: Directory
    again: Sequence[Signer]
    """Other keys of the gateway."""
    same_key: Signer
    """The gateway's ECDSA key in a certificate of a third principal."""
    revoked: Signer
    now_ms: int


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    pki = SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")
    made = desk(pki)
    again = (ecdsa_signer(pki), mldsa_signer(pki))
    same_key = ecdsa_signer(pki, system="third", key=pki.signer(HEBEI)._key)
    revoked = pki.revoked["signing"]
    directory = listing(made.directory, HEBEI, *again, same_key, revoked.signer)
    return World(pki, made._replace(directory=directory), directory, again, same_key, revoked.signer, pki.now_ms + 1000)


async def publish(world: World, envelope: Envelope, directory: Directory, now_ms: int) -> str:
    clock = ManualClock(now_ms)
    log = await SqliteLog.open(None, clock)
    service = publish_service(
        world.pki, log, clock, directory=FixedDirectory(directory), keyring=world.pki.keyring(directory)
    )
    outcome = await service.publish(Principal(TRUST_DOMAIN, HEBEI, "gateway"), [envelope])
    await log.close()
    (result,) = outcome.results
    return result.reason if isinstance(result, CaseExchangeError) else ""


def receive(world: World, envelope: Envelope, directory: Directory, now_ms: int) -> str:
    try:
        RecordVerifier(LAB, CODEC).verify(envelope, now_ms, world.pki.in_force(directory))
    except CaseExchangeError as error:
        return error.reason
    return ""


def audit(world: World, envelope: Envelope, directories: Sequence[tuple[int, Directory]], now_ms: int) -> str:
    versions = [world.pki.version(directory, in_force_from_ms=from_ms) for from_ms, directory in directories]
    judge = BatchJudge(versions, CODEC, BundleSource.MESSAGE_LOG)
    entry = BundleEntry(Position("dna", 0, 0), now_ms, "f" * 32, 0, envelope)
    report = judge.judge(StreamPartition("dna", 0), PartitionRecords((entry,), None))
    return report.findings[0].code if report.findings else ""


async def codes(
    world: World, envelope: Envelope, directory: Directory | None = None, now_ms: int | None = None
) -> tuple[str, str, str]:
    """What broker, recipient and auditor say."""
    directory, now_ms = directory or world.directory, now_ms or world.now_ms
    return (
        await publish(world, envelope, directory, now_ms),
        receive(world, envelope, directory, now_ms),
        audit(world, envelope, [(0, directory)], now_ms),
    )


def misnamed(world: World) -> Envelope:
    """The body says that the ML-DSA certificate signs with ECDSA."""
    signers = [named(each)._replace(algorithm=ECDSA_P256_SHA256) for each in world.desk.all]
    return sealed_with(body_of(signers, world.now_ms), world.desk.all)


def with_algorithm(world: World, algorithm: str) -> Envelope:
    first, *others = map(named, world.desk.all)
    return sealed_with(
        body_of([first, others[0]._replace(algorithm=algorithm), *others[1:]], world.now_ms), world.desk.all
    )


def swapped(envelope: Envelope, one: int, other: int) -> Envelope:
    """Two signatures in each other's places, with their names."""
    found = list(envelope.signatures)
    found[one], found[other] = found[other], found[one]
    return replace(envelope, signatures=tuple(found))


def with_value(envelope: Envelope, place: int, value: bytes) -> Envelope:
    found = list(envelope.signatures)
    found[place] = found[place]._replace(value=value)
    return replace(envelope, signatures=tuple(found))


def good(world: World) -> Envelope:
    return record(world.desk.all, world.now_ms)


def other_bytes(world: World) -> bytes:
    """An ML-DSA signature by the right key over another record."""
    return record(world.desk.all, world.now_ms + 1).signatures[1].value


REFUSED: Final[dict[str, tuple[str, Callable[[World], Envelope]]]] = {
    "no second principal": ("SIGNATURE_MISSING", lambda w: record(w.desk.gateway, w.now_ms)),
    "no second principal, in spite of two more keys": (
        "SIGNATURE_MISSING",
        lambda w: record([*w.desk.gateway, *w.again], w.now_ms),
    ),
    "no ML-DSA-65": ("SIGNATURE_MISSING", lambda w: record([w.desk.gateway[0], w.desk.chief[0]], w.now_ms)),
    "no ECDSA": ("SIGNATURE_MISSING", lambda w: record([w.desk.gateway[1], w.desk.chief[1]], w.now_ms)),
    "each principal with one algorithm": (
        "SIGNATURE_MISSING",
        lambda w: record([w.desk.gateway[0], w.desk.chief[1]], w.now_ms),
    ),
    "no ML-DSA-65 of the second": ("SIGNATURE_MISSING", lambda w: record(w.desk.all[:3], w.now_ms)),
    "the last signature was removed": (
        "SIGNATURE_MISSING",
        lambda w: replace(good(w), signatures=good(w).signatures[:-1]),
    ),
    # So SIGNATURE_MISSING says nothing of the signatures that are there.
    "the last signature was removed, and another does not hold": (
        "SIGNATURE_MISSING",
        lambda w: with_value(replace(good(w), signatures=good(w).signatures[:-1]), 1, other_bytes(w)),
    ),
    "all ML-DSA-65 signatures were removed": (
        "SIGNATURE_MISSING",
        lambda w: replace(good(w), signatures=good(w).signatures[::2]),
    ),
    "a certificate twice": (
        "ENVELOPE_MALFORMED",
        lambda w: record([*w.desk.all, w.desk.chief[0]], w.now_ms),
    ),
    "a signature that the body does not name": (
        "ENVELOPE_MALFORMED",
        lambda w: sealed_with(body_of(list(map(named, w.desk.gateway)), w.now_ms), w.desk.all),
    ),
    "in another order than the body says": ("SIGNATURE_INVALID", lambda w: swapped(good(w), 0, 2)),
    "the second principal is of another agency": (
        "SIGNER_NOT_PRINCIPAL",
        lambda w: record([*w.desk.all, w.pki.signer(SHANXI)], w.now_ms),
    ),
    "a certificate that is not listed": (
        "SIGNER_UNKNOWN",
        lambda w: record([*w.desk.all, ecdsa_signer(w.pki, system="fourth")], w.now_ms),
    ),
    "another algorithm than that of the key": ("SIGNATURE_INVALID", misnamed),
    "an algorithm for checkpoints": ("ENVELOPE_MALFORMED", lambda w: with_algorithm(w, "ed25519")),
    "an algorithm that nobody knows": ("ENVELOPE_MALFORMED", lambda w: with_algorithm(w, "ml-dsa-44")),
    "an ML-DSA-65 signature of another record": ("SIGNATURE_INVALID", lambda w: with_value(good(w), 1, other_bytes(w))),
    "an ML-DSA-65 signature that is too short": ("SIGNATURE_INVALID", lambda w: with_value(good(w), 3, bytes(3308))),
    "an ML-DSA-65 signature that is too long": ("SIGNATURE_INVALID", lambda w: with_value(good(w), 3, bytes(3310))),
    "an ECDSA signature that is too long": ("SIGNATURE_INVALID", lambda w: with_value(good(w), 2, bytes(73))),
    "one more signature, that does not hold": (
        "SIGNATURE_INVALID",
        lambda w: with_value(record([*w.desk.all, w.again[0]], w.now_ms), 4, b"\x30\x00"),
    ),
    "one more signature, of a revoked key": ("SIGNER_REVOKED", lambda w: record([*w.desk.all, w.revoked], w.now_ms)),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_lacks_a_demanded_signature_or_has_a_wrong_one_is_refused_by_all_three(
    world: World, name: str
) -> None:
    code, make = REFUSED[name]
    assert await codes(world, make(world)) == (code, code, code)


async def test_what_is_signed_as_demanded_is_taken_in_any_order_and_with_more_signatures(world: World) -> None:
    for signers in (world.desk.all, world.desk.all[::-1], [*world.desk.all, *world.again]):
        assert await codes(world, record(signers, world.now_ms)) == ("", "", "")


async def test_one_key_in_two_certificates_is_one_person(world: World) -> None:
    directory = world.desk.with_rules({KIND: SignatureRule(principals=2)})
    one_key = record([world.desk.gateway[0], world.same_key], world.now_ms)
    assert await codes(world, one_key, directory) == ("SIGNATURE_MISSING",) * 3
    two_keys = record([world.desk.gateway[0], world.desk.chief[0]], world.now_ms)
    assert await codes(world, two_keys, directory) == ("", "", "")


async def test_each_key_of_a_principal_counts_and_not_only_its_first(world: World) -> None:
    directory = world.desk.with_rules({KIND: SignatureRule(principals=2)})
    keys = [world.same_key, world.desk.gateway[0], world.again[0]]
    for signers in itertools.permutations(keys):
        assert await codes(world, record(signers, world.now_ms), directory) == ("", "", "")
    three = world.desk.with_rules({KIND: SignatureRule(principals=3)})
    assert await codes(world, record(keys, world.now_ms), three) == ("SIGNATURE_MISSING",) * 3


async def test_a_kind_without_a_rule_needs_one_signature(world: World) -> None:
    directory = world.desk.with_rules({"Tip": TWO_PEOPLE})
    for signers in (world.desk.gateway[:1], world.desk.gateway, world.desk.gateway[1:]):
        assert await codes(world, record(signers, world.now_ms), directory) == ("", "", "")


async def test_a_rule_counts_from_its_time_on(world: World) -> None:
    directory = world.desk.with_rules({KIND: TWO_PEOPLE._replace(from_ms=world.now_ms)})
    one = record(world.desk.gateway[:1], world.now_ms - 1)
    assert await codes(world, one, directory, world.now_ms - 1) == ("", "", "")
    # The broker looks a moment before it appends. So the others allow for that.
    assert await codes(world, one, directory) == ("SIGNATURE_MISSING", "", "")
    later_ms = world.now_ms + CHANGE_OF_DIRECTORY_MS
    assert await codes(world, one, directory, later_ms) == ("SIGNATURE_MISSING",) * 3


async def test_a_rule_for_later_leaves_the_one_that_is_in_force(world: World) -> None:
    two = SignatureRule(principals=2)
    later_ms = world.now_ms + 90 * 86_400_000
    directory = world.desk.with_rules({KIND: TWO_PEOPLE._replace(from_ms=later_ms, before=two)})
    assert await codes(world, record(world.desk.gateway[:1], world.now_ms), directory) == ("SIGNATURE_MISSING",) * 3
    by_two = record([world.desk.gateway[0], world.desk.chief[0]], world.now_ms)
    assert await codes(world, by_two, directory) == ("", "", "")
    assert rule_for(directory, KIND, later_ms) == directory.signatures[KIND]


async def test_after_its_end_an_algorithm_counts_for_nothing_and_before_it_stays_good(world: World) -> None:
    end_ms = world.now_ms
    directory = world.desk.with_rules({KIND: ONE_PERSON}, {ECDSA_P256_SHA256: end_ms})
    both, ecdsa, mldsa = (record(signers, end_ms - 1) for signers in (world.desk.gateway, *zip(world.desk.gateway)))
    after_ms = end_ms + CHANGE_OF_DIRECTORY_MS
    assert await codes(world, both, directory, end_ms - 1) == ("", "", "")
    assert await codes(world, both, directory, after_ms) == ("", "", "")
    assert await codes(world, mldsa, directory, after_ms) == ("", "", "")
    assert await codes(world, ecdsa, directory, after_ms) == ("SIGNATURE_MISSING",) * 3
    # In the moment after the end, the broker may have looked before it or after it.
    assert await codes(world, mldsa, directory, end_ms) == ("", "", "")
    assert await codes(world, both, directory, end_ms) == ("", "", "")
    assert await codes(world, ecdsa, directory, end_ms) == ("SIGNATURE_MISSING",) * 3
    # A kind without a rule needs one signature that counts.
    bare = world.desk.with_rules({}, {ECDSA_P256_SHA256: end_ms})
    assert await codes(world, ecdsa, bare, end_ms - 1) == ("", "", "")
    assert await codes(world, ecdsa, bare, end_ms) == ("ALGORITHM_ENDED", "", "")
    assert await codes(world, ecdsa, bare, after_ms) == ("ALGORITHM_ENDED",) * 3
    for signed in (both, mldsa):
        assert await codes(world, signed, bare, end_ms) == ("", "", "")
        assert await codes(world, signed, bare, after_ms) == ("", "", "")


def test_an_auditor_judges_by_the_version_of_the_acceptance_and_not_by_an_older_one(world: World) -> None:
    older = world.desk.with_rules({})
    begins_ms = world.now_ms + 2 * CHANGE_OF_DIRECTORY_MS
    versions = [(0, older), (begins_ms, replace(world.directory, version=older.version + 1))]
    stripped = record(world.desk.gateway[:1], world.now_ms)
    assert audit(world, stripped, versions, world.now_ms) == ""
    after_ms = begins_ms + CHANGE_OF_DIRECTORY_MS + 1
    assert audit(world, stripped, versions, after_ms) == "SIGNATURE_MISSING"
    assert audit(world, record(world.desk.all, world.now_ms), versions, after_ms) == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(chosen=st.lists(st.sampled_from(range(6)), min_size=1, max_size=6, unique=True), principals=st.integers(1, 2))
def test_a_record_is_enough_if_and_only_if_enough_principals_signed_with_every_algorithm(
    world: World, chosen: list[int], principals: int
) -> None:
    keys = [*world.desk.all, *world.again]
    keyring = world.pki.keyring(world.directory)
    rules = world.desk.with_rules({KIND: SignatureRule(BOTH, principals)})
    signers = [keyring.signer(keys[number].certificate_sha256) for number in chosen]
    body = body_of([named(keys[number]) for number in chosen], world.now_ms)
    by_principal = {
        "gateway": {n % 2 for n in chosen if n in (0, 1, 4, 5)},
        CHIEF: {n % 2 for n in chosen if n in (2, 3)},
    }
    enough = sum(algorithms == {0, 1} for algorithms in by_principal.values()) >= principals
    try:
        check_required(rules, body, signers, world.now_ms)
    except SignatureMissing:
        assert not enough
    else:
        assert enough


def test_the_registry_and_the_directory_end_an_algorithm_whichever_is_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = world.desk.with_rules({}, {ML_DSA_65: 200})
    assert (end_of(directory, ML_DSA_65), end_of(directory, ECDSA_P256_SHA256)) == (200, None)
    for own_ms, end_ms in ((100, 100), (300, 200)):
        monkeypatch.setitem(ALGORITHMS, ML_DSA_65, ALGORITHMS[ML_DSA_65]._replace(not_after_ms=own_ms))
        assert end_of(directory, ML_DSA_65) == end_ms
    rules = world.desk.with_rules({KIND: SignatureRule((ML_DSA_65,))}, {ML_DSA_65: 200})
    assert rule_for(rules, KIND, 199).algorithms == (ML_DSA_65,)
    with pytest.raises(AlgorithmEnded):
        rule_for(rules, KIND, 200)
    assert rule_for(rules, "Tip", 200) == ANY_SIGNATURE


def test_a_body_has_room_for_the_most_that_a_directory_can_demand(world: World) -> None:
    most = [
        NamedSigner(bytes([number] * 32), name)
        for number, name in enumerate(itertools.islice(itertools.cycle(BOTH), 16))
    ]
    assert len(most) == MAX_SIGNERS >= 8
    assert CODEC.parse_body(CODEC.encode_body(body_of(most, world.now_ms))).signers == tuple(most)
