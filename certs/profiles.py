"""Certificate profiles: what each kind of certificate may be used for, and for how long.

TLS and signing certificates come from separate authorities and have usages that exclude each other, so that a stolen
TLS key signs no record, and a stolen signing key opens no connection. Every leaf names its principal by exactly one
``spiffe://`` URI (SPIFFE X509-SVID section 2); common names are for people.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.trust.certificates import DOCUMENT_SIGNING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric import ec

    from broker.core.identity import Principal

AuthorityKind = Literal["tls", "signing"]

TLS_LIFETIME: Final = timedelta(days=7)
SIGNING_LIFETIME: Final = timedelta(days=2 * 365)
AUTHORITY_LIFETIME: Final = timedelta(days=10 * 365)
BACKDATING: Final = timedelta(minutes=5)
"""Certificates begin this long before they are issued, for peers whose clocks are slow."""

LOCAL_NAMES: Final = ("localhost", "127.0.0.1")
"""Names of a TLS server that is reached on the machine it runs on."""


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
PROFILES: Final = {profile.name: profile for profile in (TLS_SERVER, TLS_CLIENT, TLS_PEER, SIGNING)}


def profile_of(certificate: x509.Certificate) -> Profile | None:
    """The profile that a leaf certificate's extended key usage follows, or None."""
    try:
        usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return None
    return next((profile for profile in PROFILES.values() if set(profile.usages) == usages), None)


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
    """
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(principal.spiffe_id)]
    if profile.is_server:
        names.extend(map(_general_name, server_names))
    return (
        _certificate(f"{principal.agency} {principal.system} {profile.name}", public_key)
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
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64].rstrip())])


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
