"""Revocation lists on disk. They are read again if the files change. An older list never replaces a newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import RevocationListInvalid
from broker.files import FileState, read_file
from broker.trust.revocation import RevocationLists

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cryptography import x509

    from broker.trust.revocation import RevocationList

MAX_LIST_FILE_BYTES: Final = 64 * 1024 * 1024


class RevocationFiles:
    """The lists in the given files. Any thread may ask; ``reload`` is for one task at a time."""

    def __init__(self, paths: Sequence[Path], authorities: Callable[[], Sequence[bytes]], *, grace_ms: int) -> None:
        """Read the files.

        Args:
            paths: files with CRLs, DER or PEM.
            authorities: gives the certificates (DER) of the trusted authorities, which may change with the directory.
            grace_ms: how long a list is still used after its next update.

        Raises:
            RevocationListInvalid, CertificateInvalid
        """
        self._paths = tuple(paths)
        self._authorities = authorities
        self._grace_ms = grace_ms
        self._seen: tuple[tuple[FileState, ...], tuple[bytes, ...]] | None = None
        self._newest: dict[bytes, RevocationList] = {}
        self._lists = RevocationLists((), (), grace_ms=grace_ms)
        self.reload()

    def listing(self, authority: x509.Certificate) -> RevocationList | None:
        """The list of this authority, or None if there is none."""
        return self._lists.listing(authority)

    def documents(self) -> tuple[bytes, ...]:
        """Every list in force, DER."""
        return self._lists.documents()

    def reload(self) -> bool:
        """Read the files again if they, or the authorities, changed. Return whether the lists in force changed.

        After an error the lists in force stay, until they are too old.

        Raises:
            RevocationListInvalid: a file is unreadable, not a list of a trusted authority, or older than one that this
                process has seen.
            CertificateInvalid: an authority's certificate cannot be read.
        """
        authorities = tuple(self._authorities())
        try:
            state = tuple(FileState.of(path) for path in self._paths)
            if (state, authorities) == self._seen:
                return False
            documents = [read_file(path, MAX_LIST_FILE_BYTES) for path in self._paths]
        except OSError as error:
            message = f"a revocation list file cannot be read: {error.strerror}"
            raise RevocationListInvalid(message) from error
        lists = RevocationLists(documents, authorities, grace_ms=self._grace_ms)
        for authority, listed in lists.by_authority().items():
            self._check_not_older(authority, listed)
        changed = lists.documents() != self._lists.documents()
        self._newest |= lists.by_authority()
        self._lists, self._seen = lists, (state, authorities)
        return changed

    def _check_not_older(self, authority: bytes, listed: RevocationList) -> None:
        newest = self._newest.get(authority)
        if newest is None or listed.number > newest.number or listed.der == newest.der:
            return
        message = "a revocation list is older than one already seen, or differs from it under the same number"
        raise RevocationListInvalid(message, crl_number=str(listed.number), seen=str(newest.number))
