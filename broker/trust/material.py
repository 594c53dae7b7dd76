"""The public documents with which an auditor can check signatures years later, without asking anyone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.trust.directory import PinnedDirectory
    from broker.trust.revocation_files import RevocationFiles


class PublishedTrust:
    """The signing authorities and their revocation lists (the port TrustMaterial). Safe to call from any thread."""

    def __init__(self, directory: PinnedDirectory, revocations: RevocationFiles) -> None:
        self._directory = directory
        self._revocations = revocations

    def authorities(self) -> tuple[bytes, ...]:
        """Certificates (DER) of the signing authorities in the newest directory, even one that has expired."""
        return self._directory.latest.signing_authorities

    def revocation_lists(self) -> tuple[bytes, ...]:
        """Their revocation lists in force, DER."""
        return self._revocations.documents()
