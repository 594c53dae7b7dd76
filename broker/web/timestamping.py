"""Asks a timestamp authority over HTTP (the port TimestampCaller): RFC 3161 section 3.4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import TimestampsUnavailable
from broker.web.client import HttpClient, HttpFailed
from broker.web.tls import ClientContext

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.webaddress import WebAddress

REQUEST_TYPE: Final = "application/timestamp-query"
RESPONSE_TYPE: Final = "application/timestamp-reply"
"""The media types of both."""
_ANSWER_BYTES: Final = 64 << 10
_OK: Final = 200


class HttpTimestampAuthority:
    """One authority, at its address. CertificateInvalid: the file of TLS authorities cannot be used."""

    def __init__(self, address: WebAddress, authorities: Path) -> None:
        self._context = ClientContext(authorities)
        self._client = HttpClient(address, self._context.newest())

    async def ask(self, request: bytes) -> bytes:
        """See ``TimestampCaller``."""
        self._client.use(self._context.newest())
        try:
            answer = await self._client.post("", request, _ANSWER_BYTES, content_type=REQUEST_TYPE)
        except HttpFailed as error:
            message = f"the timestamp authority did not answer: {error}"
            raise TimestampsUnavailable(message) from error
        if answer.status != _OK or answer.content_type != RESPONSE_TYPE:
            message = f"the timestamp authority answered with HTTP {answer.status} and no timestamp"
            raise TimestampsUnavailable(message)
        return answer.body

    async def close(self) -> None:
        """See ``TimestampCaller``."""
        await self._client.close()
