"""The demo's auditor: what it can prove about the log, and what an operator does in vain."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from board import picture_of
from telling import check, holds_name, say, step
from world import AUDIT, EVIDENCE_BOUND_SECONDS, POLICE

if TYPE_CHECKING:
    from pathlib import Path

    from stage import Stage
    from world import World

COVERED_WITHIN_SECONDS: Final = 2 * EVIDENCE_BOUND_SECONDS
"""The auditor knows the exchange's bound: a record that is older than this must be under a checkpoint."""


def export_receipts(world: World, publisher: str) -> Path:
    """The receipts in the spool of a publisher's gateway, which has stopped."""
    path = world.root / f"{publisher}.receipts"
    world.run("receipts", "export", "--profile", world.root / f"{publisher}.toml", "--out", path)
    return path


def audit(world: World, address: str, receipts: Path, policy: Path) -> None:
    step("7", "Months later an auditor replays the log and checks it offline, trusting only the pinned governance key.")
    say("   It brings what the operator did not choose: Shanxi's receipts, and the witnesses that it trusts.")
    profile = world.edge_profile(AUDIT, address)
    bundle = world.root / "audit.bundle"
    status = json.loads(world.run("status", "--profile", profile, "--json"))
    check(
        f"the broker accepts records under checkpoints of {sum(status['checkpoints'].values())} entries",
        status["serving"],
    )
    world.run("replay", "--profile", profile, "--purpose", "demo audit", "--out", bundle)
    brought = "--receipts", receipts, "--witness-policy", policy
    text = world.run("verify", bundle, *_root(world), *brought).splitlines()
    for line in text[: next(at for at, line in enumerate(text) if ": replayed by " in line)]:
        say(f"   | {line}")
    page = world.root / "audit-report.html"
    found = _verify(world, bundle, *brought, "--report", page)
    say(f"   the report for a judge, in Chinese: {page.as_uri()}")
    for picture in picture_of(page, world.root / "audit-report.png"):
        say(f"   picture: {picture}")
    check("it says that nothing is wrong, and how to repeat the check with OpenSSL", _tells(page))
    check(f"{found['records']} records: each is present, unmodified, and signed by its publisher", found["clean"])
    kept = found["brought"]
    check(
        f"the log keeps what each of Shanxi's {kept['receipts']} receipts promises",
        kept["kept"] == kept["receipts"] > 0,
    )
    witnesses = found["witnesses"]
    check(
        f"{witnesses['needed']} of {witnesses['listed']} witnesses cosigned every part of the log",
        not witnesses["missing"] and all(len(one["witnesses"]) == 2 for one in witnesses["cosigned"]),
    )
    check(
        f"{found['deliveries']} deliveries went only to the agencies that the records were addressed to",
        found["deliveries"] > 20,
    )
    check("the auditor did this without any section of a child's record", found["withheld_sections"] > 20)
    check("the bundle has no byte of the child's name", not holds_name(bundle))


def flip_bit(world: World, stage: Stage, receipts: Path) -> None:
    step("8", "Somebody with access to the disk flips one bit of one record. The auditor names the record.")
    tampered = stage.tamper(world)
    found = _verify(world, tampered.bundle, "--receipts", receipts, expect=1)
    errors = [item for item in found["findings"] if item["severity"] == "error"]
    for item in errors:
        say(f"   verify says: {item['code']} at {item['position']}, record {item['record_id'] or '(unreadable)'}")
    check(
        "verify ends with code 1 and names exactly this record's position",
        {item["position"] for item in errors} == {tampered.position},
    )
    closure = world.about(world.outbox(POLICE[1], "Closure")[0])["record_id"]
    check(f"it names the record {closure}", {item["record_id"] for item in errors} - {""} == {closure})


def drop_tail(
    world: World, stage: Stage, receipts: Path, policy: Path, *, correction: str, corrected_at: float
) -> None:
    """Serve the log from before the correction, which was there at ``corrected_at`` (monotonic seconds)."""
    say("   The operator, who holds every key of the exchange, drops the newest records: it serves an older copy of")
    say("   the log, from before the correction, and signs everything anew.")
    address = stage.serve_copy(world)
    world.until(
        "the time in which a record may wait for a checkpoint",
        lambda: time.monotonic() > corrected_at + COVERED_WITHIN_SECONDS,
    )
    bundle = world.root / "earlier.bundle"
    profile = world.edge_profile(AUDIT, address)
    world.run("replay", "--profile", profile, "--purpose", "demo audit of the older copy", "--out", bundle)

    def alarmed() -> bool:
        return "LOG_ROLLED_BACK" in (world.root / "earlier-broker.log").read_text()

    # The replay made the audit stream grow, so the broker asks the witnesses for it.
    world.until("the broker's own alarm", alarmed)
    check("the broker itself alarms, LOG_ROLLED_BACK: the witnesses show it what they have cosigned", alarmed())

    found = _verify(world, bundle)
    check("without receipts nothing contradicts it. But verify says what could be hidden:", found["clean"])
    for hidden in found["could_be_hidden"]:
        say(f"   | {hidden}")
    bound = "--covered-within", COVERED_WITHIN_SECONDS
    found = _verify(world, bundle, "--receipts", receipts, "--witness-policy", policy, *bound, expect=1)
    errors = [item for item in found["findings"] if item["severity"] == "error"]
    for item in errors:
        say(f"   with Shanxi's receipts: {item['code']} at {item['position']}, record {item['record_id']}")
    check(
        f"it names the dropped record {correction}, and nothing else",
        [(item["code"], item["record_id"]) for item in errors] == [("RECEIPT_UNCOVERED", correction)],
    )
    world.stop("earlier-broker")


def _tells(page: Path) -> bool:
    text = page.read_text("utf-8")
    return "日志未见异常" in text and "openssl pkeyutl -verify" in text and not holds_name(page)


def _verify(world: World, bundle: Path, *options: object, expect: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.run("verify", bundle, *_root(world), *options, "--json", expect=expect))
    return found


def _root(world: World) -> tuple[str, Path]:
    return "--root", world.pki / "trust" / "governance.pem"
