"""Reports of verifications, and what stands in them beside the findings: without a bundle."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from broker.bootstrap.directoryfacts import DirectoryFacts, LogKey, PinnedKey
from broker.bootstrap.reportfacts import (
    CheckedSignature,
    ExampleRecord,
    HashedFile,
    PrefixProof,
    ReportFacts,
)
from broker.cli.report.page import page
from broker.cli.report.view import View
from broker.cli.report.words import Words
from broker.core.audit.broughtreceipts import BroughtReport
from broker.core.audit.findings import (
    Compared,
    Finding,
    FinishedLater,
    Republished,
    Severity,
    Skipped,
    Stated,
    Unprocessed,
)
from broker.core.audit.handovers import AgencyShare, HandedOver, Handovers
from broker.core.audit.report import AuditReport, PartitionReport
from broker.core.audit.witnesses import CosignedPartition, WitnessReport
from broker.core.bundle import BundleHeader, BundleSource
from broker.core.streams import STREAMS, Position, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, VerifierKey

if TYPE_CHECKING:
    from collections.abc import Iterable

CASES_0 = StreamPartition("cases", 0)
LOG_ID = "ab" * 16
RECORD_ID = "01990000-0000-7000-8000-0000000000aa"
MADE_AT_MS = 1_790_000_000_000
KEY = VerifierKey("case-exchange.example/log", bytes(range(32)))
NEWER = Checkpoint(f"case-exchange.example/cases/0/{LOG_ID}", 12, b"n" * 32)
OLDER = Checkpoint(NEWER.origin, 9, b"o" * 32)


def audit_report(**changes: Any) -> AuditReport:
    """The report on a sound bundle of the whole log, with these attributes changed."""
    header = BundleHeader(
        "case-exchange.example",
        "spiffe://case-exchange.example/agency/national-audit/desk",
        "audit 2026-Q3",
        MADE_AT_MS,
        None,
        None,
        STREAMS,
        BundleSource.BROKER,
    )
    root = "biukbNpbTkxGbg2kMO6DvZl1W2QTM8JLY/tvkNkZJ4Q="
    parts = tuple(PartitionReport(StreamPartition(stream, 0), LOG_ID, 12, root, 0, 12, 11, 0) for stream in STREAMS)
    sound = AuditReport(header, parts, 48, 7, 5, (), (), (), (), (), 0, BroughtReport(), Handovers())
    return replace(sound, **changes)


def report_facts(**changes: Any) -> ReportFacts:
    """What stands beside the findings, with these attributes changed. No signature in it holds."""
    log = CheckedSignature(CASES_0, NEWER, KEY.name, KEY.key_id.hex(), KEY.public_key, NEWER.marshal(), b"s" * 64)
    older = log._replace(checkpoint=OLDER, message=OLDER.marshal())
    cosigned = older._replace(name="witness.example/one", key_id="0a0b0c0d", time_s=MADE_AT_MS // 1000 - 5)
    facts = ReportFacts(
        bundle=HashedFile("q3.bundle", "c" * 64),
        bundle_bytes=81_234,
        brought=(HashedFile("shanxi.receipts", "d" * 64),),
        pinned=(PinnedKey("governance.pem", "e" * 64),),
        directories=(DirectoryFacts(3, MADE_AT_MS - 10_000_000, MADE_AT_MS + 10_000_000, "f" * 64),),
        log_keys=(LogKey(KEY, 3),),
        signatures=(log, older, cosigned),
        proofs=(PrefixProof(CASES_0, OLDER, NEWER, (b"p" * 32,)),),
        example=ExampleRecord(RECORD_ID, MADE_AT_MS - 5_000_000),
    )
    return facts._replace(**changes)


def rendered(report: AuditReport, language: str = "en", facts: ReportFacts | None = None) -> str:
    """The page of a report."""
    view = View(report, facts or report_facts(), Words(language), MADE_AT_MS + 60_000, "case-exchange 0.0")
    return page(view).decode()


def findings_of(codes: Iterable[str], each: int = 1) -> tuple[Finding, ...]:
    """Findings of these codes, each with every kind of thing that a finding compares."""
    compared = tuple(Compared(stated, f"{number:02x}" * 32) for number, stated in enumerate(Stated))
    return tuple(
        Finding(
            Severity.ERROR if number % 3 else Severity.WARNING,
            code,
            f"the message of {code}",
            RECORD_ID,
            Position("cases", 0, number * each + place),
            compared[number % len(compared) :][:2],
        )
        for number, code in enumerate(codes)
        for place in range(each)
    )


def troubled_report(codes: Iterable[str], each: int = 1) -> AuditReport:
    """A report with these findings, and something in every list."""
    at = Position("cases", 0, 4)
    told = Position("audit", 0, 7)
    unprocessed = Unprocessed("hebei-police", "cases", at, "RECORD_INVALID")
    return audit_report(
        findings=findings_of(codes, each),
        findings_left_out=3,
        unprocessed=(
            unprocessed,
            unprocessed._replace(refused="", parked=True),
            unprocessed._replace(refused="", reason="LOG_CORRUPT"),
            unprocessed._replace(refused="", discarded="NOT_NEEDED"),
            *(unprocessed._replace(refused="", position=at._replace(offset=number)) for number in range(120)),
        ),
        void=(FinishedLater("hebei-police", "cases", at),),
        republished=(Republished(RECORD_ID, at, at, LOG_ID, MADE_AT_MS),),
        skipped=(Skipped("hebei-police", "cases", 2, "sought", CASES_0, 4, 11, told),),
        brought=BroughtReport(receipts=9, kept=4, again=1, outside=1, uncovered=1, broken=2, unproved=1, checkpoints=3),
        handovers=Handovers(
            (AgencyShare("child-aid-ngo", 3, 3), AgencyShare("hebei-police", 40, 0)),
            tuple(
                HandedOver("hebei-police", at._replace(offset=number), RECORD_ID, ("identity", "photo"), told, 2)
                for number in range(40)
            ),
            17,
        ),
        witnesses=WitnessReport(
            2, 3, brought=True, cosigned=(CosignedPartition(CASES_0, 9, 12, 1, ("a",)),), missing=(CASES_0,)
        ),
    )
