"""Reads tiles over HTTPS, with a client certificate (the port TileSource). Nothing that it gets is verified here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.core.errors import (
    CaseExchangeError,
    ConnectionFailed,
    PositionUnknown,
    ProofInvalid,
    RightDenied,
    Unavailable,
    all_errors,
)
from broker.core.tree.checkpoint import MAX_NOTE_BYTES
from broker.core.tree.tiles import CHECKPOINT, ENTRIES, MAX_BUNDLE_BYTES
from broker.web.client import HttpFailed
from broker.wire.status import MAX_DETAIL_CHARACTERS

if TYPE_CHECKING:
    from broker.core.tree.tiles import Tile
    from broker.web.client import HttpClient

_SECONDS: Final = 60.0
_OK: Final = 200
_NOT_FOUND: Final = 404
_INDEX_BYTES: Final = 1 << 20


class HttpTiles:
    """One log.

    Args:
        client: asks the server.
        name: the log's path below the client's prefix.
        entries: whether the directory gives this client the entries. Without the right it does not ask for them: the
            server would tell auditors of the refusal.
    """

    def __init__(self, client: HttpClient, name: str, *, entries: bool) -> None:
        self._client = client
        self._name = name
        self._entries = entries

    async def checkpoint(self) -> bytes:
        """See ``TileSource``."""
        return await _get(self._client, f"/{self._name}/{CHECKPOINT}", MAX_NOTE_BYTES)

    async def tile(self, tile: Tile) -> bytes:
        """See ``TileSource``."""
        if tile.level == ENTRIES and not self._entries:
            message = "the directory does not make this agency an auditor of the stream"
            raise RightDenied(message)
        try:
            return await _get(self._client, f"/{self._name}/{tile.path}", MAX_BUNDLE_BYTES)
        except RightDenied as error:
            if tile.level != ENTRIES:
                raise
            # Else a server could spare itself the check of its entries.
            message = "the server refuses entries that the directory grants"
            raise ProofInvalid(message) from error


async def log_names(client: HttpClient) -> list[str]:
    """The paths of the logs that a server says it has. They are not checked.

    Raises:
        As ``TileSource.checkpoint``.
    """
    return (await _get(client, "/", _INDEX_BYTES)).decode(errors="replace").split("\n")[:-1]


async def _get(client: HttpClient, path: str, max_bytes: int) -> bytes:
    try:
        async with asyncio.timeout(_SECONDS):
            answer = await client.get(path, max_bytes)
    except (HttpFailed, TimeoutError) as error:
        message = f"nobody answered over HTTPS, or not in time: {str(error) or type(error).__name__}"
        raise ConnectionFailed(message) from error
    if answer.status == _OK:
        return answer.body
    raise _refusal(answer.status, answer.body)


def _refusal(status: int, body: bytes) -> CaseExchangeError:
    """The error that an answer states: a line that begins with its reason."""
    text = body[: 4 * MAX_DETAIL_CHARACTERS].decode(errors="replace").strip()
    text = "".join(character if character.isprintable() else "?" for character in text[:MAX_DETAIL_CHARACTERS])
    reason, _, said = text.partition(": ")
    kind = next((kind for kind in all_errors() if kind.reason == reason), None)
    if kind is None:
        kind = PositionUnknown if status == _NOT_FOUND else Unavailable
        return kind(f"the server answered with HTTP {status}")
    # The remedy comes with the class.
    return kind(said.removesuffix(kind.remedy).rstrip(" ."))
