"""What a broker trusts, from its files, and the watch over those files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import CaseExchangeError
from broker.files import FileState
from broker.trust.certificates import der, load_certificates
from broker.trust.directory import DirectoryFile
from broker.trust.keyring import LiveKeyring
from broker.trust.keys import load_verification_key
from broker.trust.material import PublishedTrust
from broker.trust.peers import TlsPeers
from broker.trust.revocation import PeerRevocation
from broker.trust.revocation_files import RevocationFiles
from broker.trust.tls import check_tls_files
from broker.wire.tls import TlsFiles, TlsMaterial

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.config.broker import BrokerConfig
    from broker.ports import Clock

_log = structlog.get_logger("broker.trust")


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

    @classmethod
    def load(cls, config: BrokerConfig, clock: Clock) -> BrokerTrust:
        """Read every file now. Refuse to start if one cannot be used.

        Raises:
            SetupInvalid: it names the file.
            DirectoryUnavailable: the directory has expired.
        """
        governance_key = load_verification_key(config.trust.governance_key)
        directory = DirectoryFile(config.trust.directory, governance_key, clock)
        grace_ms = int(config.trust.revocation_grace_seconds * 1000)
        signing = RevocationFiles(
            [config.trust.signing_revocations], lambda: directory.latest.signing_authorities, grace_ms=grace_ms
        )
        tls_authorities = [der(certificate) for certificate in load_certificates(config.tls.authorities)]
        tls = RevocationFiles([config.trust.tls_revocations], lambda: tls_authorities, grace_ms=grace_ms)
        files = TlsFiles(config.tls.certificate, config.tls.key, config.tls.authorities)
        check_tls_files(files.certificate, files.key, clock.now_ms())
        return cls(
            directory=directory,
            keyring=LiveKeyring(directory, signing),
            peers=TlsPeers(directory, PeerRevocation(tls, tls_authorities, clock)),
            material=PublishedTrust(directory, signing),
            signing_revocations=signing,
            tls_revocations=tls,
            tls=WatchedTls(files, clock),
        )

    def reload(self) -> tuple[bool, bool]:
        """Check the files again. If a file cannot be used, this is logged, and the earlier content stays in force.

        Returns:
            Whether there is a newer directory, and whether peers must be checked again.
        """
        newer = self._try(self.directory.reload)
        self._try(self.signing_revocations.reload)
        revoked = self._try(self.tls_revocations.reload)
        self._try(self.tls.reload)
        return newer, newer or revoked

    @staticmethod
    def _try(reload: Callable[[], bool]) -> bool:
        try:
            return reload()
        except CaseExchangeError as error:
            _log.error("a file of trust cannot be used", reason=error.reason, remedy=error.remedy, cause=error.message)
            return False


class WatchedTls:
    """The broker's TLS files. A renewed certificate is used from the next handshake on."""

    def __init__(self, files: TlsFiles, clock: Clock) -> None:
        self._files = files
        self._clock = clock
        self._seen = self._state()
        self.initial = files.read()
        self._renewed: TlsMaterial | None = None

    def newest(self) -> TlsMaterial | None:
        """The changed material since the last call, or None. Called from gRPC's threads."""
        renewed, self._renewed = self._renewed, None
        return renewed

    def reload(self) -> bool:
        """Use changed files when they match. Return whether they are used.

        Raises:
            CertificateInvalid, KeyInvalid: they do not match. The earlier ones stay in use.
        """
        state = self._state()
        if state == self._seen:
            return False
        # Certificate and key are replaced one after the other. Until they match, this raises and is tried again.
        check_tls_files(self._files.certificate, self._files.key, self._clock.now_ms())
        self._renewed = self._files.read()
        self._seen = state
        return True

    def _state(self) -> tuple[FileState, ...]:
        return tuple(FileState.of(path) for path in (self._files.certificate, self._files.key, self._files.authorities))
