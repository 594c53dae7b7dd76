"""Which sections were erased by order, and which somebody removed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.core.audit.erasureorder import ErasureOrder
from broker.core.audit.erasures import ErasureAudit
from broker.core.audit.findings import EntryFacts, Severity
from broker.core.bundle import BundleHeader, BundleSource
from broker.core.streams import AUDIT, CASES, Position

RECORD = "01990000-0000-7000-8000-000000000001"
PLACE, TOLD = Position(CASES, 0, 7), Position(AUDIT, 0, 9)
SHANXI, HEBEI = "shanxi-police", "hebei-police"


def header(streams: tuple[str, ...] = (CASES, AUDIT), from_ms: int | None = None) -> BundleHeader:
    return BundleHeader(
        created_at_ms=0,
        trust_domain="example.test",
        auditor="",
        purpose="",
        streams=streams,
        accepted_from_ms=from_ms,
        accepted_until_ms=None,
        source=BundleSource.BROKER,
    )


def found(head: BundleHeader, erased: tuple[str, ...], *orders: ErasureOrder) -> list[tuple[Severity, str]]:
    audit = ErasureAudit(head)
    audit.take(orders)
    audit.take_record(EntryFacts(PLACE, 0, "log", 0, RECORD, SHANXI, "gateway", "CaseRecord", (), 1, erased=erased))
    findings = list(audit.findings())
    assert {(finding.record_id, finding.position) for finding in findings} <= {(RECORD, PLACE)}
    return [(finding.severity, finding.code) for finding in findings]


ERASED, CHANGED = (Severity.WARNING, "ERASED"), (Severity.ERROR, "RECORD_CHANGED")
UNPROVED = (Severity.WARNING, "ERASURE_UNPROVED")
OWN = ErasureOrder(SHANXI, RECORD, ("case", "photos"), TOLD)


@pytest.mark.parametrize(
    ("erased", "orders", "expected"),
    [
        ((), (OWN,), []),
        (("photos",), (OWN,), [ERASED]),
        (("photos",), (), [CHANGED]),
        (("photos", "identity"), (OWN,), [ERASED, CHANGED]),
        (("photos",), (OWN._replace(agency=HEBEI),), [CHANGED]),
        (("photos",), (OWN._replace(record_id=RECORD[:-1] + "2"),), [CHANGED]),
        (("photos", "identity"), (OWN, OWN._replace(sections=("identity",))), [ERASED]),
    ],
)
def test_each_erased_section_needs_an_order_of_the_publisher(
    erased: tuple[str, ...], orders: tuple[ErasureOrder, ...], expected: list[tuple[Severity, str]]
) -> None:
    assert found(header(), erased, *orders) == expected


@pytest.mark.parametrize("head", [header((CASES,)), header(from_ms=1), replace(header(), proved_record=RECORD)])
def test_a_bundle_that_may_lack_the_order_accuses_nobody_and_says_that_it_proves_no_erasure(head: BundleHeader) -> None:
    assert found(head, ("photos",)) == [UNPROVED]
    assert found(head, ("photos", "identity"), OWN) == [ERASED, UNPROVED]
