"""Timestamps of any authority that follows RFC 3161, judged by certificates that the caller pins.

A timestamp is the whole response of the authority, because other verifiers take it so. It proves that the stamped bytes
existed before its time. It says nothing of who made them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.x509.oid import NameOID
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from broker.core.audit.times import Stamp
from broker.core.errors import CertificateInvalid, TimestampInvalid
from broker.trust.certificates import load_certificates, parse_certificate
from broker.trust.keyring import timestamp_chain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cryptography import x509
    from rfc3161_client import TimeStampResponse

MAX_TIMESTAMP_BYTES: Final = 64 * 1024
"""The largest response that is read. One with the signer's certificate has about 2,000 bytes."""


class TimestampRequest(NamedTuple):
    """What goes to the authority (DER), and what its answer must repeat."""

    document: bytes
    message: bytes
    nonce: int


class TimestampAuthority:
    """A timestamp authority by its pinned certificates. Keeps no state, so any thread may ask."""

    def __init__(self, chain: Sequence[x509.Certificate]) -> None:
        """Pin an authority.

        Args:
            chain: the certificate that signs its timestamps, then those of the authorities above it, up to a root.

        Raises:
            CertificateInvalid: fewer than two. The root is what its operator publishes for many years.
        """
        if len(chain) < 2:  # noqa: PLR2004 - the signer and a root
            message = "a timestamp authority is pinned by its own certificate and those above it, up to a root"
            raise CertificateInvalid(message)
        self.chain: Final = tuple(chain)
        signer, *intermediates, root = chain
        self._verifier = VerifierBuilder(tsa_certificate=signer, intermediates=intermediates, roots=[root])

    @property
    def name(self) -> str:
        """The signer's common name, or its whole name if it has none. Its own word, for people."""
        names = self.chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else self.chain[0].subject.rfc4514_string()

    @classmethod
    def load(cls, path: Path) -> TimestampAuthority:
        """Read the chain from one file in PEM, the signer first.

        Raises:
            CertificateInvalid
        """
        return cls(load_certificates(path))

    def verify(self, timestamp: bytes, message: bytes) -> int:
        """Check that this authority stamped exactly these bytes.

        The authority's certificates must have been valid at the time of the timestamp, and not now. So an old timestamp
        keeps its worth.

        Args:
            timestamp: the whole response, DER.
            message: the stamped bytes.

        Returns:
            Its time, in milliseconds since the Unix epoch, UTC. The bytes existed before it.

        Raises:
            TimestampInvalid
        """
        return _checked(self._verifier, timestamp, message)

    def accept(self, answer: bytes, request: TimestampRequest) -> int:
        """Check the authority's answer to a request, as ``verify``, and that it is no earlier answer.

        Raises:
            TimestampInvalid
        """
        return _checked(self._verifier.nonce(request.nonce), answer, request.message)


class TimestampAuthorities:
    """Several pinned authorities: a timestamp of any of them counts. The port TimestampRequests."""

    def __init__(self, authorities: Sequence[TimestampAuthority]) -> None:
        """At least one."""
        self._authorities = tuple(authorities)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> TimestampAuthorities:
        """Read each from its file in PEM, the signer first.

        Raises:
            CertificateInvalid
        """
        return cls([TimestampAuthority.load(path) for path in paths])

    @classmethod
    def listed(cls, chains: Sequence[Sequence[bytes]]) -> TimestampAuthorities:
        """Those that a directory lists.

        Raises:
            DirectoryInvalid, CertificateInvalid
        """
        return cls([TimestampAuthority(timestamp_chain(chain)) for chain in chains])

    def request(self, message: bytes) -> TimestampRequest:
        """See ``timestamp_request``."""
        return timestamp_request(message)

    def accept(self, answer: bytes, request: TimestampRequest) -> Stamp:
        """Check an answer, as ``TimestampAuthority.accept``, by the first authority that it is of.

        Raises:
            TimestampInvalid
        """
        return self._by_any(lambda authority: authority.accept(answer, request))

    def verify(self, timestamp: bytes, message: bytes) -> Stamp:
        """Check a timestamp, as ``TimestampAuthority.verify``, by the first authority that it is of.

        Raises:
            TimestampInvalid
        """
        return self._by_any(lambda authority: authority.verify(timestamp, message))

    def _by_any(self, check: Callable[[TimestampAuthority], int]) -> Stamp:
        refusal: TimestampInvalid | None = None
        for authority in self._authorities:
            try:
                return Stamp(check(authority), authority.name)
            except TimestampInvalid as refused:
                refusal = refused
        raise refusal or TimestampInvalid("no timestamp authority is pinned")


def timestamp_request(message: bytes) -> TimestampRequest:
    """Ask for a timestamp of these bytes (at least one). Only their SHA-256 goes to the authority."""
    built = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=True)
    # Other verifiers want the signer's certificate in the answer.
    request = built.cert_request(cert_request=True).build()
    nonce = request.nonce
    if nonce is None:
        text = "the library made a timestamp request without a nonce"
        raise TimestampInvalid(text)
    return TimestampRequest(request.as_bytes(), message, nonce)


def _checked(verifier: VerifierBuilder, timestamp: bytes, message: bytes) -> int:
    if len(timestamp) > MAX_TIMESTAMP_BYTES:
        text = f"the timestamp is larger than {MAX_TIMESTAMP_BYTES} bytes"
        raise TimestampInvalid(text)
    response = _decoded(timestamp)
    try:
        # The library reads them too, and lets its errors through.
        for certificate in response.signed_data.certificates:
            parse_certificate(certificate)
        verifier.build().verify_message(response, message)
        return round(response.tst_info.gen_time.timestamp() * 1000)
    except (VerificationError, CertificateInvalid, ValueError) as error:
        text = f"the timestamp does not hold: {_reason(error)}"
        raise TimestampInvalid(text) from error


def _decoded(timestamp: bytes) -> TimeStampResponse:
    try:
        return decode_timestamp_response(timestamp)
    except ValueError as error:
        text = "the timestamp cannot be read as a response of RFC 3161 in DER"
        raise TimestampInvalid(text) from error


def _reason(error: Exception) -> str:
    # The library's texts begin with a capital, and some end with a full stop.
    text = str(error).removesuffix(".")
    return text[:1].lower() + text[1:]
