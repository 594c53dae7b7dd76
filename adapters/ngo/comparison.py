"""Finds what a format did not carry: compares a record with what is read back after writing it."""

from __future__ import annotations

from typing import Final

from adapters.base import populated
from caseexchange.records.v1 import case_pb2

_TEXTED: Final = ("birth", "event_date", "found_date", "height", "weight")


def lost_paths(record: case_pb2.CaseRecord, again: case_pb2.CaseRecord) -> list[str]:
    """Paths of the fields that were lost or came back different, in order. Provenance is not compared.

    A number that comes back with a text is not lost, if the record has no text.
    """
    found = case_pb2.CaseRecord()
    found.CopyFrom(again)
    for name in _TEXTED:
        if not getattr(record, name).original_text and found.HasField(name):
            getattr(found, name).original_text = ""
    paths = {path for path in populated(record) - populated(found) if not path.startswith("provenance")}
    for descriptor in record.DESCRIPTOR.fields:
        name = descriptor.name
        reported = any(path.split(".")[0] == name for path in paths)
        if name != "provenance" and not reported and getattr(record, name) != getattr(found, name):
            paths.add(f"{name}.original_text" if name in _TEXTED and _same_numbers(record, found, name) else name)
    return sorted(paths)


def _same_numbers(record: case_pb2.CaseRecord, found: case_pb2.CaseRecord, name: str) -> bool:
    """Whether only the text of a date or measure differs."""
    copy = type(getattr(record, name))()
    copy.CopyFrom(getattr(record, name))
    copy.original_text = getattr(found, name).original_text
    return bool(copy == getattr(found, name))
