"""PKCS #11: what is asked of a token. Only this module knows the library for it, the extra ``hsm``.

A process loads each module once, and makes its calls one at a time: not every module bears threads. It has one session
for each token, because a login counts for the whole process. After any fault the module is begun anew, once, and the
work is tried again: so a token that was away for a moment, or a module that lost its sessions, is no fault. A PIN that
was refused is not tried again, because tokens lock after a few wrong ones.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from enum import Enum
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
from broker.files import FileState
from broker.trust.privatefiles import read_private_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.keyuri import KeyUri

with needed():
    import pkcs11
    from pkcs11 import KDF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

_T = TypeVar("_T")
_REFUSED: Final = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinExpired)
_LOCKED: Final = (pkcs11.PinLocked, pkcs11.UserPinNotInitialized)
_NO_SUCH: Final = (
    pkcs11.KeyTypeInconsistent,
    pkcs11.MechanismInvalid,
    pkcs11.MultipleTokensReturned,
    pkcs11.FunctionNotSupported,
)
_OCTET_STRING: Final = 4
_ID_BYTES: Final = 16


class Curve(Enum):
    """The curves of private keys in tokens."""

    P256 = "P256"
    ED25519 = "ED25519"


class Use(Enum):
    """What a key may be used for."""

    SIGN = MechanismFlag.SIGN
    OPEN = MechanismFlag.DERIVE


class _Kind(NamedTuple):
    """``parameters``: the object identifier of the curve in DER first, then the name that a token may give instead."""

    key_type: KeyType
    generate: Mechanism
    parameters: tuple[bytes, ...]
    point_bytes: int


class _Login(NamedTuple):
    """A session that is logged in, and the keys that were found in it."""

    session: pkcs11.Session
    keys: dict[tuple[KeyUri, Curve], Any]


_KINDS: Final = {
    Curve.P256: _Kind(KeyType.EC, Mechanism.EC_KEY_PAIR_GEN, (bytes.fromhex("06082a8648ce3d030107"),), 65),
    Curve.ED25519: _Kind(
        KeyType.EC_EDWARDS,
        Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"),
        32,
    ),
}


def sign_digest(uri: KeyUri, digest: bytes) -> bytes:
    """ECDSA with a P-256 key over a digest: r and s, of 32 bytes each.

    Raises:
        HardwareKeyUnavailable
    """
    return _of(uri).call(
        uri, lambda login: bytes(_key(login, uri, Curve.P256, "sign").sign(digest, mechanism=Mechanism.ECDSA))
    )


def sign_message(uri: KeyUri, message: bytes) -> bytes:
    """Ed25519 over a message: 64 bytes.

    Raises:
        HardwareKeyUnavailable
    """
    return _of(uri).call(
        uri, lambda login: bytes(_key(login, uri, Curve.ED25519, "sign").sign(message, mechanism=Mechanism.EDDSA))
    )


def agree(uri: KeyUri, point: bytes) -> bytes:
    """ECDH of a P-256 key with a public point (uncompressed): the 32 bytes of the x coordinate.

    Raises:
        HardwareKeyUnavailable
    """

    def derive(login: _Login) -> bytes:
        shared = _key(login, uri, Curve.P256, "derive_key").derive_key(
            KeyType.GENERIC_SECRET,
            256,
            mechanism=Mechanism.ECDH1_DERIVE,
            mechanism_param=(KDF.NULL, None, point),
            template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
        )
        try:
            return bytes(shared[Attribute.VALUE])
        finally:
            shared.destroy()

    return _of(uri).call(uri, derive)


def make(uri: KeyUri, curve: Curve, use: Use) -> bytes:
    """The public point of the key: of the one that is there, or of a new one that never leaves the token.

    Raises:
        HardwareKeyInvalid: the one that is there can be taken out of the token, is of another kind, or has no public
            key beside it.
        HardwareKeyUnavailable
    """

    def find_or_generate(login: _Login) -> bytes:
        session = login.session
        if not _found(session, uri, ObjectClass.PRIVATE_KEY):
            # A session that may write, only for this.
            with contextlib.closing(session.token.open(rw=True)) as writing:
                _generate(writing, uri, curve, use)
        key = _key(login, uri, curve)
        if key[Attribute.EXTRACTABLE] or not key[Attribute.SENSITIVE]:
            _refuse(uri, "can be taken out of its token: make one there instead")
        public = _found(session, uri, ObjectClass.PUBLIC_KEY)
        if len(public) != 1:
            _refuse(uri, f"has {len(public)} public keys of the same name beside it, and not one")
        return _point(public[0][Attribute.EC_POINT], _KINDS[curve].point_bytes, uri)

    return _of(uri).call(uri, find_or_generate)


def destroy(uri: KeyUri, curve: Curve) -> None:
    """Destroy a private key in its token, with the public key beside it.

    Raises:
        HardwareKeyInvalid: it is not there, there are several, or it is of another kind.
        HardwareKeyUnavailable: it is not certain that it is gone.
    """

    def remove(login: _Login) -> None:
        _key(login, uri, curve)
        del login.keys[uri, curve]
        with contextlib.closing(login.session.token.open(rw=True)) as writing:
            for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
                for each in _found(writing, uri, kind):
                    each.destroy()

    _of(uri).call(uri, remove)


class _Module:
    """One PKCS #11 library, loaded once, with one session for each token."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._library: Any = None
        self._logins: dict[tuple[str, str], _Login] = {}
        self._pins: dict[str, str] = {}
        self._refused: dict[tuple[str, str], tuple[str, FileState, HardwareKeyUnavailable]] = {}

    def call(self, uri: KeyUri, work: Callable[[_Login], _T]) -> _T:
        """Do something with a session that is logged in to the token. Try it a second time after a fault.

        Raises:
            HardwareKeyUnavailable: of the class that says what to do.
        """
        with self._lock:
            try:
                return work(self._login(uri))
            except (HardwareKeyUnavailable, pkcs11.PKCS11Error) as error:
                if isinstance(error, (TokenPinRefused, TokenLocked)):
                    raise
            try:
                self._begin_anew()
                return work(self._login(uri))
            except pkcs11.PKCS11Error as error:
                raise _typed(error, uri) from error

    def _begin_anew(self) -> None:
        """Lists of slots and tokens, and all sessions, are those of the time when a module was begun."""
        self._logins.clear()
        if self._library is not None:
            with contextlib.suppress(pkcs11.PKCS11Error):
                self._library.finalize()

    def _login(self, uri: KeyUri) -> _Login:
        name = (uri.token, uri.serial)
        if name not in self._logins:
            self._logins[name] = _Login(self._logged_in(uri, name), {})
        return self._logins[name]

    def _logged_in(self, uri: KeyUri, name: tuple[str, str]) -> pkcs11.Session:
        try:
            self._library = pkcs11.lib(self._path)
        except pkcs11.PKCS11Error as error:
            message = f"the PKCS #11 module {Path(self._path).name} cannot be loaded or begun"
            raise KeyModuleMissing(message) from error
        found = list(self._library.get_tokens(token_label=uri.token or None, token_serial=_serial(uri)))
        if len(found) != 1:
            message = f"{len(found)} tokens are named {uri.token or uri.serial}, and not one"
            raise (HardwareKeyInvalid if found else HardwareKeyUnavailable)(message)
        pin, state = self._pin(uri)
        if name in self._refused and self._refused[name][:2] == (pin, state):
            raise self._refused[name][2]
        try:
            session: pkcs11.Session = found[0].open(user_pin=pin)
        except (*_REFUSED, *_LOCKED) as error:
            fault = _typed(error, uri)
            self._refused[name] = pin, state, fault
            raise fault from None
        self._refused.pop(name, None)
        return session

    def _pin(self, uri: KeyUri) -> tuple[str, FileState]:
        try:
            state = FileState.of(Path(uri.pin_source))
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
        return pin, state


_modules: Final[dict[str, _Module]] = {}
_modules_lock: Final = threading.Lock()


def _of(uri: KeyUri) -> _Module:
    with _modules_lock:
        return _modules.setdefault(uri.module_path, _Module(uri.module_path))


def _serial(uri: KeyUri) -> bytes | None:
    return uri.serial.encode() or None


def _typed(error: pkcs11.PKCS11Error, uri: KeyUri) -> HardwareKeyUnavailable:
    where = uri.token or uri.serial
    if isinstance(error, _REFUSED):
        return TokenPinRefused(f"the token {where} refused its PIN")
    if isinstance(error, _LOCKED):
        return TokenLocked(f"the token {where} takes no PIN")
    if isinstance(error, _NO_SUCH):
        return HardwareKeyInvalid(f"the key {uri.label} cannot do what it is needed for: {type(error).__name__}")
    return HardwareKeyUnavailable(f"the key {uri.label} cannot be used now: {type(error).__name__}")


def _found(session: pkcs11.Session, uri: KeyUri, kind: ObjectClass) -> list[Any]:
    named: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if uri.object:
        named[Attribute.LABEL] = uri.object
    if uri.id:
        named[Attribute.ID] = uri.id
    return list(session.get_objects(named))


def _key(login: _Login, uri: KeyUri, curve: Curve, use: str = "") -> Any:
    """The private key. ``use``: what it must be able to do, as a method of the library."""
    if (uri, curve) in login.keys:
        return login.keys[uri, curve]
    found = _found(login.session, uri, ObjectClass.PRIVATE_KEY)
    if len(found) != 1:
        message = f"there are {len(found)} private keys {uri.label}, and not one"
        raise HardwareKeyInvalid(message)
    kind, (key,) = _KINDS[curve], found
    if key[Attribute.KEY_TYPE] != kind.key_type or key[Attribute.EC_PARAMS] not in kind.parameters:
        _refuse(uri, f"is not on the curve {curve.name}")
    if use and not hasattr(key, use):
        _refuse(uri, "may not be used for this: a key signs, or opens what is sealed to it")
    return login.keys.setdefault((uri, curve), key)


def _generate(session: pkcs11.Session, uri: KeyUri, curve: Curve, use: Use) -> None:
    kind = _KINDS[curve]
    parameters = session.create_domain_parameters(kind.key_type, {Attribute.EC_PARAMS: kind.parameters[0]}, local=True)
    parameters.generate_keypair(
        id=uri.id or secrets.token_bytes(_ID_BYTES),
        label=uri.object,
        store=True,
        capabilities=use.value,
        mechanism=kind.generate,
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )


def _point(value: bytes, size: int, uri: KeyUri) -> bytes:
    """A public point: the bytes themselves, or in an OCTET STRING as PKCS #11 says."""
    if len(value) == size + 2 and value[:2] == bytes((_OCTET_STRING, size)):
        return bytes(value[2:])
    if len(value) != size:
        _refuse(uri, "has a public key of another form")
    return bytes(value)


def _refuse(uri: KeyUri, why: str) -> Any:
    message = f"the key {uri.label} {why}"
    raise HardwareKeyInvalid(message)
