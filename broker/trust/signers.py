"""A signing key with its certificate that is renewed while a program runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.errors import CertificateInvalid
from broker.files import FileState
from broker.trust.certificates import der, load_certificates, principal_of
from broker.trust.renewal import Laid, put_in_place
from broker.trust.signing import EcdsaSigner

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from broker.core.policy import Directory
    from broker.ports import Clock


class Renewal(NamedTuple):
    """A certificate to be used from now on: ``laid`` beside the one in use, or in its place already."""

    certificate: x509.Certificate
    laid: bool


class WatchedSigner:
    """The signer of two files (the port Signer). Whoever needs name and signature of one key takes ``current`` once.

    A renewed certificate is used only when the directory lists it: nobody else would take what it signs.
    """

    def __init__(self, key: Path, certificate: Path, clock: Clock) -> None:
        """Read the files.

        Raises:
            KeyInvalid, CertificateInvalid
        """
        self._key, self._certificate = key, certificate
        self._laid = Laid(certificate, key, clock)
        self._laid.finish()
        self._seen = self._state()
        self.current = EcdsaSigner.load(key, certificate)

    @property
    def certificate_sha256(self) -> bytes:
        """See ``Signer``."""
        return self.current.certificate_sha256

    @property
    def algorithm(self) -> str:
        """See ``Signer``."""
        return self.current.algorithm

    def sign(self, message: bytes) -> bytes:
        """See ``Signer``."""
        return self.current.sign(message)

    def renewed(self, directory: Directory) -> Renewal | None:
        """The renewed certificate, laid beside the one in use or in its place, if this directory lists it.

        What was laid there and cannot be used is told once, and does not keep one in its place from being used.

        Raises:
            KeyInvalid, CertificateInvalid: what is in its place cannot be used. That in use stays.
        """
        laid = self._laid.found()
        if laid is not None and lists(directory, principal_of(laid).agency, der(laid)):
            return Renewal(laid, laid=True)
        state = self._state()
        if state == self._seen:
            return None
        found = load_certificates(self._certificate)[0]
        if der(found) == der(self.current.certificate):
            # Touched, copied or given other rights: nothing was renewed.
            self._seen = state
            return None
        if principal_of(found).agency != principal_of(self.current.certificate).agency:
            message = f"{self._certificate.name} is now of another agency"
            raise CertificateInvalid(message)
        return Renewal(found, laid=False) if lists(directory, principal_of(found).agency, der(found)) else None

    def use(self, found: Renewal) -> EcdsaSigner:
        """Use what ``renewed`` found from now on, and return it. Only what was laid there is put in place.

        Raises:
            KeyInvalid, CertificateInvalid: key and certificate do not belong together (yet).
        """
        if found.laid:
            put_in_place(self._certificate, self._key, found.certificate)
        # Before it is read, so that a change meanwhile is noticed the next time.
        state = self._state()
        self.current = EcdsaSigner.load(self._key, self._certificate)
        self._seen = state
        return self.current

    def _state(self) -> tuple[FileState, ...]:
        try:
            return tuple(map(FileState.of, (self._certificate, self._key)))
        except OSError as error:
            message = f"a signing file cannot be read: {error.strerror}"
            raise CertificateInvalid(message) from error


def lists(directory: Directory, agency: str, certificate: bytes) -> bool:
    """Whether a directory lists a certificate (DER) as one that this agency uses now."""
    member = directory.agencies.get(agency)
    return member is not None and certificate in member.signing_certificates
