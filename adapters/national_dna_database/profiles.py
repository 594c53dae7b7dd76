"""What the laboratory's formats are given to write: profiles, each with its place for an issue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.base import IssueList, Limits, Record


def profiles_of(records: Sequence[Record], limits: Limits, issues: IssueList) -> list[tuple[str, dna_pb2.StrProfile]]:
    """The profiles among records, with their places (``records[3]``). Codes: TOO_MANY_RECORDS, KIND_NOT_CARRIED."""
    if len(records) > limits.records:
        issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {limits.records} records")
    profiles: list[tuple[str, dna_pb2.StrProfile]] = []
    for place, record in enumerate(records[: limits.records]):
        if isinstance(record, dna_pb2.StrProfile):
            profiles.append((f"records[{place}]", record))
        else:
            issues.reject_record("KIND_NOT_CARRIED", f"records[{place}]", "the format carries profiles only")
    return profiles
