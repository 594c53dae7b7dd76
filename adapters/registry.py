"""The adapters that are installed, by name: entry points of the group ``case_exchange.adapters``."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from broker.core.errors import SetupInvalid

if TYPE_CHECKING:
    from adapters.base import Adapter

GROUP: Final = "case_exchange.adapters"
SNIFFED_BYTES: Final = 4096


def adapter_names() -> list[str]:
    """Names of the installed adapters."""
    return sorted(entry_points(group=GROUP).names)


def adapter(name: str) -> Adapter:
    """The adapter of this name.

    Raises:
        SetupInvalid: none is installed under it.
    """
    for point in entry_points(group=GROUP, name=name):
        found: Adapter = point.load()
        return found
    message = f"there is no adapter {name}; installed are {', '.join(adapter_names())}"
    raise SetupInvalid(message)


def detect(content: bytes) -> Adapter | None:
    """The adapter whose format a file seems to be of, or None."""
    head = content[:SNIFFED_BYTES]
    return next((found for name in adapter_names() if (found := adapter(name)).sniff(head)), None)
