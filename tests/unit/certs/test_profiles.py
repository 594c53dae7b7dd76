from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import DNSName
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from broker.core.errors import CertificateInvalid
from broker.trust.recordkeys import algorithm_of
from certs import profiles
from certs.profiles import (
    KAFKA_CLIENT,
    KAFKA_NODE,
    PROFILES,
    SIGNING,
    SIGNING_ML_DSA_65,
    TLS_CLIENT,
    TLS_PEER,
    TLS_SERVER,
)
from certs.rights import SHANXI
from tests.support.signers import mldsa_signer

if TYPE_CHECKING:
    from certs.profiles import Profile
    from tests.support.pki import SamplePki


def system(profile: Profile) -> str:
    return "kafka-node-1" if profile is KAFKA_NODE else "gateway"


def builder(pki: SamplePki, profile: Profile) -> PolicyBuilder:
    """This verifier takes no chain with a constraint on URIs, so it gets the authority's certificate without one."""
    own = pki.authority(profile.authority)
    name = own.certificate.subject
    free = profiles.authority(name.rfc4514_string().removeprefix("CN="), own.key.public_key(), pki.now)
    return PolicyBuilder().store(Store([free.issuer_name(name).sign(own.key, hashes.SHA256())])).time(pki.now)


@pytest.mark.parametrize("profile", [TLS_SERVER, TLS_PEER, KAFKA_NODE])
def test_a_strict_tls_client_accepts_a_server_certificate_for_its_names_only(pki: SamplePki, profile: Profile) -> None:
    certificate = pki.credential(profile, system=system(profile)).certificate
    builder(pki, profile).build_server_verifier(DNSName("localhost")).verify(certificate, [])
    with pytest.raises(VerificationError):
        builder(pki, profile).build_server_verifier(DNSName("elsewhere.example")).verify(certificate, [])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]


@pytest.mark.parametrize("profile", [TLS_CLIENT, TLS_PEER, KAFKA_NODE, KAFKA_CLIENT])
def test_a_strict_tls_server_accepts_a_client_certificate(pki: SamplePki, profile: Profile) -> None:
    certificate = pki.credential(profile, system=system(profile)).certificate
    builder(pki, profile).build_client_verifier().verify(certificate, [])


@pytest.mark.parametrize(("profile", "other"), [(TLS_CLIENT, KAFKA_CLIENT), (KAFKA_CLIENT, TLS_CLIENT)])
def test_grpc_and_kafka_do_not_accept_each_other_s_certificates(
    pki: SamplePki, profile: Profile, other: Profile
) -> None:
    with pytest.raises(VerificationError):
        builder(pki, profile).build_client_verifier().verify(pki.credential(other).certificate, [])


@pytest.mark.parametrize("profile", [TLS_SERVER, SIGNING])
def test_a_strict_tls_server_refuses_the_other_profiles(pki: SamplePki, profile: Profile) -> None:
    with pytest.raises(VerificationError):
        builder(pki, profile).build_client_verifier().verify(pki.credential(profile).certificate, [])


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_leaf_has_critical_constraints_one_uri_name_and_both_key_identifiers(
    pki: SamplePki, profile: Profile
) -> None:
    post_quantum = profile is SIGNING_ML_DSA_65
    made = mldsa_signer(pki, SHANXI) if post_quantum else pki.credential(profile, system=system(profile))
    certificate = made.certificate
    extensions = certificate.extensions
    critical = {type(extension.value) for extension in extensions if extension.critical}
    assert critical == {x509.BasicConstraints, x509.KeyUsage}
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == [f"spiffe://case-exchange.example/agency/shanxi-police/{system(profile)}"]
    own = pki.authority(profile.authority).certificate.extensions
    above = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert above == own.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert certificate.not_valid_after_utc - pki.now == profile.lifetime
    assert algorithm_of(certificate.public_key()) == profile.algorithm
    assert profiles.profile_of(certificate) is profile


def test_only_a_server_s_certificate_has_dns_names(pki: SamplePki) -> None:
    for profile in (TLS_CLIENT, SIGNING, KAFKA_CLIENT):
        names = pki.credential(profile).certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert len(list(names.value)) == 1


def test_an_authority_issues_leaves_only(pki: SamplePki) -> None:
    certificate = pki.authority("tls").certificate
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert profiles.profile_of(certificate) is None


def test_a_long_agency_id_still_gives_a_certificate(pki: SamplePki) -> None:
    subject = pki.credential(agency="a" * 63, system="b" * 63).certificate.subject
    assert subject.rfc4514_string() == "CN=" + "a" * 63


@pytest.mark.parametrize(("profile", "name"), [(KAFKA_CLIENT, "kafka-node-1"), (KAFKA_NODE, "gateway")])
def test_nothing_but_a_kafka_node_is_certified_under_a_node_s_name(pki: SamplePki, profile: Profile, name: str) -> None:
    with pytest.raises(CertificateInvalid, match="a Kafka node, and nothing else, must be called kafka-node-1"):
        pki.credential(profile, system=name)


def test_a_name_that_kafka_would_see_cut_is_not_certified(pki: SamplePki) -> None:
    longest = pki.credential(KAFKA_CLIENT, agency="a" * 40, system="b" * 10).certificate.subject
    assert longest.rfc4514_string() == "CN=" + "a" * 40 + "/" + "b" * 10 + " kafka-client"
    with pytest.raises(CertificateInvalid, match="too long"):
        pki.credential(KAFKA_CLIENT, agency="a" * 40, system="b" * 11)


@pytest.mark.parametrize(
    ("common_name", "principal"),
    [
        ("exchange/broker kafka-client", "exchange/broker"),
        ("exchange/kafka-node-3 kafka-node", "exchange/kafka-node-3"),
        ("exchange/kafka-node-3 kafka-client", None),
        ("exchange/broker kafka-node", None),
        ("exchange broker tls-peer", None),
        ("exchange/broker kafka-client,O=exchange", None),
        ("evil,CN=exchange/broker kafka-client", None),
    ],
)
def test_kafka_s_mapping_rules_give_a_principal_to_exact_names_only(common_name: str, principal: str | None) -> None:
    rules = [rule.removeprefix("RULE:").split("/$1/")[0] for rule in profiles.KAFKA_PRINCIPAL_RULES.split(",")]
    found = [match[1] for rule in rules if (match := re.fullmatch(rule, f"CN={common_name}"))]
    assert found == ([principal] if principal else [])
