"""Looks for encryption keys that the directory lists as the agency's own, and that the agency does not know."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from broker.trust.keyfolder import entry_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.policy import Directory

_log = structlog.get_logger("adapters.edge.ownkeys")


def strange_keys(folder: Path, directory: Directory, agency: str) -> list[EncryptionKey]:
    """The keys of which the agency's key folder has neither the private key nor the statement."""
    member = directory.agencies.get(agency)
    found = [] if member is None else [(key, entry_of(folder, key)) for key in member.encryption_keys]
    return [key for key, entry in found if not entry.has_private and not entry.statement_file.exists()]


async def watch_own_keys(folder: Path, agency: str, latest: Callable[[], Directory], seconds: float) -> None:
    """Log each such key once: somebody with the agency's signing key may have stated it, to read what is sent to it.

    Args:
        folder: the key folder. An empty path: the profile names none, and nothing is looked for.
        agency: the agency's id.
        latest: gives the newest directory.
        seconds: the time between two looks.
    """
    told = set[bytes]()
    while folder != Path():
        directory = latest()
        for key in await asyncio.to_thread(strange_keys, folder, directory, agency):
            if key.key_id not in told:
                told.add(key.key_id)
                text = "the directory lists a key as this agency's that its key folder does not know: `keys list`"
                _log.error(text, agency=agency, key_id=key.key_id.hex(), version=directory.version)
        await asyncio.sleep(seconds)
