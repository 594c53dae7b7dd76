"""Names of private keys in PKCS #11 tokens: RFC 7512 URIs, of which this program takes a strict part.

``pkcs11:token=exchange;object=signing?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/exchange/pin``

The URI says which token (``token``, ``serial``), which key in it (``object``, ``id``), which library reaches it
(``module-path``), and which file has the PIN (``pin-source``). It never holds a PIN: what names a key stands in files
and logs. No message here quotes the URI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn
from urllib.parse import quote, unquote, unquote_to_bytes

from broker.core.errors import KeyUriInvalid

SCHEME: Final = "pkcs11:"
_IN_PATH: Final = frozenset({"token", "serial", "object", "id", "type"})
_IN_QUERY: Final = frozenset({"module-path", "pin-source"})
_PIN: Final = "pin-value"
_FILE: Final = "file:"
_SAFE: Final = "-._~/"


@dataclass(frozen=True, slots=True)
class KeyUri:
    """One private key in one token. Of ``token`` and ``serial``, and of ``object`` and ``id``, one may be empty."""

    module_path: str
    pin_source: str
    """A file, by its absolute path. It may be ``/dev/fd/N``."""
    token: str = ""
    serial: str = ""
    object: str = ""
    id: bytes = b""

    @classmethod
    def parse(cls, text: str) -> KeyUri:
        """Read a URI (RFC 7512 section 2.3). Attributes that this program does not use are refused.

        Raises:
            KeyUriInvalid: it has a PIN or an unknown attribute, lacks a needed one, or is malformed.
        """
        if not text.startswith(SCHEME):
            _refuse(f"does not begin with {SCHEME}")
        path, _, query = text.removeprefix(SCHEME).partition("?")
        # First of all, so that a PIN is named as what it is, behind whatever separator it stands.
        if any(_PIN in form.lower() for form in (text, unquote(text))):
            _refuse(f"holds a PIN ({_PIN}): change this PIN, because others may have seen it, and name a pin-source")
        fields = _fields(path, ";", _IN_PATH) | _fields(query, "&", _IN_QUERY)
        if _text(fields, "type", "private") != "private":
            _refuse("is not of type=private")
        found = cls(
            module_path=_text(fields, "module-path"),
            pin_source=_file(_text(fields, "pin-source")),
            token=_text(fields, "token"),
            serial=_text(fields, "serial"),
            object=_text(fields, "object"),
            id=fields.get("id", b""),
        )
        if not found.module_path.startswith("/"):
            _refuse("has no module-path that is an absolute path")
        if not found.pin_source.startswith("/"):
            _refuse("has no pin-source that is an absolute path of a file")
        if not (found.token or found.serial):
            _refuse("names no token: it needs token or serial")
        if not (found.object or found.id):
            _refuse("names no key: it needs object or id")
        return found

    def __str__(self) -> str:
        """The URI, which ``parse`` reads."""
        path = {"token": self.token, "serial": self.serial, "object": self.object}
        parts = [f"{name}={quote(value, safe=_SAFE)}" for name, value in path.items() if value]
        if self.id:
            parts.append("id=" + "".join(f"%{byte:02x}" for byte in self.id))
        where = (
            f"module-path={quote(self.module_path, safe=_SAFE)}&pin-source=file:{quote(self.pin_source, safe=_SAFE)}"
        )
        return f"{SCHEME}{';'.join(parts)}?{where}"

    @property
    def label(self) -> str:
        """Which key it is, for messages."""
        return f"{self.object or self.id.hex()} in the token {self.token or self.serial}"


def _fields(text: str, separator: str, known: frozenset[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name = _name(part)
        if name not in known:
            _refuse(f"has something else than {', '.join(sorted(known))} there")
        if name in found:
            _refuse(f"has {name} twice")
        found[name] = unquote_to_bytes(part.partition("=")[2])
    return found


def _name(part: str) -> str:
    return part.partition("=")[0].strip().lower()


def _text(fields: dict[str, bytes], name: str, without: str = "") -> str:
    try:
        text = fields[name].decode() if name in fields else without
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable():
        _refuse(f"has a {name} that is not printable text in UTF-8")
    return text


def _file(source: str) -> str:
    """The path in a pin-source: ``file:/path``, ``file:///path`` or the path itself."""
    path = source.removeprefix(_FILE)
    return path[2:] if path.startswith("///") else path


def _refuse(why: str) -> NoReturn:
    message = f"the PKCS #11 URI of a key {why}"
    raise KeyUriInvalid(message)
