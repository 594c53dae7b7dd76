"""Who a TLS peer is: the principal that its certificate names, unless it is revoked or unknown."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509

from broker.core.errors import PeerIdentityMissing, PeerUnknown
from broker.trust.certificates import der, principal_of

if TYPE_CHECKING:
    from broker.core.identity import Principal
    from broker.ports import DirectoryInForce, RevocationCheck

_MAX_REMEMBERED: Final = 4096


class _Known(NamedTuple):
    principal: Principal
    der: bytes


class TlsPeers:
    """The port PeerAuthentication. Safe to call from any thread."""

    def __init__(self, directory: DirectoryInForce, revocation: RevocationCheck) -> None:
        self._directory = directory
        self._revocation = revocation
        # The content of a certificate never changes. Directory and revocation are checked at every call.
        self._known: dict[bytes, _Known] = {}

    def authenticate(self, certificate_pem: bytes) -> Principal:
        """See ``PeerAuthentication``."""
        # (1) Exactly one spiffe:// URI (X509-SVID section 2).
        known = self._read(certificate_pem)
        # (2) It is of this exchange, and of an agency that the directory lists.
        directory = self._directory.current()
        if known.principal.trust_domain != directory.trust_domain:
            message = "the certificate names a principal of another exchange"
            raise PeerUnknown(message)
        directory.agency(known.principal.agency)
        # (3) Not revoked.
        self._revocation.check(known.der)
        return known.principal

    def named(self, certificate_pem: bytes) -> str:
        """See ``PeerAuthentication``."""
        try:
            return self._read(certificate_pem).principal.spiffe_id
        except PeerIdentityMissing:
            return ""

    def _read(self, certificate_pem: bytes) -> _Known:
        key = hashlib.sha256(certificate_pem).digest()
        known = self._known.get(key)
        if known is None:
            try:
                certificate = x509.load_pem_x509_certificate(certificate_pem)
            except ValueError:
                message = "the peer's certificate cannot be read"
                raise PeerIdentityMissing(message) from None
            known = _Known(principal_of(certificate), der(certificate))
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[key] = known
        return known
