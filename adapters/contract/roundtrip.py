"""Tests whether an adapter reads back what it wrote, in all fields that the format carries."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from hypothesis import strategies as st

from adapters.base import Limits, Severity, Source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from google.protobuf.message import Message

    from adapters.base import Adapter, Issue, Record

_LOCATOR: Final = re.compile(r"(?:records\[[0-9]+\])?[., ]*(.*)")
_INDEX: Final = re.compile(r"\[[0-9]+\]")
_OWN: Final = "provenance"


class RoundTrip(NamedTuple):
    """The result of writing and reading a record.

    Attributes:
        lost: the paths of fields that came back different, or not at all, without an issue about it.
        read: the record that was read back. None if it was refused in writing or reading.
        issues: of writing and reading.
    """

    lost: tuple[str, ...]
    read: Record | None
    issues: tuple[Issue, ...]


def round_trip(adapter: Adapter, record: Record, *, lossy: Collection[str] = ()) -> RoundTrip:
    """Write one record, read it back, and find what was lost without an issue.

    Provenance is not compared: it names the file that a record comes from, and this is another file. An empty field
    may come back with the format's default value.

    Args:
        adapter: writes and reads records of this kind.
        record: it is not changed.
        lossy: codes that, like ``FIELD_NOT_CARRIED``, say that the field at their locator may come back different.
    """
    encoded = adapter.encode([record], Limits())
    decoded = adapter.decode(Source(encoded.content, encoded.attachments), Limits())
    issues = (*encoded.issues, *decoded.issues)
    found = [item.record for item in decoded.records if type(item.record) is type(record)]
    if not encoded.content or any(issue.severity is Severity.REJECT_RECORD for issue in issues) or len(found) != 1:
        return RoundTrip((), None, issues)
    before, after = copy.deepcopy(record), copy.deepcopy(found[0])
    for path in {(_OWN,), *not_carried(encoded.issues, lossy)}:
        _clear(before, path)
        _clear(after, path)
    return RoundTrip(tuple(_lost(before, after, "")), found[0], issues)


def not_carried(issues: Sequence[Issue], lossy: Collection[str] = ()) -> set[tuple[str, ...]]:
    """The paths of the fields that the format does not carry, from an encoder's issues; without numbers in lists."""
    paths = set()
    for issue in issues:
        if issue.code == "FIELD_NOT_CARRIED" or issue.code in lossy:
            match = _LOCATOR.fullmatch(issue.locator)
            path = _INDEX.sub("", match[1]) if match is not None else ""
            paths.add(tuple(path.split(".")))
    return paths


@st.composite
def thinned(draw: st.DrawFn, record: Record) -> Record:
    """A record without some of its fields."""
    made = copy.deepcopy(record)
    names = sorted(descriptor.name for descriptor, _ in record.ListFields())
    for name in draw(st.sets(st.sampled_from(names))):
        made.ClearField(name)  # type: ignore[arg-type] # of this record
    return made


def _lost(before: Message, after: Message, prefix: str) -> Iterator[str]:
    for field, held in before.ListFields():
        path, came = prefix + field.name, getattr(after, field.name)
        if field.message_type is None:
            if held != came:
                yield path
        elif not field.is_repeated:
            yield from _lost(held, came, f"{path}.")
        elif len(held) != len(came):
            yield path
        else:
            for place, (one, other) in enumerate(zip(held, came, strict=True)):
                yield from _lost(one, other, f"{path}[{place}].")


def _clear(message: Message, path: tuple[str, ...]) -> None:
    """Clear a field by its path. If there is a list on the way, clear it in every message of the list."""
    name, rest = path[0], path[1:]
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        return
    if not rest or field.message_type is None:
        message.ClearField(name)
    elif field.is_repeated:
        for item in getattr(message, name):
            _clear(item, rest)
    elif message.HasField(name):
        inner = getattr(message, name)
        _clear(inner, rest)
        if not inner.ListFields():
            message.ClearField(name)
