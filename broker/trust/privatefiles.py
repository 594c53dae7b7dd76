"""Files with something secret: refused if anyone but their owner can read them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from broker.core.errors import KeyInvalid

if TYPE_CHECKING:
    from pathlib import Path

MAX_KEY_FILE_BYTES: Final = 64 * 1024
_READABLE_BY_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_private_file(path: Path) -> bytes:
    """Read a file with a private key, or with a PIN.

    Raises:
        KeyInvalid: it is unreadable, or accessible to others than its owner.
    """
    try:
        with path.open("rb") as file:
            # The mode of the open file is checked, not that of its name. So the checked file is the one that is read.
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & _READABLE_BY_OTHERS:
                message = f"{path.name} is accessible to others than its owner"
                raise KeyInvalid(message)
            return file.read(MAX_KEY_FILE_BYTES)
    except OSError:
        message = f"{path.name} cannot be read"
        raise KeyInvalid(message) from None
