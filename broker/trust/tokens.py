"""PKCS #11: what is asked of a token, in sessions of tokensessions.py. The library for it is the extra ``hsm``."""

from __future__ import annotations

import contextlib
import secrets
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.core.errors import HardwareKeyInvalid
from broker.extras import needed
from broker.trust.tokensessions import Login, module_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.keyuri import KeyUri

    Holds = Callable[[bytes], bool]
    """Whether a signature is one of the right key."""
    IsShown = Callable[[Callable[[bytes], bytes]], bool]
    """Whether a key is the right one, by what it agrees on with points."""

with needed():
    import pkcs11
    from pkcs11 import KDF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

_OCTET_STRING: Final = 4
_ID_BYTES: Final = 16
_NOT_THE_ONE: Final = "is not the one whose public key the key file has"


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


_KINDS: Final = {
    Curve.P256: _Kind(KeyType.EC, Mechanism.EC_KEY_PAIR_GEN, (bytes.fromhex("06082a8648ce3d030107"),), 65),
    Curve.ED25519: _Kind(
        KeyType.EC_EDWARDS,
        Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"),
        32,
    ),
}


def sign_digest(uri: KeyUri, digest: bytes, holds: Holds) -> bytes:
    """ECDSA with a P-256 key over a digest: r and s, of 32 bytes each.

    Raises:
        HardwareKeyInvalid: the signature does not hold, so it is another key.
        HardwareKeyUnavailable
    """
    return _signed(uri, Curve.P256, lambda key: key.sign(digest, mechanism=Mechanism.ECDSA), holds)


def sign_message(uri: KeyUri, message: bytes, holds: Holds) -> bytes:
    """Ed25519 over a message: 64 bytes.

    Raises:
        HardwareKeyInvalid: the signature does not hold, so it is another key.
        HardwareKeyUnavailable
    """
    return _signed(uri, Curve.ED25519, lambda key: key.sign(message, mechanism=Mechanism.EDDSA), holds)


def _signed(uri: KeyUri, curve: Curve, sign: Callable[[Any], bytes], holds: Holds) -> bytes:
    def work(login: Login) -> bytes:
        signature = bytes(sign(_key(login, uri, curve, "sign")))
        # In here, so that the module is begun anew and the key is looked for again: the right one may be back.
        if not holds(signature):
            _refuse(uri, _NOT_THE_ONE)
        return signature

    return module_of(uri).call(uri, work)


def agree(uri: KeyUri, point: bytes, public: bytes, is_shown: IsShown) -> bytes:
    """ECDH of a P-256 key with a public point (uncompressed): the 32 bytes of the x coordinate.

    Args:
        uri: the key.
        point: what to agree with.
        public: the public key that the key must have.
        is_shown: it is asked once in each login, because another token may have come in between.

    Raises:
        HardwareKeyInvalid: it is another key.
        HardwareKeyUnavailable
    """

    def derive(login: Login) -> bytes:
        if login.shown.get(uri) != public:
            _check_shown(login, uri, is_shown)
            login.shown[uri] = public
        return _derived(login, uri, point)

    return module_of(uri).call(uri, derive)


def _check_shown(login: Login, uri: KeyUri, is_shown: IsShown) -> None:
    if not is_shown(lambda trial: _derived(login, uri, trial)):
        _refuse(uri, _NOT_THE_ONE)


def _derived(login: Login, uri: KeyUri, point: bytes) -> bytes:
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


def make(uri: KeyUri, curve: Curve, use: Use) -> bytes:
    """The public point of the key: of the one that is there, or of a new one that never leaves the token.

    Raises:
        HardwareKeyInvalid: the one that is there can be taken out of the token, is of another kind, or has no public
            key beside it.
        HardwareKeyUnavailable
    """

    def find_or_generate(login: Login) -> bytes:
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

    return module_of(uri).call(uri, find_or_generate)


def destroy(uri: KeyUri, is_shown: IsShown) -> None:
    """Destroy a P-256 key that opens in its token, with the public key beside it.

    Raises:
        HardwareKeyInvalid: it is not there, there are several, or it is another one.
        HardwareKeyUnavailable: it is not certain that it is gone.
    """

    def remove(login: Login) -> None:
        _check_shown(login, uri, is_shown)
        login.forget(uri)
        with contextlib.closing(login.session.token.open(rw=True)) as writing:
            for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
                for each in _found(writing, uri, kind):
                    each.destroy()

    module_of(uri).call(uri, remove)


def _found(session: pkcs11.Session, uri: KeyUri, kind: ObjectClass) -> list[Any]:
    named: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if uri.object:
        named[Attribute.LABEL] = uri.object
    if uri.id:
        named[Attribute.ID] = uri.id
    return list(session.get_objects(named))


def _key(login: Login, uri: KeyUri, curve: Curve, use: str = "") -> Any:
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
