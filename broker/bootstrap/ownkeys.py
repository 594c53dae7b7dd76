"""An agency's own encryption keys: its key folder, and the signing certificate that states them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.config.edge import load_edge
from broker.core.errors import ConfigInvalid, DirectoryInvalid
from broker.files import read_file
from broker.trust.certificates import principal_of
from broker.trust.directory import MAX_DIRECTORY_BYTES, open_directory
from broker.trust.governance import Governance
from broker.trust.hpke import PrivateEncryptionKey
from broker.trust.keyfolder import FolderEntry, add_key, add_retirement, entries
from broker.trust.keystatements import state_key, state_retirement
from broker.trust.signing import EcdsaSigner
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from broker.config.edge import EdgeConfig
    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.keyuri import KeyUri
    from broker.core.policy import Directory

DAY_MS: Final = 24 * 3_600_000


class OwnKeys(NamedTuple):
    """The keys of the agency of a profile, at one time (milliseconds since the Unix epoch, UTC)."""

    config: EdgeConfig
    signer: EcdsaSigner
    agency: str
    trust_domain: str
    now_ms: int

    @classmethod
    def load(cls, profile: Path) -> OwnKeys:
        """Read the profile and the signing key.

        Raises:
            ConfigInvalid: the profile cannot be used, or names no key folder.
            KeyInvalid, CertificateInvalid: the signing key cannot be used.
        """
        config = load_edge(profile)
        if config.agency.encryption_keys == Path():
            message = "agency.encryption_keys is not set: it names the agency's key folder"
            raise ConfigInvalid(message)
        signer = EcdsaSigner.load(config.agency.signing_key, config.agency.signing_certificate)
        principal = principal_of(signer.certificate)
        return cls(config, signer, principal.agency, principal.trust_domain, SystemClock().now_ms())

    @property
    def folder(self) -> Path:
        """The key folder. It may not exist yet."""
        return self.config.agency.encryption_keys

    def entries(self) -> list[FolderEntry]:
        """Every key that the folder has a statement of, the oldest first.

        Raises:
            KeyInvalid, KeyStatementInvalid: the folder cannot be used.
        """
        return entries(self.folder) if self.folder.exists() else []

    def in_force(self, use: str, at_ms: int) -> list[FolderEntry]:
        """The keys of a use that are in force at a time."""
        return [entry for entry in self.entries() if entry.key.use == use and entry.key.in_force(at_ms)]

    def make(self, use: str, suite: str, days: int, uri: KeyUri | None = None) -> FolderEntry:
        """Make a key and state it. It is in force from now on.

        Args:
            use: what it is for.
            suite: of which suite.
            days: how long it is in force.
            uri: in a token, of P-256: the key of this name, which is made if it is not there.

        Raises:
            KeyInvalid: it cannot be written.
            ExtraMissing: the installed libraries do not have the suite, or do not reach tokens.
            HardwareKeyUnavailable: the token cannot be used now, or the key there is none for this.
        """
        private = PrivateEncryptionKey.generate(suite) if uri is None else PrivateEncryptionKey.in_token(uri)
        key = private.stated_as(self.agency, use, self.now_ms, self.now_ms + days * DAY_MS)
        return add_key(self.folder, private, state_key(key, self.trust_domain, self.now_ms, self.signer))

    def retire(self, entry: FolderEntry, at_ms: int) -> None:
        """State that nothing may be sealed to a key from a time on.

        Raises:
            KeyInvalid: it cannot be written.
        """
        add_retirement(entry, state_retirement(entry.key, at_ms, self.trust_domain, self.now_ms, self.signer))

    def directory(self) -> Directory:
        """The directory in the profile's file, whether or not it is in force.

        Raises:
            DirectoryInvalid: governance did not sign it, or it cannot be read.
        """
        trust = self.config.trust
        try:
            document = read_file(trust.directory, MAX_DIRECTORY_BYTES)
        except OSError as error:
            message = f"{trust.directory.name} cannot be read: {error.strerror}"
            raise DirectoryInvalid(message) from error
        return open_directory(document, Governance.load(trust.governance_key))

    def listed(self) -> dict[bytes, EncryptionKey]:
        """The keys that the directory lists as this agency's, by their ids.

        Raises:
            DirectoryInvalid
        """
        member = self.directory().agencies.get(self.agency)
        return {} if member is None else {key.key_id: key for key in member.encryption_keys}
