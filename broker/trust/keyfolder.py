"""An agency's key folder: its private encryption keys, with what the agency stated of each.

All systems of an agency may share one folder, or each has a copy. A key has up to three files, by the first 16 digits
of its id: ``.key`` (private, mode 0600, in PEM or a reference to a token), ``.key.json`` (the statement) and
``.retired.json`` (its retirement).
Programs take up new keys while they run, and let go of keys whose files are gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from broker.core.encryptionkeys import EncryptionKey, KeyRetirement
from broker.core.errors import KeyInvalid, KeyStatementInvalid, SealKeyMissing
from broker.files import FileState, destroy_file, make_file, make_private, read_file, replace_file
from broker.trust.hpke import PrivateEncryptionKey
from broker.trust.keystatements import MAX_STATEMENT_BYTES, parse_statement
from broker.trust.privatefiles import MAX_KEY_FILE_BYTES
from broker.trust.tokenkeys import is_reference

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from broker.trust.tokenkeys import TokenEcKey

_log = structlog.get_logger("broker.trust")
_PRIVATE: Final = ".key"
_STATEMENT: Final = ".key.json"
_RETIREMENT: Final = ".retired.json"
_DIGITS: Final = 16


class FolderKeys:
    """The private keys in a folder (the port KeyUnwrapper). Safe to call from any thread."""

    def __init__(self, folder: Path) -> None:
        """Read every key. A key file that cannot be used is logged, and passed over.

        Raises:
            KeyInvalid: the folder cannot be read.
        """
        self._folder = folder
        self._lock = threading.Lock()
        try:
            self._state = _states(folder)
            self._keys: Mapping[bytes, PrivateEncryptionKey] = dict(self._read())
        except OSError as error:
            message = f"{folder.name} cannot be read as a key folder: {error.strerror}"
            raise KeyInvalid(message) from error

    def key_ids(self) -> Collection[bytes]:
        """See ``KeyUnwrapper``."""
        return self._current().keys()

    def unwrap(self, key_id: bytes, wrapped: bytes, info: bytes) -> bytes:
        """See ``KeyUnwrapper``."""
        # A folder that changed twice within one tick of its clock looks unchanged. So look again for an unknown id.
        key = self._current().get(key_id) or self._current(again=True).get(key_id)
        if key is None:
            message = "the content keys are wrapped to a key that is not in the key folder"
            raise SealKeyMissing(message, key_id=key_id[:32].hex())
        return key.unwrap(wrapped, info)

    def _current(self, *, again: bool = False) -> Mapping[bytes, PrivateEncryptionKey]:
        """The keys in the folder now. It is read again only if it or a key file has changed, or if asked to."""
        try:
            state = _states(self._folder)
            if again or state != self._state:
                with self._lock:
                    self._keys = dict(self._read())
                    self._state = state
        except OSError as error:
            # Such as a network share that is away for a moment: what was read goes on to open records.
            _log.error("the key folder cannot be read", reason=KeyInvalid.reason, cause=error.strerror)
        return self._keys

    def _read(self) -> Iterator[tuple[bytes, PrivateEncryptionKey]]:
        for path in _key_files(self._folder):
            try:
                key = PrivateEncryptionKey.load(path)
            except KeyInvalid as error:
                # One bad file must not close all records, and a key that is being destroyed is bad for a moment.
                _log.error("a key file cannot be used", reason=error.reason, remedy=error.remedy, cause=error.message)
                continue
            yield key.key_id, key


class FolderEntry(NamedTuple):
    """What a key folder has of one key."""

    key: EncryptionKey
    private_file: Path
    statement_file: Path
    retirement_file: Path

    @property
    def has_private(self) -> bool:
        """Whether the private key is there. If not, it was destroyed, or is kept elsewhere."""
        return self.private_file.exists()

    def token_key(self) -> TokenEcKey | None:
        """The private key, if the file says that it is in a token. The token is not asked.

        Raises:
            KeyInvalid: the file says so, and cannot be used.
        """
        try:
            data = read_file(self.private_file, MAX_KEY_FILE_BYTES)
        except OSError:
            return None
        return PrivateEncryptionKey.load(self.private_file).token_key if is_reference(data) else None


def entries(folder: Path) -> list[FolderEntry]:
    """The keys that a folder has statements of, the oldest first.

    Raises:
        KeyInvalid: the folder cannot be read.
        KeyStatementInvalid: a statement in it cannot be used.
    """
    try:
        names = sorted(path for path in folder.iterdir() if path.name.endswith(_STATEMENT))
        found = [_entry(path) for path in names]
    except OSError as error:
        message = f"{folder.name} cannot be read as a key folder: {error.strerror}"
        raise KeyInvalid(message) from error
    return sorted(found, key=lambda entry: (entry.key.not_before_ms, entry.key.key_id))


def entry_of(folder: Path, key: EncryptionKey) -> FolderEntry:
    """The files that a key has in a folder. They need not exist."""
    stem = key.key_id.hex()[:_DIGITS]
    return FolderEntry(key, *(folder / (stem + end) for end in (_PRIVATE, _STATEMENT, _RETIREMENT)))


def add_key(folder: Path, private: PrivateEncryptionKey, stated: EncryptionKey) -> FolderEntry:
    """Write a new key: first the private key, then the statement, so that nobody seals to a key that is nowhere.

    Raises:
        KeyInvalid: a file cannot be written.
    """
    entry = entry_of(folder, stated)
    with _written(folder):
        make_private(folder)
        make_file(entry.private_file, private.pem())
        make_file(entry.statement_file, stated.statement + b"\n")
    return entry


def add_retirement(entry: FolderEntry, retirement: KeyRetirement) -> None:
    """Write the retirement of a key, and its statement if that is not there.

    Raises:
        KeyInvalid: a file cannot be written.
    """
    with _written(entry.retirement_file.parent):
        make_private(entry.retirement_file.parent)
        if not entry.statement_file.exists():
            make_file(entry.statement_file, entry.key.statement + b"\n")
        replace_file(entry.retirement_file, retirement.statement + b"\n")


def destroy_private(entry: FolderEntry) -> None:
    """Overwrite and remove a private key, durably. Its statement stays. If it is in a token, it is destroyed there.

    The disk itself may keep the old bytes elsewhere (flash memory, snapshots, backups): docs/keys.md.

    Raises:
        KeyInvalid: the file is still there, or it is not certain that it is gone.
        HardwareKeyUnavailable: so it is with the key in its token. The file stays, so that it can be tried again.
    """
    path = entry.private_file
    in_token = entry.token_key()
    if in_token is not None:
        in_token.destroy()
    try:
        destroy_file(path)
    except OSError as error:
        message = f"{path.name} cannot be destroyed: {error.strerror}"
        raise KeyInvalid(message) from error


def _states(folder: Path) -> list[FileState]:
    # Mode and content of a file can change while the folder stays as it is.
    return [FileState.of(folder), *map(FileState.of, _key_files(folder))]


def _key_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(_PRIVATE) and not path.name.startswith("."))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Change a folder while no other command does, which would make a second key in the place of the same former one.

    Raises:
        KeyInvalid: another command changes it, or it cannot be read.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        message = f"{folder.name} cannot be read as a key folder: {error.strerror}"
        raise KeyInvalid(message) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        message = f"another command changes {folder.name} at this moment: look at `keys list`, then try again"
        raise KeyInvalid(message) from error
    else:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{folder.name} cannot be written: {error.strerror}"
        raise KeyInvalid(message) from error


def _entry(path: Path) -> FolderEntry:
    key = _parse(path)
    if not isinstance(key, EncryptionKey) or not path.name.startswith(key.key_id.hex()[:_DIGITS]):
        message = f"{path.name} is not the statement of the key that its name says"
        raise KeyStatementInvalid(message)
    entry = entry_of(path.parent, key)
    if not entry.retirement_file.exists():
        return entry
    ended = _parse(entry.retirement_file)
    if not isinstance(ended, KeyRetirement) or ended.key_id != key.key_id:
        message = f"{entry.retirement_file.name} is not the retirement of its key"
        raise KeyStatementInvalid(message)
    return entry._replace(key=replace(key, retired_at_ms=ended.retired_at_ms))


def _parse(path: Path) -> EncryptionKey | KeyRetirement:
    return parse_statement(read_file(path, MAX_STATEMENT_BYTES)).said
