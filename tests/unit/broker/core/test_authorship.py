"""One set of bad records for the broker, the recipient and the auditor, with the code that each gives.

``FAULTS`` are in the order in which all three check them, with the code that each gives. Any two of them are also put
into one record: the one that is checked first gives the code. If one of the three does not check a fault, its code is
"" and it accepts the record.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from broker.client.verifying import RecordVerifier
from broker.core.audit.judge import BatchJudge
from broker.core.authorship import Certificate, Claim, check_signature, claim
from broker.core.body import Body, NamedSigner, Recipient, SectionDescriptor
from broker.core.bundle import BundleEntry, BundleSource, PartitionRecords
from broker.core.envelope import BODY_TYPE, ECDSA_P256_SHA256, Envelope, Section, Signature
from broker.core.errors import CaseExchangeError, KindUnknown, SignatureInvalid
from broker.core.identity import Principal
from broker.core.sections import salted
from broker.core.streams import Position, StreamPartition
from broker.messagelog.sqlite import SqliteLog
from certs import profiles
from certs.rights import EXCHANGE, HEBEI, LAB, MINISTRY, SHANXI, TRUST_DOMAIN
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.publishing import publish_service
from tests.support.records import CASE, CODEC

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.policy import Directory
    from broker.ports import Signer

SECTION: Final = Section("case", salted(bytes(16), b"synthetic"))
OTHER: Final = Section("case", salted(bytes(16), b"something else"))
ANOTHER: Final = Section("identity", salted(bytes(16), b"synthetic"))


class World(NamedTuple):
    """One exchange. For hebei-police, its directory lists a good, an expired and a revoked certificate.

    Of a SampleRequest, the laboratory may have only the section "case".
    """

    pki: SamplePki
    directory: Directory
    expired: Signer
    revoked: Signer
    now_ms: int


@dataclass
class Record:
    """A record that is being made. Each fault changes one thing in it."""

    world: World
    body: Body
    signer: Signer
    body_type: str = BODY_TYPE
    data: bytes | None = None
    named: bytes | None = None
    """The certificate that the signature names, if it is not the signer's."""
    copies: int = 1
    altered: bool = False
    sections: tuple[Section, ...] = (SECTION,)

    def sign(self, signer: Signer) -> None:
        self.signer = signer
        self.name(certificate_sha256=signer.certificate_sha256)

    def name(self, **fields: object) -> None:
        """Change the body's entry of its first signer."""
        signer, *others = self.body.signers
        self.change(signers=(signer._replace(**fields), *others))  # type: ignore[arg-type]

    def change(self, **fields: object) -> None:
        self.body = replace(self.body, **fields)  # type: ignore[arg-type]

    def envelope(self) -> Envelope:
        data = CODEC.encode_body(self.body) if self.data is None else self.data
        envelope = Envelope(self.body_type, data, (), self.sections)
        signed = envelope.signed_bytes + (b"more" if self.altered else b"")
        named = self.body.signers[0].certificate_sha256 if self.named is None else self.named
        return replace(envelope, signatures=(Signature(named, self.signer.sign(signed)),) * self.copies)


class Fault(NamedTuple):
    """One fault, the part of the record that has it, and the code that each check gives."""

    name: str
    part: str
    put_in: Callable[[Record], object]
    publish: str
    receive: str
    audit: str


def second_signer(record: Record) -> None:
    record.change(signers=(*record.body.signers, NamedSigner(bytes(range(32)), ECDSA_P256_SHA256)))


def other_agency(record: Record) -> None:
    """A good record of another agency, sent over this agency's connection."""
    record.change(publisher=SHANXI)
    record.sign(record.world.pki.signer(SHANXI))


def another_section(record: Record) -> None:
    digest = hashlib.sha256(ANOTHER.content).digest()
    described = SectionDescriptor(ANOTHER.name, "synthetic", digest, frozenset())
    record.change(sections=(*record.body.sections, described))
    record.sections += (ANOTHER,)


ID_OF_THE_EXCHANGE: Final = "01990000-0000-8000-8000-000000000001"
FAULTS: Final = (
    Fault("body type", "type", lambda r: setattr(r, "body_type", "text/plain"), *["BODY_TYPE_UNSUPPORTED"] * 3),
    Fault("no body", "body", lambda r: setattr(r, "data", b"\xff"), *["ENVELOPE_MALFORMED"] * 3),
    Fault("body form", "body", lambda r: r.change(case_id="a name"), *["ENVELOPE_MALFORMED"] * 3),
    Fault("id of the exchange", "kind", lambda r: r.change(record_id=ID_OF_THE_EXCHANGE), *["ENVELOPE_MALFORMED"] * 3),
    Fault("no signature", "count", lambda r: setattr(r, "copies", 0), *["ENVELOPE_MALFORMED"] * 3),
    Fault("two signatures", "count", lambda r: setattr(r, "copies", 2), *["ENVELOPE_MALFORMED"] * 3),
    Fault("two signers", "count", second_signer, *["SIGNATURE_MISSING"] * 3),
    Fault("algorithm", "algorithm", lambda r: r.name(algorithm="none"), *["ENVELOPE_MALFORMED"] * 3),
    Fault("unknown kind", "kind", lambda r: r.change(kind="Gossip"), *["KIND_UNKNOWN"] * 3),
    Fault(
        "kind of the broker",
        "kind",
        lambda r: r.change(kind="AuditEvents", stream="audit", record_id=ID_OF_THE_EXCHANGE),
        *["KIND_UNKNOWN"] * 3,
    ),
    Fault("kind on another stream", "kind", lambda r: r.change(stream="notices"), *["KIND_UNKNOWN"] * 3),
    Fault(
        "signature of another name",
        "named",
        lambda r: setattr(r, "named", r.world.pki.signer(MINISTRY).certificate_sha256),
        *["SIGNATURE_INVALID"] * 3,
    ),
    Fault(
        "certificate not listed",
        "signer",
        lambda r: r.name(certificate_sha256=bytes(32)),
        *["SIGNER_UNKNOWN"] * 3,
    ),
    Fault(
        "certificate of another agency",
        "signer",
        lambda r: r.sign(r.world.pki.signer(SHANXI)),
        *["SIGNER_NOT_PRINCIPAL"] * 3,
    ),
    Fault("publisher is not the peer", "signer", other_agency, "SIGNER_NOT_PRINCIPAL", "", ""),
    Fault("system is not the peer's", "system", lambda r: r.change(system="archive"), "SIGNER_NOT_PRINCIPAL", "", ""),
    Fault("bytes not signed", "signature", lambda r: setattr(r, "altered", True), *["SIGNATURE_INVALID"] * 3),
    Fault("certificate expired", "signer", lambda r: r.sign(r.world.expired), *["SIGNER_CERTIFICATE_INVALID"] * 3),
    Fault("certificate revoked", "signer", lambda r: r.sign(r.world.revoked), *["SIGNER_REVOKED"] * 3),
    Fault("section altered", "sections", lambda r: setattr(r, "sections", (OTHER,)), *["SECTION_MISMATCH"] * 3),
    Fault("section missing", "sections", lambda r: setattr(r, "sections", ()), "SECTION_MISMATCH", "", ""),
    Fault(
        "for another agency",
        "recipients",
        lambda r: r.change(recipients=(Recipient(MINISTRY, 1),)),
        "RIGHT_DENIED",
        "NOT_ADDRESSED",
        "RIGHT_DENIED",
    ),
    Fault("purpose", "purpose", lambda r: r.change(purpose="curiosity"), *["RIGHT_DENIED"] * 3),
    Fault(
        "kind without the right",
        "kind",
        lambda r: r.change(kind="MatchNotification"),
        *["RIGHT_DENIED"] * 3,
    ),
    Fault("section that the recipient may not have", "another section", another_section, "", "SECTION_NOT_ALLOWED", ""),
    Fault(
        "from the future", "time", lambda r: r.change(issued_at_ms=r.world.now_ms + 200_000), "ISSUED_IN_FUTURE", "", ""
    ),
    Fault("expired", "time", lambda r: r.change(expires_at_ms=r.world.now_ms), "RECORD_EXPIRED", "", ""),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    pki = SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")
    expired, revoked = pki.expired(agency=HEBEI), pki.revoked[profiles.SIGNING.authority]
    good = pki.directory.agencies[HEBEI].signing_certificates
    directory = pki.directory_with(HEBEI, [*good, expired.der, revoked.der])
    case_only = replace(directory.agencies[LAB].receive["SampleRequest"], sections=frozenset({"case"}))
    lab = replace(directory.agencies[LAB], receive={**directory.agencies[LAB].receive, "SampleRequest": case_only})
    directory = replace(directory, agencies={**directory.agencies, LAB: lab})
    return World(pki, directory, expired.signer, revoked.signer, pki.now_ms + 1000)


def make(world: World, *faults: Fault) -> Envelope:
    signer = world.pki.signer(HEBEI)
    digest = hashlib.sha256(SECTION.content).digest()
    body = Body(
        record_id="01990000-0000-7000-8000-000000000001",
        kind="SampleRequest",
        stream="dna",
        case_id=CASE,
        publisher=HEBEI,
        system="gateway",
        recipients=(Recipient(LAB, 1),),
        issued_at_ms=world.now_ms,
        expires_at_ms=None,
        in_reply_to="",
        supersedes="",
        purpose="dna-matching",
        signers=(NamedSigner(signer.certificate_sha256, ECDSA_P256_SHA256),),
        sections=(SectionDescriptor("case", "synthetic", digest, frozenset()),),
    )
    record = Record(world, body, signer)
    for fault in faults:
        fault.put_in(record)
    return record.envelope()


async def publish(world: World, envelope: Envelope) -> str:
    clock = ManualClock(world.now_ms)
    log = await SqliteLog.open(None, clock)
    service = publish_service(
        world.pki, log, clock, directory=FixedDirectory(world.directory), keyring=world.pki.keyring(world.directory)
    )
    outcome = await service.publish(Principal(TRUST_DOMAIN, HEBEI, "gateway"), [envelope])
    await log.close()
    (result,) = outcome.results
    return result.reason if isinstance(result, CaseExchangeError) else ""


def receive(world: World, envelope: Envelope) -> str:
    try:
        RecordVerifier(LAB, CODEC).verify(envelope, world.now_ms, world.pki.in_force(world.directory))
    except CaseExchangeError as error:
        return error.reason
    return ""


def audit(world: World, envelope: Envelope) -> str:
    judge = BatchJudge([world.pki.version(world.directory)], CODEC, BundleSource.MESSAGE_LOG)
    try:
        stream = CODEC.parse_body(envelope.body).stream
    except CaseExchangeError:
        stream = "dna"
    entry = BundleEntry(Position(stream, 0, 0), world.now_ms, "f" * 32, 0, envelope)
    report = judge.judge(StreamPartition(stream, 0), PartitionRecords((entry,), None))
    return report.findings[0].code if report.findings else ""


def first(walk: str, one: Fault, other: Fault) -> str:
    """The code for a record with both faults. ``one`` is checked before ``other``."""
    return str(getattr(one, walk) or getattr(other, walk))


async def test_a_good_record_is_taken(world: World) -> None:
    good = make(world)
    assert (await publish(world, good), receive(world, good), audit(world, good)) == ("", "", "")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_each_fault_has_its_code(world: World, fault: Fault) -> None:
    bad = make(world, fault)
    codes = (await publish(world, bad), receive(world, bad), audit(world, bad))
    assert codes == (fault.publish, fault.receive, fault.audit)


PAIRS: Final = [(one, other) for one, other in itertools.combinations(FAULTS, 2) if one.part != other.part]


async def test_of_two_faults_the_first_gives_the_code(world: World) -> None:
    wrong = []
    for one, other in PAIRS:
        bad = make(world, one, other)
        codes = (await publish(world, bad), receive(world, bad), audit(world, bad))
        expected = tuple(first(walk, one, other) for walk in ("publish", "receive", "audit"))
        if codes != expected:
            wrong.append((one.name, other.name, codes, expected))
    assert not wrong, "\n".join(map(str, wrong))


# --- the claim by itself ---


def claimed(world: World, *, exchange: str = "", **fields: object) -> Claim[Certificate]:
    """The claim of a record with the exchange's own certificate. These fields replace those of an audit record."""
    record = Record(world, CODEC.parse_body(make(world).body), world.pki.signer(EXCHANGE))
    record.sign(record.signer)
    record.change(**{"publisher": EXCHANGE, "kind": "AuditEvents", "stream": "audit", **fields})
    return claim(record.envelope(), record.body, world.pki.keyring(world.directory), exchange=exchange)


def test_the_brokers_own_kinds_are_its_own_where_they_may_come_and_nobodys_elsewhere(world: World) -> None:
    assert claimed(world, exchange=EXCHANGE).signers[0].certificate.agency == EXCHANGE
    for where, fields in (
        (EXCHANGE, {"stream": "dna"}),
        (EXCHANGE, {"kind": "SampleRequest", "stream": "dna"}),
        (EXCHANGE, {"publisher": HEBEI}),
        ("", {}),
    ):
        with pytest.raises(KindUnknown):
            claimed(world, exchange=where, **fields)


@pytest.mark.parametrize("fault", ["no signature", "signature of another name", "certificate of another agency"])
def test_a_refused_claim_names_its_record(world: World, fault: str) -> None:
    (found,) = (item for item in FAULTS if item.name == fault)
    bad = make(world, found)
    body = CODEC.parse_body(bad.body)
    with pytest.raises(CaseExchangeError) as caught:
        claim(bad, body, world.pki.keyring(world.directory))
    assert caught.value.details == {"record_id": body.record_id}


def test_a_signature_that_was_found_not_to_hold_names_its_record(world: World) -> None:
    good = make(world)
    made = claim(good, CODEC.parse_body(good.body), world.pki.keyring(world.directory))
    check_signature(made)
    check_signature(made, holds=[True])
    with pytest.raises(SignatureInvalid) as caught:
        check_signature(made, holds=[False])
    assert caught.value.details == {"record_id": made.body.record_id}
