"""The input of the laboratory formats' writers: profiles, each with its place for an issue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.base import placed
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.base import IssueList, Limits, Record


def profiles_of(records: Sequence[Record], limits: Limits, issues: IssueList) -> list[tuple[str, dna_pb2.StrProfile]]:
    """The profiles among records, with their places (``records[3]``). Codes: TOO_MANY_RECORDS, KIND_NOT_CARRIED."""
    profiles: list[tuple[str, dna_pb2.StrProfile]] = []
    for place, record in placed(records, limits, issues):
        if isinstance(record, dna_pb2.StrProfile):
            profiles.append((place, record))
        else:
            issues.reject_record("KIND_NOT_CARRIED", place, "the format carries only profiles")
    return profiles
