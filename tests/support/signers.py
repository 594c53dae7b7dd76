"""Keys of several principals and algorithms of one agency, and records with any signatures of theirs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, mldsa

from broker.core.algorithms import SignatureRule
from broker.core.body import Body, NamedSigner, Recipient, SectionDescriptor
from broker.core.envelope import BODY_TYPE, ECDSA_P256_SHA256, ML_DSA_65, Envelope, Section, Signature
from broker.core.identity import Principal
from broker.core.sections import salted
from broker.trust.certificates import der
from broker.trust.recordkeys import MlDsaSigner
from broker.trust.signing import EcdsaSigner
from certs import profiles
from certs.rights import HEBEI, LAB, TRUST_DOMAIN
from tests.support.records import CASE, CODEC

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.policy import Directory
    from broker.ports import Signer
    from tests.support.pki import SamplePki

KIND: Final = "SampleRequest"
SECTION: Final = Section("case", salted(bytes(16), b"synthetic"))
BOTH: Final = (ECDSA_P256_SHA256, ML_DSA_65)
TWO_PEOPLE: Final = SignatureRule(BOTH, 2)
CHIEF: Final = "chief"
"""The system of the second principal."""

AnySigner = EcdsaSigner | MlDsaSigner


def ecdsa_signer(
    pki: SamplePki, agency: str = HEBEI, system: str = "gateway", key: ec.EllipticCurvePrivateKey | None = None
) -> EcdsaSigner:
    """A new certificate of the signing authority."""
    key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
    principal = Principal(TRUST_DOMAIN, agency, system)
    certificate = pki.authority("signing").issue(profiles.SIGNING, principal, key.public_key(), pki.now)
    return EcdsaSigner(key, certificate)


def mldsa_signer(pki: SamplePki, agency: str = HEBEI, system: str = "gateway") -> MlDsaSigner:
    """The same with a new ML-DSA-65 key."""
    key, principal = mldsa.MLDSA65PrivateKey.generate(), Principal(TRUST_DOMAIN, agency, system)
    profile = profiles.SIGNING_ML_DSA_65
    return MlDsaSigner(key, pki.authority("signing").issue(profile, principal, key.public_key(), pki.now))


class Desk(NamedTuple):
    """The keys of an agency's gateway and of its chief, and a directory that lists and demands all of them."""

    directory: Directory
    gateway: tuple[AnySigner, ...]
    chief: tuple[AnySigner, ...]

    @property
    def all(self) -> tuple[AnySigner, ...]:
        return self.gateway + self.chief

    def with_rules(self, rules: Mapping[str, SignatureRule], ends: Mapping[str, int] | None = None) -> Directory:
        return replace(self.directory, signatures=dict(rules), ended_algorithms=dict(ends or {}))


def listing(directory: Directory, agency: str, *signers: AnySigner) -> Directory:
    """The directory with these certificates beside the others of an agency."""
    member = directory.agencies[agency]
    more = tuple(der(signer.certificate) for signer in signers)
    member = replace(member, signing_certificates=(*member.signing_certificates, *more))
    return replace(directory, agencies={**directory.agencies, agency: member})


def desk(pki: SamplePki, agency: str = HEBEI) -> Desk:
    gateway = (pki.signer(agency), mldsa_signer(pki, agency))
    chief = (ecdsa_signer(pki, agency, CHIEF), mldsa_signer(pki, agency, CHIEF))
    directory = listing(pki.directory, agency, gateway[1], *chief)
    return Desk(replace(directory, signatures={KIND: TWO_PEOPLE}), gateway, chief)


def body_of(signers: Sequence[NamedSigner], issued_at_ms: int) -> Body:
    return Body(
        record_id="01990000-0000-7000-8000-000000000001",
        kind=KIND,
        stream="dna",
        case_id=CASE,
        publisher=HEBEI,
        system="gateway",
        recipients=(Recipient(LAB, 1),),
        issued_at_ms=issued_at_ms,
        expires_at_ms=None,
        in_reply_to="",
        supersedes="",
        purpose="dna-matching",
        signers=tuple(signers),
        sections=(SectionDescriptor("case", "synthetic", hashlib.sha256(SECTION.content).digest(), frozenset()),),
    )


def named(signer: Signer) -> NamedSigner:
    return NamedSigner(signer.certificate_sha256, signer.algorithm)


def sealed_with(body: Body, signers: Sequence[Signer]) -> Envelope:
    """The record with a signature of each of these, in this order, whatever its body names."""
    bare = Envelope(BODY_TYPE, CODEC.encode_body(body), (), (SECTION,))
    made = tuple(Signature(each.certificate_sha256, each.sign(bare.signed_bytes)) for each in signers)
    return replace(bare, signatures=made)


def record(signers: Sequence[Signer], issued_at_ms: int) -> Envelope:
    """A record that names these signers, with their signatures."""
    return sealed_with(body_of(list(map(named, signers)), issued_at_ms), signers)
