"""Read the fields of a directory: JSON values of a form. Each reader names the field that has another form.

All of them raise DirectoryInvalid.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from broker.core.errors import DirectoryInvalid
from broker.core.streams import MAX_PARTITIONS, STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_RFC3339_UTC: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z", re.ASCII)


def read_keys(
    value: Any, keys: frozenset[str], where: str, optional: frozenset[str] = frozenset()
) -> Mapping[str, Any]:
    """An object with exactly these keys, and perhaps optional ones."""
    fields = read_object(value, where)
    if fields.keys() - optional != keys:
        refuse(f"{where} has not exactly the keys {', '.join(sorted(keys))}")
    return fields


def read_object(value: Any, where: str) -> dict[str, Any]:
    """An object with any keys."""
    if not isinstance(value, dict):
        refuse(f"{where} is not an object")
    return value


def read_texts(value: Any, where: str) -> tuple[str, ...]:
    """A list of different texts."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        refuse(f"{where} is not a list of texts")
    if len(set(value)) != len(value):
        refuse(f"{where} holds an item twice")
    return tuple(value)


def read_names(value: Any, allowed: Callable[[str], object], where: str) -> frozenset[str]:
    """A list of different texts that are all allowed."""
    names = read_texts(value, where)
    if not all(map(allowed, names)):
        refuse(f"{where} holds a name that is not known or not well formed")
    return frozenset(names)


def read_text(value: Any, allowed: Callable[[str], object], where: str) -> str:
    """A text that is allowed."""
    if not isinstance(value, str) or not allowed(value):
        refuse(f"{where} is not well formed")
    return value


def read_partitions(value: Any, where: str) -> dict[str, int]:
    """How many partitions streams have: an object of numbers from 1 to ``MAX_PARTITIONS``."""
    partitions = read_object(value, where)
    if not partitions.keys() <= set(STREAMS):
        refuse(f"{where} names a stream that does not exist")
    if not all(type(number) is int and 0 < number <= MAX_PARTITIONS for number in partitions.values()):
        refuse(f"{where} has something else than a number from 1 to {MAX_PARTITIONS}")
    return partitions


def read_version(value: Any) -> int:
    """A positive integer."""
    if type(value) is not int or not 0 < value < 2**63:
        refuse("version is not a positive integer")
    return value


def read_time(value: Any, where: str) -> int:
    """A time in RFC 3339, UTC, as milliseconds since the Unix epoch."""
    text = read_text(value, _RFC3339_UTC.fullmatch, where)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        refuse(f"{where} is not a time in RFC 3339, UTC")
    return round(time.timestamp() * 1000)


def rfc3339(time_ms: int) -> str:
    """The text of a time (milliseconds since the Unix epoch): RFC 3339, UTC, without a fraction if it has none."""
    text = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000") + "Z"


def refuse(what: str) -> NoReturn:
    """Refuse the directory for what is wrong with it."""
    message = f"the directory cannot be used: {what}"
    raise DirectoryInvalid(message)
