"""The installed adapters, by name: entry points of the group ``case_exchange.adapters``."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters.base import MappableAdapter
from broker.core.errors import MappingInvalid, SetupInvalid
from broker.extras import needed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapters.base import Adapter

GROUP: Final = "case_exchange.adapters"
SNIFFED_BYTES: Final = 4096
_WORKBOOK: Final = b"PK\x03\x04"


def adapter_names() -> list[str]:
    """Names of the installed adapters."""
    return sorted(entry_points(group=GROUP).names)


def adapter(name: str) -> Adapter:
    """The adapter with this name.

    Raises:
        SetupInvalid: no such adapter is installed.
        ExtraMissing: the adapter needs a library that is not installed.
    """
    for point in entry_points(group=GROUP, name=name):
        with needed():
            found: Adapter = point.load()
        return found
    message = f"there is no adapter {name}; the installed adapters are {', '.join(adapter_names())}"
    raise SetupInvalid(message)


def mapped(found: Adapter, mapping: Path | None) -> Adapter:
    """The adapter with a mapping file for the agency's own columns. Without a mapping file, the adapter itself.

    Raises:
        MappingInvalid: the message names every fault of the file with its line.
        SetupInvalid: the file cannot be read, or the format has no columns to map.
    """
    if mapping is None or mapping == Path():
        return found
    if not isinstance(found, MappableAdapter):
        message = f"{found.name} has no columns to map"
        raise SetupInvalid(message)
    try:
        return found.with_mapping(mapping.read_text(encoding="utf-8-sig"))
    except MappingInvalid as error:
        message = f"{mapping}: {error.message}"
        raise MappingInvalid(message) from error
    except (OSError, UnicodeDecodeError) as error:
        message = f"{mapping} cannot be read, or is not UTF-8"
        raise SetupInvalid(message) from error


def adapters_of(names: Iterable[str], mapping: Path | None) -> list[Adapter]:
    """The adapters of a profile, in the profile's order. Those that can use the mapping get it.

    Raises:
        MappingInvalid, SetupInvalid: see ``adapter`` and ``mapped``. Also if no adapter can use the mapping.
    """
    found = [adapter(name) for name in names]
    mappable = [isinstance(item, MappableAdapter) for item in found]
    if mapping not in {None, Path()} and not any(mappable):
        message = "the profile has a mapping, but no format with columns to map"
        raise SetupInvalid(message)
    return [mapped(item, mapping) if able else item for item, able in zip(found, mappable, strict=True)]


def is_workbook(content: bytes) -> bool:
    """Whether a file with this beginning may be a workbook. Fast. Every zip archive has the same beginning."""
    return content.startswith(_WORKBOOK)


def head_of(content: bytes) -> bytes:
    """The part of a file that ``sniff`` gets: the beginning, or the whole file if it may be a workbook."""
    return content if is_workbook(content) else content[:SNIFFED_BYTES]


def detect(content: bytes) -> Adapter | None:
    """The first adapter that takes the file for its own format, or None."""
    head = head_of(content)
    return next((found for name in adapter_names() if (found := adapter(name)).sniff(head)), None)
