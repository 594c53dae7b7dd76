"""Revocation lists on disk. They are read again if the files change. An older list never replaces a newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from broker.core.errors import RevocationListInvalid
from broker.files import FileState, read_file
from broker.trust.kept import Kept
from broker.trust.revocation import RevocationLists, pem_of, split_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cryptography import x509

    from broker.trust.revocation import RevocationList

_log = structlog.get_logger("broker.trust")
_SEEN: Final = "seen"
"""The detail of an error about a list that is older than one that was seen."""
MAX_LIST_FILE_BYTES: Final = 64 * 1024 * 1024


class RevocationFiles:
    """The lists in the given files. Any thread may ask; ``reload`` is for one task at a time."""

    def __init__(
        self,
        paths: Sequence[Path],
        authorities: Callable[[], Sequence[bytes]],
        *,
        grace_ms: int,
        kept: Path | None = None,
    ) -> None:
        """Read the files. If they are older than the copy, the lists of the copy stay in force, and this is logged.

        Args:
            paths: files with CRLs, DER or PEM.
            authorities: gives the certificates (DER) of the trusted authorities, which may change with the directory.
            grace_ms: how long a list is still used after its next update.
            kept: where the copy of the newest lists is. None: a restart forgets them.

        Raises:
            RevocationListInvalid, CertificateInvalid
        """
        self._paths = tuple(paths)
        self._authorities = authorities
        self._grace_ms = grace_ms
        self._seen: tuple[tuple[FileState, ...], tuple[bytes, ...]] | None = None
        self._newest: dict[bytes, RevocationList] = {}
        self._lists = RevocationLists((), (), grace_ms=grace_ms)
        self._kept = None if kept is None else Kept(kept, MAX_LIST_FILE_BYTES)
        if self._kept is not None:
            self._go_on(self._kept)
        try:
            self.reload()
        except RevocationListInvalid as error:
            if _SEEN not in error.details or not self._lists.documents():
                raise
            _log.error("a revocation list is not used", reason=error.reason, cause=error.message, **error.details)

    def listing(self, authority: x509.Certificate) -> RevocationList | None:
        """The list of this authority, or None if there is none."""
        return self._lists.listing(authority)

    def documents(self) -> tuple[bytes, ...]:
        """Every list in force, DER."""
        return self._lists.documents()

    def pem(self) -> bytes:
        """Every list in force, in one PEM document."""
        return b"".join(map(pem_of, self._lists.documents()))

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
        if changed:
            self._keep()
        return changed

    def offer(self, document: bytes) -> bool:
        """Put lists of trusted authorities into force that are newer than those seen. Return whether there are any.

        Lists of others, and what cannot be read, are left out. For one task at a time, as ``reload``.
        """
        newer = {
            authority: listed
            for authority, listed in self._readable(document).items()
            if authority not in self._newest or listed.number > self._newest[authority].number
        }
        if not newer:
            return False
        self._newest |= newer
        listed = {**self._lists.by_authority(), **newer}.values()
        self._lists = RevocationLists([one.der for one in listed], self._authorities(), grace_ms=self._grace_ms)
        self._keep()
        return True

    def _keep(self) -> None:
        if self._kept is not None:
            self._kept.write(self.pem())

    def _check_not_older(self, authority: bytes, listed: RevocationList) -> None:
        newest = self._newest.get(authority)
        if newest is None or listed.number > newest.number or listed.der == newest.der:
            return
        message = "a revocation list is older than one already seen, or differs from it under the same number"
        raise RevocationListInvalid(message, crl_number=str(listed.number), **{_SEEN: str(newest.number)})

    def _go_on(self, kept: Kept) -> None:
        """Begin with the lists that were in force before the restart, as far as their authorities are still trusted."""
        self._newest = self._readable(kept.read(), say=True)
        documents = [listed.der for listed in self._newest.values()]
        self._lists = RevocationLists(documents, self._authorities(), grace_ms=self._grace_ms)

    def _readable(self, document: bytes, *, say: bool = False) -> dict[bytes, RevocationList]:
        """The lists of trusted authorities in a PEM document, by authority. ``say``: log why others are left out."""
        found: dict[bytes, RevocationList] = {}
        authorities = tuple(self._authorities())
        for one in split_pem(document):
            try:
                found |= RevocationLists([one], authorities, grace_ms=self._grace_ms).by_authority()
            except RevocationListInvalid as error:
                if say:
                    text = "the copy of a revocation list cannot be used"
                    _log.error(text, reason=error.reason, cause=error.message)
        return found
