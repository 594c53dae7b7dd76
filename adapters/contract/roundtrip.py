"""Whether what an adapter writes reads back equal, on what the format carries."""

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
    """A record and what became of it.

    Attributes:
        lost: the paths of fields that came back otherwise, or not at all, though no issue says so.
        read: what was read back; None where it was refused in writing or reading.
        issues: of writing and reading.
    """

    lost: tuple[str, ...]
    read: Record | None
    issues: tuple[Issue, ...]


def round_trip(adapter: Adapter, record: Record, *, lossy: Collection[str] = ()) -> RoundTrip:
    """Write one record, read it back, and say what was lost in silence.

    Provenance is left out: it says where a record comes from, and what was read back comes from what was written. A
    field that was empty may come back filled, with what the format takes for granted.

    Args:
        adapter: writes and reads records of this kind.
        record: stays as it is.
        lossy: codes that say, as ``FIELD_NOT_CARRIED`` does, that the field at their locator may come back otherwise.
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
    """The paths of the fields that an encoder says the format does not carry, without the places in lists."""
    paths = set()
    for issue in issues:
        if issue.code == "FIELD_NOT_CARRIED" or issue.code in lossy:
            match = _LOCATOR.fullmatch(issue.locator)
            path = _INDEX.sub("", match[1]) if match is not None else ""
            paths.add(tuple(path.split(".")))
    return paths


@st.composite
def thinned(draw: st.DrawFn, record: Record) -> Record:
    """A record without some of the fields that it holds."""
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
    """Clear a field by its path, in every message of a list on the way."""
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
