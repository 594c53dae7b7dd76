"""Sessions with PKCS #11 tokens.

A process loads each module once, and makes its calls one at a time: not every module bears threads. It has one session
for each token, because a login counts for the whole process. After any fault the module is begun anew, once, and the
work is tried again: so a token that was away for a moment, or a module that lost its sessions, is no fault. A PIN that
a token refused is not tried again in this process, whoever names the token and however: tokens lock after a few wrong
ones. The last try before that is left to a person.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from broker.core.errors import (
    HardwareKeyInvalid,
    HardwareKeyUnavailable,
    KeyInvalid,
    KeyModuleMissing,
    TokenLocked,
    TokenPinRefused,
)
from broker.extras import needed
from broker.trust.privatefiles import read_private_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.keyuri import KeyUri

with needed():
    import pkcs11

_T = TypeVar("_T")
_REFUSED: Final = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinExpired)
_LOCKED: Final = (pkcs11.PinLocked, pkcs11.UserPinNotInitialized)
_NO_SUCH: Final = (
    pkcs11.KeyTypeInconsistent,
    pkcs11.MechanismInvalid,
    pkcs11.MultipleTokensReturned,
    pkcs11.FunctionNotSupported,
)


_SECRET: Final = secrets.token_bytes(32)
"""For the digests of refused PINs, which are short enough to be guessed."""


class Login(NamedTuple):
    """A session that is logged in, and the keys that were found in it."""

    session: pkcs11.Session
    keys: dict[tuple[KeyUri, Any], Any]
    shown: dict[KeyUri, bytes]
    """The public keys of those that have shown in this session that they belong to it."""

    def forget(self, uri: KeyUri) -> None:
        """Look for this key anew the next time."""
        self.shown.pop(uri, None)
        for found in [each for each in self.keys if each[0] == uri]:
            del self.keys[found]


class TokenModule:
    """One PKCS #11 library, loaded once, with one session for each token."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._library: Any = None
        self._logins: dict[tuple[str, str], Login] = {}
        self._pins: dict[str, str] = {}
        self._refused: set[tuple[bytes, bytes]] = set()

    def call(self, uri: KeyUri, work: Callable[[Login], _T]) -> _T:
        """Do something with a session that is logged in to the token. Try it a second time after a fault.

        Raises:
            HardwareKeyUnavailable: of the class that says what to do.
        """
        with self._lock:
            try:
                return work(self._login(uri))
            except (HardwareKeyUnavailable, pkcs11.PKCS11Error) as error:
                # A locked token loses nothing by another look, and somebody may have mended it.
                if isinstance(error, TokenPinRefused):
                    raise
            try:
                self._begin_anew()
                return work(self._login(uri))
            except pkcs11.PKCS11Error as error:
                raise typed(error, uri) from error

    def _begin_anew(self) -> None:
        """Lists of slots and tokens, and all sessions, are those of the time when a module was begun."""
        self._logins.clear()
        if self._library is not None:
            with contextlib.suppress(pkcs11.PKCS11Error):
                self._library.finalize()

    def _login(self, uri: KeyUri) -> Login:
        name = (uri.token, uri.serial)
        if name not in self._logins:
            self._logins[name] = Login(self._logged_in(uri), {}, {})
        return self._logins[name]

    def _logged_in(self, uri: KeyUri) -> pkcs11.Session:
        _check_trusted(Path(self._path))
        try:
            self._library = pkcs11.lib(self._path)
        except pkcs11.PKCS11Error as error:
            message = f"the PKCS #11 module {Path(self._path).name} cannot be loaded or begun"
            raise KeyModuleMissing(message) from error
        found = list(self._library.get_tokens(token_label=uri.token or None, token_serial=_serial(uri)))
        if len(found) != 1:
            message = f"{len(found)} tokens are named {uri.token or uri.serial}, and not one"
            raise (HardwareKeyInvalid if found else HardwareKeyUnavailable)(message)
        (token,), pin = found, self._pin(uri)
        check_tries(token.flags, uri)
        tried = token.serial, hashlib.blake2b(pin.encode(), key=_SECRET).digest()
        if tried in self._refused:
            message = f"the token {uri.token or uri.serial} refused this PIN before, and is not asked again"
            raise TokenPinRefused(message)
        try:
            session: pkcs11.Session = token.open(user_pin=pin)
        except _REFUSED as error:
            self._refused.add(tried)
            raise typed(error, uri) from None
        except _LOCKED as error:
            raise typed(error, uri) from None
        return session

    def _pin(self, uri: KeyUri) -> str:
        try:
            pin = read_private_file(Path(uri.pin_source)).decode().rstrip("\r\n")
        except (KeyInvalid, OSError):
            message = f"the PIN file {Path(uri.pin_source).name} is not there, or others than its owner can read it"
            raise TokenPinRefused(message) from None
        except UnicodeDecodeError:
            message = f"{Path(uri.pin_source).name} has no PIN in UTF-8"
            raise TokenPinRefused(message) from None
        # What a pipe had was read the first time.
        pin = pin or self._pins.get(uri.pin_source, "")
        if not pin:
            message = f"{Path(uri.pin_source).name} is empty: it must have the PIN of the token"
            raise TokenPinRefused(message)
        self._pins[uri.pin_source] = pin
        return pin


_modules: Final[dict[str, TokenModule]] = {}
_modules_lock: Final = threading.Lock()


def module_of(uri: KeyUri) -> TokenModule:
    """The module of a key. A process has each once, by whatever link it is named."""
    path = os.path.realpath(uri.module_path)
    with _modules_lock:
        return _modules.setdefault(path, TokenModule(path))


def _check_trusted(module: Path) -> None:
    """Refuse a library that somebody else could have written: it is run in this process.

    Raises:
        KeyModuleMissing
    """
    for path in (module, module.parent):
        try:
            found = path.stat()
        except OSError:
            continue  # the library itself says that it is not there
        if found.st_uid not in {0, os.geteuid()} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            message = f"the PKCS #11 module {module.name} or its folder can be written by others, so it is not loaded"
            raise KeyModuleMissing(message)


def check_tries(flags: pkcs11.TokenFlag, uri: KeyUri) -> None:
    """Refuse to try a PIN if one more wrong one would lock the token.

    Raises:
        TokenLocked
    """
    if flags & pkcs11.TokenFlag.USER_PIN_FINAL_TRY:
        message = f"the token {uri.token or uri.serial} would lock after one more wrong PIN, so none is tried"
        raise TokenLocked(message)


def _serial(uri: KeyUri) -> bytes | None:
    return uri.serial.encode() or None


def typed(error: pkcs11.PKCS11Error, uri: KeyUri) -> HardwareKeyUnavailable:
    """The error of the class that says what to do."""
    where = uri.token or uri.serial
    if isinstance(error, _REFUSED):
        return TokenPinRefused(f"the token {where} refused its PIN")
    if isinstance(error, _LOCKED):
        return TokenLocked(f"the token {where} takes no PIN")
    if isinstance(error, _NO_SUCH):
        return HardwareKeyInvalid(f"the key {uri.label} cannot do what it is needed for: {type(error).__name__}")
    return HardwareKeyUnavailable(f"the key {uri.label} cannot be used now: {type(error).__name__}")
