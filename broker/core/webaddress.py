"""Addresses of HTTP services that the exchange calls, such as witnesses."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

MAX_CHARACTERS: Final = 500
_PORTS: Final = {"https": 443, "http": 80}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class WebAddress(NamedTuple):
    """Where a service is. ``prefix`` is the beginning of its paths, without the last slash."""

    tls: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str, *, plain: bool = False) -> WebAddress:
        """Read an address: https, or http on the machine itself, for a service that has no TLS of its own.

        Args:
            url: the address.
            plain: http may be anywhere, because what is answered is signed.

        Raises:
            ValueError: it is another scheme, has a user, a query or a fragment, or its host can be no name.
        """
        if len(url) > MAX_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
            message = "an address is too long, or holds a character that no address has"
            raise ValueError(message)
        parts = urlsplit(url)
        host = parts.hostname or ""
        usable = parts.scheme == "https" or (parts.scheme == "http" and (plain or host in _LOOPBACK))
        if not usable or not host or parts.username is not None or parts.query or parts.fragment:
            message = "an address is not https://host/path"
            raise ValueError(message)
        _check_host(host)
        return cls(parts.scheme == "https", host, parts.port or _PORTS[parts.scheme], parts.path.rstrip("/"))


def _check_host(host: str) -> None:
    """Whoever connects encodes the host in this way. What cannot be encoded is better told when it is read."""
    try:
        host.encode("idna")
    except UnicodeError as error:
        message = "the host of an address has an empty part, or one of more than 63 characters"
        raise ValueError(message) from error
