"""An agency's edge: everything that its programs are made of, from one profile."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import structlog

from adapters.edge.spool import Spool
from broker.client.connection import ConnectionSettings, open_channel
from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.records import RecordComposer, RecordVerifier
from broker.client.subscriber import Subscriber
from broker.core.errors import CaseExchangeError, CertificateInvalid
from broker.trust.certificates import load_certificates, principal_of
from broker.trust.directory import DirectoryFile
from broker.trust.keyring import LiveKeyring
from broker.trust.keys import load_verification_key
from broker.trust.revocation_files import RevocationFiles
from broker.trust.signing import EcdsaSigner
from broker.trust.system import SystemClock, SystemEntropy
from broker.trust.tls import check_tls_files
from broker.wire.codec import ProtobufCodec
from broker.wire.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.edge.profile import GatewayProfile

_log = structlog.get_logger("adapters.edge.edge")


class Edge(NamedTuple):
    """The parts. ``agency`` is the id that the certificates name."""

    agency: str
    spool: Spool
    composer: RecordComposer
    verifier: RecordVerifier
    publisher: Publisher
    subscriber: Subscriber
    codec: ProtobufCodec
    clock: SystemClock
    directory: DirectoryFile
    revocations: RevocationFiles

    def reload_trust(self) -> None:
        """Look again at what governance publishes. A file that cannot be used is logged; what was in force stays."""
        for reload in (self.directory.reload, self.revocations.reload):
            try:
                reload()
            except CaseExchangeError as error:
                _log.error("a file of trust cannot be used", reason=error.reason, remedy=error.remedy)


@contextlib.asynccontextmanager
async def open_edge(profile: GatewayProfile) -> AsyncIterator[Edge]:
    """Load keys and trust, open the spool, and make ready to connect.

    Raises:
        SetupInvalid: a file or setting cannot be used.
        DirectoryUnavailable: the directory has expired.
        SpoolUnavailable: another gateway uses the spool.
    """
    clock, codec, config = SystemClock(), ProtobufCodec(), profile.agency
    check_tls_files(config.certificate, config.key, clock.now_ms())
    signer = EcdsaSigner.load(config.signing_key, config.signing_certificate)
    # The system is that of the connection: the broker takes no record of another.
    principal = principal_of(load_certificates(config.certificate)[0])
    if principal_of(signer.certificate).agency != principal.agency:
        message = "the signing certificate is another agency's than the TLS certificate"
        raise CertificateInvalid(message)
    directory = DirectoryFile(profile.trust.directory, load_verification_key(profile.trust.governance_key), clock)
    revocations = RevocationFiles(
        [profile.trust.signing_revocations],
        lambda: directory.latest.signing_authorities,
        grace_ms=int(profile.trust.revocation_grace_seconds * 1000),
    )
    keyring = LiveKeyring(directory, revocations)
    spool = Spool(profile.gateway.folder / "spool.db")
    settings = ConnectionSettings(profile.broker.address, profile.broker.server_name or None)
    tls = TlsFiles(config.certificate, config.key, config.authorities).read()
    try:
        async with open_channel(settings, tls) as channel:
            yield Edge(
                principal.agency,
                spool,
                RecordComposer(principal, signer, codec, SystemEntropy(), clock),
                RecordVerifier(principal.agency, keyring, codec),
                Publisher(channel, codec, ReceiptVerifier(directory, keyring)),
                Subscriber(channel),
                codec,
                clock,
                directory,
                revocations,
            )
    finally:
        spool.close()
