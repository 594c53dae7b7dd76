"""Certificate profiles: what each kind of certificate may be used for, and for how long.

TLS and signing certificates come from separate authorities and have usages that exclude each other, so that a stolen
TLS key signs no record, and a stolen signing key opens no connection. Every leaf names its principal by exactly one
``spiffe://`` URI (SPIFFE X509-SVID section 2); common names are for people.

Kafka is the exception: it knows a peer by its distinguished name alone. Certificates for Kafka therefore come from an
authority of their own, which nothing else trusts and which trusts nothing else, and their common names are exact:
``<agency>/<system> <profile>``.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.core.errors import CertificateInvalid
from broker.trust.certificates import DOCUMENT_SIGNING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric import ec

    from broker.core.identity import Principal

AuthorityKind = Literal["tls", "signing", "kafka"]

TLS_LIFETIME: Final = timedelta(days=7)
SIGNING_LIFETIME: Final = timedelta(days=2 * 365)
AUTHORITY_LIFETIME: Final = timedelta(days=10 * 365)
BACKDATING: Final = timedelta(minutes=5)
"""Certificates begin this long before they are issued, for peers whose clocks are slow."""

LOCAL_NAMES: Final = ("localhost", "127.0.0.1")
"""Names of a TLS server that is reached on the machine it runs on."""

_COMMON_NAME_LENGTH: Final = 64
"""X.520's bound."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of leaf certificate: its usages, how long it lives, and which authority issues it."""

    name: str
    authority: AuthorityKind
    lifetime: timedelta
    usages: tuple[x509.ObjectIdentifier, ...]

    @property
    def is_server(self) -> bool:
        """Whether TLS clients will compare the certificate's DNS names and addresses with where they connected."""
        return ExtendedKeyUsageOID.SERVER_AUTH in self.usages

    @property
    def file_stem(self) -> str:
        """The name, without suffix, of its key and certificate files."""
        return self.authority


TLS_SERVER: Final = Profile("tls-server", "tls", TLS_LIFETIME, (ExtendedKeyUsageOID.SERVER_AUTH,))
TLS_CLIENT: Final = Profile("tls-client", "tls", TLS_LIFETIME, (ExtendedKeyUsageOID.CLIENT_AUTH,))
TLS_PEER: Final = Profile(
    "tls-peer", "tls", TLS_LIFETIME, (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
)
"""For a broker, which serves and also asks other brokers for their status."""
SIGNING: Final = Profile("signing", "signing", SIGNING_LIFETIME, (DOCUMENT_SIGNING,))
KAFKA_NODE: Final = Profile(
    "kafka-node", "kafka", TLS_LIFETIME, (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
)
"""For a Kafka node, which serves clients and calls the other nodes."""
KAFKA_CLIENT: Final = Profile("kafka-client", "kafka", TLS_LIFETIME, (ExtendedKeyUsageOID.CLIENT_AUTH,))
"""Short-lived because Kafka reads no revocation lists: a stolen key is of use until its certificate ends."""
PROFILES: Final = {
    profile.name: profile for profile in (TLS_SERVER, TLS_CLIENT, TLS_PEER, SIGNING, KAFKA_NODE, KAFKA_CLIENT)
}

KAFKA_NODE_PREFIX: Final = "kafka-node-"
"""In the name of a system, these letters say that it is a Kafka node. Only a node's certificate may say so."""

KAFKA_PRINCIPAL_RULES: Final = ",".join(
    (
        # Without spaces and equals signs: one attribute of one name, and no more.
        f"RULE:^CN=([^ =]+{KAFKA_NODE_PREFIX}[0-9]+) {KAFKA_NODE.name}$/$1/",
        f"RULE:^CN=(?![^ =]+{KAFKA_NODE_PREFIX})([^ =]+) {KAFKA_CLIENT.name}$/$1/",
    )
)
"""Kafka's ``ssl.principal.mapping.rules``: a certificate's common name to ``<agency>/<system>``.

There is no DEFAULT among them: a certificate of any other name has no principal, and Kafka closes its connection. A
client's certificate is never a node's, whatever it is called, because Kafka lets nodes do everything.
"""


def kafka_name(principal: Principal) -> str:
    """What Kafka calls a principal, after ``User:``. Neither part can contain the slash."""
    return f"{principal.agency}/{principal.system}"


def profile_of(certificate: x509.Certificate) -> Profile | None:
    """The profile that a leaf certificate follows, or None: by its extended key usage, and for Kafka by its name."""
    try:
        usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return None
    # A slash is in no other profile's common name, because it is in no agency's or system's.
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    for_kafka = any("/" in str(name.value) for name in names)
    return next(
        (
            profile
            for profile in PROFILES.values()
            if set(profile.usages) == usages and (profile.authority == "kafka") == for_kafka
        ),
        None,
    )


def leaf(
    profile: Profile,
    principal: Principal,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    *,
    lifetime: timedelta | None = None,
    server_names: Sequence[str] = LOCAL_NAMES,
) -> x509.CertificateBuilder:
    """A leaf certificate, yet without issuer and authority key identifier, which ``Authority.sign`` adds.

    Args:
        profile: its usages.
        principal: whom it names.
        public_key: the key that it certifies.
        now: when it is issued, with a time zone.
        lifetime: how long it is valid, if not as long as the profile says.
        server_names: DNS names and addresses; only a server's certificate takes them.

    Raises:
        CertificateInvalid: Kafka would not know the principal by such a certificate, or would take it for another.
    """
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(principal.spiffe_id)]
    if profile.is_server:
        names.extend(map(_general_name, server_names))
    people = f"{principal.agency} {principal.system} {profile.name}"
    return (
        _certificate(_kafka_subject(profile, principal) if profile.authority == "kafka" else people, public_key)
        .not_valid_before(now - BACKDATING)
        .not_valid_after(now + (profile.lifetime if lifetime is None else lifetime))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(profile.usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )


def authority(name: str, public_key: ec.EllipticCurvePublicKey, now: datetime) -> x509.CertificateBuilder:
    """An authority's own certificate, yet without issuer and authority key identifier. It issues leaves only."""
    return (
        _certificate(name, public_key)
        .not_valid_before(now - BACKDATING)
        .not_valid_after(now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
    )


def common_name(text: str) -> x509.Name:
    """A distinguished name of one common name, cut to the 64 characters that X.520 allows."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_COMMON_NAME_LENGTH].rstrip())])


def _kafka_subject(profile: Profile, principal: Principal) -> str:
    subject = f"{kafka_name(principal)} {profile.name}"
    if len(subject) > _COMMON_NAME_LENGTH:
        # Cut, it could be another principal's.
        message = f"the names of agency and system are too long for a {profile.name} certificate"
        raise CertificateInvalid(message)
    if (KAFKA_NODE_PREFIX in principal.system) != (profile is KAFKA_NODE):
        message = f"a Kafka node is a system called {KAFKA_NODE_PREFIX}1 or so, and nothing else is called so"
        raise CertificateInvalid(message)
    return subject


def _certificate(name: str, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(common_name(name))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
