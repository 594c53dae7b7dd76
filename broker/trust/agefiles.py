"""Files that are sealed to an agency itself, in the age format (age-encryption.org/v1), and the identities for it.

An identity is a file ``….identity`` in the agency's key folder, in the form of ``age-keygen``, mode 0600. What is
sealed is sealed to the newest of them, and every one of them opens. So all systems that share the folder, or have a
copy of it, read the same files, and so does any other program for age: ``age -d -i FILE.identity FILE.age``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import structlog

from broker.core.errors import AgeFileInvalid, AgeIdentityMissing, AgeIdentityWrong, KeyInvalid
from broker.extras import needed
from broker.files import make_file, make_private
from broker.trust.privatefiles import read_private_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_log = structlog.get_logger("broker.trust")
_IDENTITY: Final = ".identity"
_DIGITS: Final = 16
_HEADER: Final = b"age-encryption.org/v1\n"
_CREATED: Final = "# created: "
_SECRET: Final = "AGE-SECRET-KEY-"  # noqa: S105 - how each of them begins
_NOT_FOR_US: Final = "No matching keys"
"""How the library begins what it says of a file that is sealed to others."""


class AgeIdentity(NamedTuple):
    """An identity. ``recipient`` is what is public of it (``age1…``), ``native`` is the library's."""

    path: Path
    recipient: str
    created: datetime
    native: Any

    @property
    def identity_id(self) -> str:
        """The first digits of the digest of its recipient: its file's name."""
        return _id(self.recipient)

    def __repr__(self) -> str:
        """Only what is public."""
        return f"AgeIdentity({self.recipient})"


def make_identity(folder: Path, now: datetime) -> AgeIdentity:
    """Make an identity in a key folder. From now on it is the one that is sealed to.

    So its time is later than that of every other one in the folder, also if a clock was wrong.

    Raises:
        KeyInvalid: it cannot be written, or there is no later time.
        ExtraMissing: the library is not installed.
    """
    with needed():
        from pyrage import x25519  # noqa: PLC0415 - only who seals files needs it
    native = x25519.Identity.generate()
    recipient = str(native.to_public())
    path = folder / f"{_id(recipient)}{_IDENTITY}"
    try:
        make_private(folder)
        created = _later(now, identities(folder))
        text = f"{_CREATED}{created.isoformat().replace('+00:00', 'Z')}\n# public key: {recipient}\n{native}\n"
        make_file(path, text.encode())
    except OSError as error:
        message = f"{folder.name} cannot be written: {error.strerror}"
        raise KeyInvalid(message) from error
    return AgeIdentity(path, recipient, created, native)


def _later(now: datetime, known: list[AgeIdentity]) -> datetime:
    """A time in whole seconds: now, or later if one of these identities is not older."""
    try:
        newest = [known[0].created.astimezone(UTC) + timedelta(seconds=1)] if known else []
    except OverflowError:
        message = f"{known[0].path.name} says it was made at {known[0].created}, and there is no later time: correct it"
        raise KeyInvalid(message) from None
    return max([now.astimezone(UTC), *newest]).replace(microsecond=0)


def identities(folder: Path) -> list[AgeIdentity]:
    """The identities in a key folder, the newest first. A file that cannot be used is logged, and passed over.

    Raises:
        KeyInvalid: the folder cannot be read.
        ExtraMissing: the library is not installed.
    """
    found = []
    try:
        paths = [path for path in folder.iterdir() if path.suffix == _IDENTITY and not path.name.startswith(".")]
    except OSError as error:
        message = f"{folder.name} cannot be read as a key folder: {error.strerror}"
        raise KeyInvalid(message) from error
    for path in paths:
        try:
            found.append(_read(path))
        except KeyInvalid as error:
            # One bad file must not close all others.
            _log.error("an identity cannot be used", reason=error.reason, remedy=error.remedy, cause=error.message)
    return sorted(found, key=lambda one: (one.created, one.recipient), reverse=True)


def begins_sealed(file: BinaryIO) -> bool:
    """Whether a seekable file begins as one in the age format does. Its place is then behind that.

    Raises:
        OSError: it cannot be read.
    """
    file.seek(0)
    return file.read(len(_HEADER)) == _HEADER


class AgeSeal:
    """Seals to an agency's newest identity, and opens with all of them. Safe to call from any thread.

    The key folder is read at every call, so an identity that comes into it or leaves it counts at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def seal(self, content: bytes) -> bytes:
        """The content, sealed.

        Raises:
            AgeIdentityMissing: the folder has no identity.
            KeyInvalid, ExtraMissing
        """
        recipient = self._identities()[0].native.to_public()
        import pyrage  # noqa: PLC0415 - it is there: the identities were read with it

        sealed: bytes = pyrage.encrypt(content, [recipient])
        return sealed

    def seal_stream(self, source: BinaryIO, target: BinaryIO) -> None:
        """Seal what is left of a file, piece by piece. The memory that is needed does not grow with it.

        Raises:
            OSError: one of the two cannot be read or written.
            AgeIdentityMissing, KeyInvalid, ExtraMissing: as ``seal``.
        """
        recipient = self._identities()[0].native.to_public()
        import pyrage  # noqa: PLC0415 - as above

        first: list[OSError] = []
        try:
            pyrage.encrypt_io(_Telling(source, first), _Telling(target, first), [recipient])
        except pyrage.EncryptError as error:
            # The library makes one error of everything that goes wrong at either end.
            raise (first[0] if first else OSError(errno.EIO, os.strerror(errno.EIO))) from error
        if first:
            # It passes over what goes wrong when it writes the last of its buffer.
            raise first[0]

    def open(self, sealed: bytes) -> bytes:
        """The content. It is whole, or there is none.

        Raises:
            AgeFileInvalid: it is no age file, or was cut or changed.
            AgeIdentityWrong: no identity of the folder opens it.
            AgeIdentityMissing, KeyInvalid, ExtraMissing: as ``seal``.
        """
        if not sealed.startswith(_HEADER):
            message = "it is not a file in the age format (binary, age-encryption.org/v1)"
            raise AgeFileInvalid(message)
        known = self._identities()
        import pyrage  # noqa: PLC0415 - as above

        try:
            content: bytes = pyrage.decrypt(sealed, [one.native for one in known])
        except pyrage.DecryptError as error:
            if str(error).startswith(_NOT_FOR_US):
                message = f"none of the {len(known)} identities in {self._folder.name} opens it"
                raise AgeIdentityWrong(message) from None
            message = "it was cut or changed after it had been sealed"
            raise AgeFileInvalid(message) from None
        return content

    def _identities(self) -> Sequence[AgeIdentity]:
        found = identities(self._folder)
        if not found:
            message = f"{self._folder.name} has no age identity"
            raise AgeIdentityMissing(message)
        return found


class _Telling:
    """A file as the library uses it. What went wrong with it is kept."""

    def __init__(self, file: BinaryIO, errors: list[OSError]) -> None:
        self._file = file
        self._errors = errors

    def read(self, size: int) -> bytes:
        with self._keeping():
            return self._file.read(size)

    def write(self, data: bytes) -> int:
        with self._keeping():
            return self._file.write(data)

    def flush(self) -> None:
        with self._keeping():
            self._file.flush()

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._errors.append(error)
            raise


def _read(path: Path) -> AgeIdentity:
    with needed():
        from pyrage import IdentityError, x25519  # noqa: PLC0415 - only who seals files needs it
    lines = read_private_file(path).decode("ascii", "replace").splitlines()
    secrets = [line.strip() for line in lines if line.startswith(_SECRET)]
    created = [line.removeprefix(_CREATED).strip() for line in lines if line.startswith(_CREATED)]
    if len(secrets) == 1 and len(created) == 1:
        try:
            native = x25519.Identity.from_str(secrets[0])
            at = datetime.fromisoformat(created[0])
        except (IdentityError, ValueError):
            pass
        else:
            if at.tzinfo is not None:
                return AgeIdentity(path, str(native.to_public()), at, native)
    # The library's text may quote the secret.
    message = f"{path.name} is not one X25519 identity with the time of its making, as age-keygen writes it"
    raise KeyInvalid(message)


def _id(recipient: str) -> str:
    return hashlib.sha256(recipient.encode()).hexdigest()[:_DIGITS]
