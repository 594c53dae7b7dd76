"""Certificate profiles: what each kind of certificate may be used for, and for how long.

TLS and signing certificates come from separate authorities, and their usages exclude each other. So a stolen TLS key
cannot sign a record, and a stolen signing key cannot open a connection. Every leaf names its principal by exactly one
``spiffe://`` URI (SPIFFE X509-SVID section 2). Common names are for people.

Kafka is the exception, because it identifies a peer only by its distinguished name. So certificates for Kafka come from
an authority of their own. Nothing else trusts it, and it trusts nothing else. Their common names are exact:
``<agency>/<system> <profile>``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.core.envelope import ECDSA_P256_SHA256, ML_DSA_65
from broker.core.errors import CertificateInvalid
from broker.trust.certificates import DOCUMENT_SIGNING
from broker.trust.recordkeys import algorithm_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric import ec

    from broker.core.identity import Principal
    from broker.trust.recordkeys import RecordKey

_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LONGEST_NAME: Final = 253

AuthorityKind = Literal["tls", "signing", "kafka"]

TLS_LIFETIME: Final = timedelta(days=7)
SIGNING_LIFETIME: Final = timedelta(days=2 * 365)
AUTHORITY_LIFETIME: Final = timedelta(days=10 * 365)
LONGEST: Final = {"tls": timedelta(days=90), "signing": timedelta(days=3 * 365), "kafka": TLS_LIFETIME}
"""The longest lifetime that somebody can ask for, by kind of authority. Kafka reads no revocation lists."""
BACKDATING: Final = timedelta(minutes=5)
"""Certificates begin this long before they are issued, because some peers' clocks are slow."""

LOCAL_NAMES: Final = ("localhost", "127.0.0.1")
"""The names of a TLS server that is used only from its own machine."""

_COMMON_NAME_LENGTH: Final = 64
"""The limit in X.520."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of leaf certificate: its usages, its lifetime, and the authority that issues it."""

    name: str
    authority: AuthorityKind
    lifetime: timedelta
    usages: tuple[x509.ObjectIdentifier, ...]
    algorithm: str = ECDSA_P256_SHA256

    @property
    def is_server(self) -> bool:
        """Whether TLS clients compare the certificate's DNS names and addresses with the one that they called."""
        return ExtendedKeyUsageOID.SERVER_AUTH in self.usages

    @property
    def file_stem(self) -> str:
        """The name of its key and certificate files, without suffix."""
        return self.authority if self.algorithm == ECDSA_P256_SHA256 else self.name


TLS_SERVER: Final = Profile("tls-server", "tls", TLS_LIFETIME, (ExtendedKeyUsageOID.SERVER_AUTH,))
TLS_CLIENT: Final = Profile("tls-client", "tls", TLS_LIFETIME, (ExtendedKeyUsageOID.CLIENT_AUTH,))
TLS_PEER: Final = Profile(
    "tls-peer", "tls", TLS_LIFETIME, (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
)
"""For a broker. It is a server, and also a client that asks other brokers for their status."""
SIGNING: Final = Profile("signing", "signing", SIGNING_LIFETIME, (DOCUMENT_SIGNING,))
SIGNING_ML_DSA_65: Final = Profile("signing-ml-dsa-65", "signing", SIGNING_LIFETIME, (DOCUMENT_SIGNING,), ML_DSA_65)
"""Beside the other signing certificate, where the directory demands it (docs/algorithms.md)."""
KAFKA_NODE: Final = Profile(
    "kafka-node", "kafka", TLS_LIFETIME, (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
)
"""For a Kafka node. It is a server, and also a client of the other nodes."""
KAFKA_CLIENT: Final = Profile("kafka-client", "kafka", TLS_LIFETIME, (ExtendedKeyUsageOID.CLIENT_AUTH,))
"""Its lifetime is short because Kafka reads no revocation lists: a stolen key works until its certificate expires."""
PROFILES: Final = {
    profile.name: profile
    for profile in (TLS_SERVER, TLS_CLIENT, TLS_PEER, SIGNING, SIGNING_ML_DSA_65, KAFKA_NODE, KAFKA_CLIENT)
}

KAFKA_NODE_PREFIX: Final = "kafka-node-"
"""The beginning of the system name of a Kafka node. Only a node's certificate may have it."""

KAFKA_PRINCIPAL_RULES: Final = ",".join(
    (
        # Without spaces and equals signs, so that it is exactly one attribute of one name.
        f"RULE:^CN=([^ =]+{KAFKA_NODE_PREFIX}[0-9]+) {KAFKA_NODE.name}$/$1/",
        f"RULE:^CN=(?![^ =]+{KAFKA_NODE_PREFIX})([^ =]+) {KAFKA_CLIENT.name}$/$1/",
    )
)
"""Kafka's ``ssl.principal.mapping.rules``: they turn a certificate's common name into ``<agency>/<system>``.

There is no DEFAULT rule. A certificate with any other name has no principal, and Kafka closes its connection. A
client's certificate never counts as a node's, with any name, because Kafka allows nodes everything.
"""


def kafka_name(principal: Principal) -> str:
    """Kafka's name for a principal, after ``User:``. Neither part can contain the slash."""
    return f"{principal.agency}/{principal.system}"


def profile_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> Profile | None:
    """The profile of a leaf certificate or of a request, or None.

    It is known by its extended key usage and the algorithm of its key, and for Kafka by its name.
    """
    try:
        usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return None
    # Only Kafka's common names contain a slash: names of agencies and systems have none.
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    for_kafka = any("/" in str(name.value) for name in names)
    algorithm = algorithm_of(certificate.public_key())
    return next(
        (
            profile
            for profile in PROFILES.values()
            if set(profile.usages) == usages
            and (profile.authority == "kafka") == for_kafka
            and profile.algorithm == algorithm
        ),
        None,
    )


def leaf(
    profile: Profile,
    principal: Principal,
    public_key: RecordKey,
    now: datetime,
    *,
    lifetime: timedelta | None = None,
    server_names: Sequence[str] = LOCAL_NAMES,
) -> x509.CertificateBuilder:
    """A leaf certificate without issuer and authority key identifier. ``Authority.sign`` adds these.

    Args:
        profile: its usages.
        principal: the principal that it names.
        public_key: the key that it certifies.
        now: when it is issued, with a time zone.
        lifetime: its lifetime, if it differs from the profile's.
        server_names: DNS names and addresses; only for a server's certificate.

    Raises:
        CertificateInvalid: Kafka would not know the principal by such a certificate, or would take it for another one.
    """
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(principal.spiffe_id)]
    if profile.is_server:
        names.extend(map(general_name, server_names))
    return (
        _certificate(subject(profile, principal), public_key)
        .not_valid_before(now - BACKDATING)
        .not_valid_after(now + (profile.lifetime if lifetime is None else lifetime))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(profile.usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )


def authority(
    name: str, public_key: ec.EllipticCurvePublicKey, now: datetime, trust_domain: str = ""
) -> x509.CertificateBuilder:
    """An authority's own certificate without issuer and authority key identifier. It may issue only leaves.

    With a trust domain it may name principals of this one only (RFC 5280 section 4.2.1.10). docs/algorithms.md has who
    holds it to that. DNS names and addresses stay free.
    """
    builder = (
        _certificate(common_name(name), public_key)
        .not_valid_before(now - BACKDATING)
        .not_valid_after(now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
    )
    if trust_domain:
        permitted = [x509.UniformResourceIdentifier(trust_domain)]
        builder = builder.add_extension(x509.NameConstraints(permitted, excluded_subtrees=None), critical=True)
    return builder


def common_name(text: str) -> x509.Name:
    """A distinguished name with one common name, cut to the 64 characters that X.520 allows."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_COMMON_NAME_LENGTH].rstrip())])


def subject(profile: Profile, principal: Principal) -> x509.Name:
    """The name in a leaf certificate, and in a request for one: for people, and for Kafka exact.

    Raises:
        CertificateInvalid: Kafka would not know the principal by it, or would take it for another one.
    """
    people = f"{principal.agency} {principal.system} {profile.name}"
    return common_name(_kafka_subject(profile, principal) if profile.authority == "kafka" else people)


def _kafka_subject(profile: Profile, principal: Principal) -> str:
    subject = f"{kafka_name(principal)} {profile.name}"
    if len(subject) > _COMMON_NAME_LENGTH:
        # If it were cut, it could be another principal's name.
        message = f"the names of agency and system are too long for a {profile.name} certificate"
        raise CertificateInvalid(message)
    if (KAFKA_NODE_PREFIX in principal.system) != (profile is KAFKA_NODE):
        message = f"a Kafka node, and nothing else, must be called {KAFKA_NODE_PREFIX}1 or similar"
        raise CertificateInvalid(message)
    return subject


def _certificate(name: x509.Name, public_key: RecordKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
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


def general_name(text: str) -> x509.GeneralName:
    """The name of a TLS server in a certificate: an address or a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def is_server_name(text: str) -> bool:
    """Whether it is an address, or a DNS name as certificates have it (RFC 1123 section 2.1), perhaps with ``*.``."""
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(text))
    labels = text.removeprefix("*.").split(".")
    return len(text) <= _LONGEST_NAME and all(_LABEL.fullmatch(label) for label in labels)
