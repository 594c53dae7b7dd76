"""The part of a notice that the public may see, in every format that shows it: the board's pages, CAP, PFIF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caseexchange.records.v1 import common_pb2, notice_pb2

if TYPE_CHECKING:
    from adapters.base import IssueList

_NOT_PUBLIC: Final = frozenset({common_pb2.FEATURE_KIND_MENTAL})


def for_the_public(notice: notice_pb2.PublicNotice, where: str, issues: IssueList) -> notice_pb2.PublicNotice:
    """A copy of the notice without the features that are not for the public. Each is a warning, FEATURE_NOT_PUBLIC.

    A history of mental illness is never shown. It does not help to recognise a person. It is sensitive personal
    information (PIPL, article 28), and what was on a public page follows a child for life. What a finder of the
    person must know, such as a medicine, is a feature of health.
    """
    found = notice_pb2.PublicNotice()
    found.CopyFrom(notice)
    found.ClearField("features")
    for number, feature in enumerate(notice.features):
        if feature.kind in _NOT_PUBLIC:
            message = "a history of mental illness is not for the public, so it is left out"
            issues.warn("FEATURE_NOT_PUBLIC", f"{where}, features[{number}]", message)
        else:
            found.features.append(feature)
    return found
