"""Looks for encryption keys that the directory lists as the agency's own, and that the agency does not know."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import CaseExchangeError
from broker.trust.hpke import PrivateEncryptionKey
from broker.trust.keyfolder import entries, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.policy import Directory

_log = structlog.get_logger("adapters.edge.ownkeys")


def strange_keys(folder: Path, directory: Directory, agency: str) -> list[EncryptionKey]:
    """The keys of which the agency's key folder has neither the private key nor the statement.

    Raises:
        KeyInvalid, KeyStatementInvalid: the folder, or a file in it, cannot be used.
    """
    member = directory.agencies.get(agency)
    listed = () if member is None else member.encryption_keys
    # The name of a file has only a part of the id.
    stated = {entry.key.key_id for entry in entries(folder)}
    return [key for key in listed if key.key_id not in stated and not _has_private(folder, key)]


def _has_private(folder: Path, key: EncryptionKey) -> bool:
    entry = entry_of(folder, key)
    return entry.has_private and PrivateEncryptionKey.load(entry.private_file).key_id == key.key_id


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
        try:
            found = await asyncio.to_thread(strange_keys, folder, directory, agency)
        except CaseExchangeError as error:
            _log.error("own keys cannot be compared with the directory", reason=error.reason, remedy=error.remedy)
            found = []
        except Exception as defect:  # noqa: BLE001 - whatever it is, the folder is looked at again
            _log.error("own keys cannot be compared with the directory", cause=type(defect).__name__)
            found = []
        for key in found:
            if key.key_id not in told:
                told.add(key.key_id)
                text = "the directory lists a key as this agency's that its key folder does not know: `keys list`"
                _log.error(text, agency=agency, key_id=key.key_id.hex(), version=directory.version)
        await asyncio.sleep(seconds)
