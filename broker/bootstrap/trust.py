"""What a broker trusts, from its files, and the watch over those files."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from broker.core.encryptionkeys import RECORDS
from broker.core.errors import CaseExchangeError, DirectoryInvalid
from broker.core.inforce import DirectoryVersion
from broker.trust.certificates import der, load_certificates
from broker.trust.claims import DirectoryClaims
from broker.trust.directory import open_directory
from broker.trust.directory_files import DirectoryFile, read_document
from broker.trust.expiries import (
    AUTHORITY,
    TLS,
    Expiry,
    ExpiryWatch,
    certificate_expiries,
    directory_expiry,
    key_expiries,
    list_expiries,
    own_expiries,
)
from broker.trust.governance import Governance
from broker.trust.keyring import DirectoryKeyring, LiveKeyring
from broker.trust.material import PublishedTrust
from broker.trust.peers import TlsPeers
from broker.trust.revocation import PeerRevocation
from broker.trust.revocation_files import RevocationFiles
from broker.trust.signers import WatchedSigner
from broker.trust.system import SystemClock
from broker.trust.tls import WatchedTls
from broker.wire.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from broker.config.broker import BrokerConfig
    from broker.core.bundle import DirectoryDocument
    from broker.core.policy import Directory
    from broker.ports import Clock
    from broker.trust.revocation import Revocations

_log = structlog.get_logger("broker.trust")
_LOGGED_BYTES: Final = 2 << 20
"""About forty thousand revoked certificates. A record of the audit stream must fit into every log and bundle."""


class Reloaded(NamedTuple):
    """What changed: is there a newer directory, are there newer lists, and must peers be checked again?"""

    directory: bool
    lists: bool
    peers: bool


@dataclass(frozen=True, slots=True)
class BrokerTrust:
    """Everything by which a broker judges peers and signers."""

    directory: DirectoryFile
    keyring: LiveKeyring
    peers: TlsPeers
    material: PublishedTrust
    signing_revocations: RevocationFiles
    tls_revocations: RevocationFiles
    tls: WatchedTls
    signer: WatchedSigner
    expiries: ExpiryWatch
    version: Callable[[DirectoryDocument], DirectoryVersion]
    """Makes a directory version of the log ready to judge records by. DirectoryInvalid: governance did not sign it."""
    claims: DirectoryClaims
    forgot: bool
    """Whether there were no copies of what was in force. That is so before the first start, or if they were lost."""

    @classmethod
    def load(cls, config: BrokerConfig, clock: Clock) -> BrokerTrust:
        """Read every file now. Refuse to start if one cannot be used.

        Raises:
            SetupInvalid: it names the file.
            DirectoryUnavailable: the directory has expired.
        """
        governance = Governance.load(config.trust.governance_key)
        # What was in force stays in force, also if an older file comes back and the broker is restarted.
        kept = config.log.folder / "trust"
        forgot = not kept.exists()
        directory = DirectoryFile(config.trust.directory, governance, clock, kept / "directory.json")
        grace_ms = int(config.trust.revocation_grace_seconds * 1000)
        signing = RevocationFiles(
            [config.trust.signing_revocations],
            lambda: directory.latest.signing_authorities,
            grace_ms=grace_ms,
            kept=kept / "signing-revocations.pem",
        )
        tls_authorities = [der(certificate) for certificate in load_certificates(config.tls.authorities)]
        tls = RevocationFiles(
            [config.trust.tls_revocations],
            lambda: tls_authorities,
            grace_ms=grace_ms,
            kept=kept / "tls-revocations.pem",
        )
        files = TlsFiles(config.tls.certificate, config.tls.key, config.tls.authorities)
        read = partial(open_directory, governance=governance)

        def expiries() -> list[Expiry]:
            # The directory's file tells of its own end.
            lists = list_expiries((*tls.documents(), *signing.documents()))
            return [*broker_expiries(config, directory.latest, clock.now_ms()), *lists]

        return cls(
            directory=directory,
            keyring=LiveKeyring(directory, signing),
            peers=TlsPeers(directory, PeerRevocation(tls, tls_authorities, clock)),
            material=PublishedTrust(directory, signing),
            signing_revocations=signing,
            tls_revocations=tls,
            tls=WatchedTls(files, clock),
            signer=WatchedSigner(config.signing.key, config.signing.certificate, clock),
            expiries=ExpiryWatch(expiries, clock),
            version=partial(_version, read, signing),
            claims=DirectoryClaims(lambda: directory.latest, governance),
            forgot=forgot,
        )

    def reload(self) -> Reloaded:
        """Check the files again. If a file cannot be used, this is logged, and the earlier content stays in force."""
        directory = self._try(self.directory.reload)
        signing = self._try(self.signing_revocations.reload)
        tls = self._try(self.tls_revocations.reload)
        self._try(self.tls.reload)
        self._try(self._renew_signer)
        self._try(self._tell_expiries)
        return Reloaded(directory=directory, lists=signing or tls, peers=directory or tls)

    def learn(self, documents: Sequence[DirectoryDocument], lists: Iterable[bytes]) -> None:
        """Put what the audit stream has into force, as far as it is newer than the files."""
        if self.forgot and documents:
            _log.error("the copies of what was in force are lost: it is read from the log", file="trust")
        for found in documents:
            # Most are older. What governance did not sign is for an auditor.
            with contextlib.suppress(DirectoryInvalid):
                if self.directory.offer(found.document):
                    _log.error("the log has a newer directory than the file", version=self.directory.latest.version)
        for document in lists:
            for files in (self.signing_revocations, self.tls_revocations):
                if files.offer(document):
                    _log.error("the log has a newer revocation list than the file")

    def lists(self) -> bytes:
        """Every revocation list in force, PEM, for the log. If they are too large for it: nothing."""
        found = self.signing_revocations.pem() + self.tls_revocations.pem()
        if len(found) <= _LOGGED_BYTES:
            return found
        _log.error("the revocation lists are too large for the log: only the folder has copies", size=len(found))
        return b""

    def _renew_signer(self) -> bool:
        found = self.signer.renewed(self.directory.latest)
        if found is None:
            return False
        self.signer.use(found)
        _log.info("the signing certificate was renewed")
        return True

    def _tell_expiries(self) -> bool:
        self.expiries.look()
        return False

    @staticmethod
    def _try(reload: Callable[[], bool]) -> bool:
        try:
            return reload()
        except CaseExchangeError as error:
            _log.error("a file of trust cannot be used", reason=error.reason, remedy=error.remedy, cause=error.message)
            return False


def broker_expiries(config: BrokerConfig, directory: Directory, now_ms: int) -> list[Expiry]:
    """When a broker's own certificates end, the authorities that it knows, and the keys to which its members seal."""
    own = own_expiries(config.tls.certificate, config.signing.certificate, config.tls.authorities, directory)
    kafka = config.kafka
    if kafka.servers:
        own += certificate_expiries(TLS, kafka.certificate) + certificate_expiries(AUTHORITY, kafka.authorities)
    # Without a key in force nobody can send an agency anything. Its archive key is its own matter.
    return [*own, *key_expiries(directory, directory.agencies, now_ms, [RECORDS])]


def configured_expiries(config: BrokerConfig) -> list[Expiry]:
    """When everything ends that a broker's configuration names, without a broker.

    Raises:
        SetupInvalid: it names the file that cannot be used.
    """
    directory = open_directory(read_document(config.trust.directory), Governance.load(config.trust.governance_key))
    tls_authorities = [der(certificate) for certificate in load_certificates(config.tls.authorities)]
    tls = RevocationFiles([config.trust.tls_revocations], lambda: tls_authorities, grace_ms=0)
    signing = RevocationFiles([config.trust.signing_revocations], lambda: directory.signing_authorities, grace_ms=0)
    lists = list_expiries((*tls.documents(), *signing.documents()))
    return [*broker_expiries(config, directory, SystemClock().now_ms()), directory_expiry(directory), *lists]


def _version(
    read: Callable[[bytes], Directory], revocations: Revocations, document: DirectoryDocument
) -> DirectoryVersion:
    directory = read(document.document)
    return DirectoryVersion(document.in_force_from_ms, directory, DirectoryKeyring(directory, revocations))
