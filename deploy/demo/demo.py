"""The story that every release must be able to run: synthetic files, real processes. `make demo` runs it."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from board import BROWSERS, take_pictures
from evidence import audit, drop_tail, export_receipts, flip_bit
from stage import EmbeddedStage, KafkaStage
from telling import check, holds_name, say, step
from witnesses import WITNESSES, start_witnesses, wait_until_cosigned
from world import INPUT, LAB, MINISTRY, NGO, POLICE, DemoFailed, World

from deploy.kafka.errors import KafkaFailed

if TYPE_CHECKING:
    from stage import Stage

SHANXI, HEBEI = POLICE
STAGES = {"embedded": EmbeddedStage, "kafka": KafkaStage}
PROFILES = "profiles.cmf.xml"
FREQUENCIES = Path(__file__).parents[2] / "adapters/national_dna_database/samples/frequencies-synthetic.toml"


def record_in(path: Path) -> dict[str, Any]:
    """The record in a file of the format record-json."""
    record: dict[str, Any] = json.loads(path.read_text())["records"][0]["record"]
    return record


def rescue(world: World) -> None:
    step(
        "1",
        "Shanxi police rescue two children; their desk exports a GB18030 CSV. Hebei enters a mother who seeks a son.",
    )
    world.drop(SHANXI, "synthetic-child.png", "rescued-children.csv")
    world.drop(HEBEI, "seeking-parents.csv")
    cases = world.wait_for(MINISTRY, "CaseRecord", 3)
    check(
        "the ministry has both children and the mother, the name with its 4-byte character",
        any(map(holds_name, cases)),
    )
    copies = world.wait_for(NGO, "CaseRecord", 2)
    withheld = world.about(copies[0])["withheld_sections"]
    check(f"the NGO's copies verify without the withheld sections ({', '.join(withheld)})", "identity" in withheld)
    outbox = [path for path in (world.root / NGO / "outbox").iterdir() if path.is_file()]
    check("no file of the NGO holds a byte of the child's name", not any(map(holds_name, outbox)))
    check("the child's picture reached the NGO under an opaque name", any(path.suffix == ".png" for path in outbox))


def type_samples(world: World) -> None:
    step("2", "The laboratory's gateway, subscribed to sample requests, receives them and acknowledges.")
    requests = world.wait_for(LAB, "SampleRequest", 3)
    check("the laboratory's outbox has three requests", len(requests) == 3)
    check("none of them names a person", not any(map(holds_name, requests)))
    step(
        "3",
        "The laboratory types the samples; its system exports CODIS CMF. Only the laboratory receives the profiles.",
    )
    world.drop(LAB, PROFILES)
    profiles = world.wait_for(LAB, "StrProfile", 3)
    check(
        "only the laboratory received the three profiles",
        all(b"<LOCUSNAME>" in path.read_bytes() for path in profiles),
    )
    answered = world.about(profiles[0])["in_reply_to"]
    check(
        f"a profile answers the request {answered}", answered in {world.about(path)["record_id"] for path in requests}
    )
    refused = world.run(
        "subscribe", "--profile", world.root / f"{NGO}-terminal.toml", "--kind", "StrProfile", "--idle", 1, expect=1
    )
    check("an NGO that asks for profiles is refused: RIGHT_DENIED", "RIGHT_DENIED" in refused)


def search(world: World) -> None:
    step(
        "4a", "The laboratory searches: children among parents, parents among children. One of the children has a hit."
    )
    folder = world.root / LAB / "typed"
    folder.mkdir()
    basis = "--frequencies", FREQUENCIES
    database, inbox = world.root / LAB / "profiles.db", world.root / LAB / "inbox"
    world.start("laboratory", "dna", "watch", folder, "--database", database, "--results", inbox, *basis)
    world.put(folder, PROFILES, (INPUT / PROFILES).read_bytes())
    for agency in POLICE:
        (candidate,) = world.wait_for(agency, "MatchNotification", 1)
    found = record_in(candidate)
    say(f"   found: a likelihood ratio of {found['likelihoodRatio']} over {found['lociCompared']} loci,")
    say(f"   by {found['search']['frequencyTable']}")
    check(
        "both provinces received a CANDIDATE with barcodes and the ratio, without a name",
        found["stage"] == "MATCH_STAGE_CANDIDATE" and not holds_name(candidate),
    )
    child, mother = found["barcodes"]
    who = "--child", child, "--mother", mother
    result = world.run("dna", "check", INPUT / PROFILES, *basis, *who, "--match", candidate)
    check("a reader of the two profiles computes the same figure", result.splitlines()[-1] == "as notified")


def confirm(world: World) -> None:
    say("   The re-test confirms it. Shanxi closes the case.")
    candidate = record_in(world.outbox(HEBEI, "MatchNotification")[0])
    confirmed = {"kind": "MatchNotification", "caseReference": candidate["barcodes"][0]}
    confirmed["record"] = {**candidate, "stage": "MATCH_STAGE_CONFIRMED"}
    world.put(world.root / LAB / "inbox", "match-confirmed.json", json.dumps({"records": [confirmed]}).encode())
    for agency in POLICE:
        both = world.wait_for(agency, "MatchNotification", 2)
        stages = [record_in(path)["stage"] for path in both]
        check(
            f"{agency} received CANDIDATE, then CONFIRMED, in that order",
            stages == ["MATCH_STAGE_CANDIDATE", "MATCH_STAGE_CONFIRMED"],
        )
    world.drop(SHANXI, "closure.json")
    closures = [world.wait_for(agency, "Closure", 1) for agency in (HEBEI, MINISTRY, LAB, NGO)]
    check("the closure reached Hebei, the ministry, the laboratory and the NGO", all(closures))


def appeal(world: World) -> None:
    step(
        "4b", "No hit for the second child: the ministry approves a public notice, and the NGO's PFIF feed carries it."
    )
    (nobody,) = world.wait_for(MINISTRY, "NoMatchResult", 1)
    world.wait_for(SHANXI, "NoMatchResult", 1)
    check("the search continues with every new profile", record_in(nobody)["standingSearch"])
    world.drop(MINISTRY, "public-notice.json")
    (notice,) = world.wait_for(NGO, "PublicNotice", 1)
    text = notice.read_text()
    check(
        "the notice is PFIF 1.4 with a picture, sex, age and place",
        all(item in text for item in ("photo_url", "female", "5-7")),
    )
    check("it has no name, no identity number and no locus", "测试儿童" not in text and "LOCUS" not in text)
    refused = world.run(
        "publish", "--profile", world.root / f"{SHANXI}-terminal.toml", INPUT / "public-notice.json", expect=1
    )
    check("a province that issues a public notice itself is refused: RIGHT_DENIED", "RIGHT_DENIED" in refused)


def report(world: World) -> None:
    step("5", "An NGO reports a missing child and a tip as PFIF; they enter the same way.")
    world.drop(NGO, "missing-child.pfif.xml")
    for agency in POLICE:
        world.wait_for(agency, "Tip", 1)
    cases = world.wait_for(SHANXI, "CaseRecord", 2)
    about = [world.about(path)["publisher"] for path in cases]
    check("Shanxi has the NGO's case as a CSV row of its own format", NGO in about and cases[0].suffix == ".csv")


def correct(world: World) -> str:
    """Returns the id of the correction's record."""
    step("6", "Shanxi corrects the first child's age. The correction reaches everyone who received the original.")
    world.drop(SHANXI, "correction.json")
    corrections = {}
    for agency in (HEBEI, MINISTRY, NGO):
        (path,) = world.wait_for(agency, "Correction", 1)
        corrections[agency] = world.about(path)["supersedes"]
    copies = world.outbox(HEBEI, "CaseRecord")
    (original,) = (world.about(path)["record_id"] for path in copies if b"SX-SYN-0001" in path.read_bytes())
    check("all three copies replace the case record, and not its closure", set(corrections.values()) == {original})
    ngo = world.outbox(NGO, "Correction")[0]
    check("the NGO's copy of the correction still withholds the name", not holds_name(ngo))
    return str(world.about(ngo)["record_id"])


def show(world: World) -> None:
    step("9", "The ministry's notice board, made from the records that were delivered to it: what the public sees.")
    site = world.root / "site"
    made = world.run("noticeboard", "--from", world.root / MINISTRY / "outbox", "--to", site, "--exercise")
    check("one notice is shown", "notices shown: 1, gone: 0" in made)
    pages = [path for path in site.rglob("*") if path.is_file()]
    (photo,) = [path for path in pages if path.suffix == ".jpg"]
    check("the photo is there, encoded again without anything else from its file", b"Exif" not in photo.read_bytes())
    check("no page has a byte of a child's name", not any(map(holds_name, pages)))
    say(f"   open it: {(site / 'index.html').as_uri()}")
    for path in (pictures := take_pictures(site, world.root)):
        say(f"   picture: {path}")
    if not pictures:
        say(f"   no picture of it, because no browser is installed: {', '.join(BROWSERS)}")


def run_story(world: World, stage: Stage) -> None:
    world.pki.mkdir()
    world.run("certs", "init", "--pki", world.pki)
    stage.open(world)
    addresses = [world.start_broker(name, stage.log_tables(world, name)) for name in stage.brokers]
    say(f"brokers on {', '.join(addresses)}; every agency has its own process; files in {world.root}")
    policy = start_witnesses(world, addresses)
    for number, agency in enumerate((SHANXI, HEBEI, LAB, MINISTRY, NGO)):
        address = addresses[number % len(addresses)]
        world.start(agency, "gateway", "--profile", world.edge_profile(agency, address))
        world.edge_profile(agency, address, "terminal", PublicNotice=([NGO], "public-appeal"))
    rescue(world)
    type_samples(world)
    search(world)
    confirm(world)
    appeal(world)
    report(world)
    wait_until_cosigned(world, addresses[0])
    stage.keep_copy(world)
    correction = correct(world)
    corrected_at = time.monotonic()
    for agency in (SHANXI, HEBEI, LAB, MINISTRY, NGO):
        world.stop(agency)
        refused = list((world.root / agency / "quarantine").iterdir())
        check(f"{agency} refused nothing and stopped normally", not refused)
    world.stop("laboratory")
    check("the laboratory's search refused nothing", not list((world.root / LAB / "typed" / "quarantine").iterdir()))
    receipts = export_receipts(world, SHANXI)
    wait_until_cosigned(world, addresses[-1])
    audit(world, addresses[-1], receipts, policy)
    for name in stage.brokers:
        world.stop(name)
    logs = [path for path in world.root.glob("*.log") if holds_name(path) or re.search("SYN-BLD", path.read_text())]
    check("no process logged the child's name or a barcode", not logs)
    flip_bit(world, stage, receipts)
    drop_tail(world, stage, receipts, policy, correction=correction, corrected_at=corrected_at)
    for name in WITNESSES:
        world.stop(name)
    show(world)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", choices=STAGES, default="embedded", help="where the log is kept")
    root = Path(tempfile.mkdtemp(prefix="case-exchange-demo-"))
    world, stage = World(root), STAGES[parser.parse_args().log]()
    try:
        run_story(world, stage)
    except (DemoFailed, KafkaFailed, OSError, ValueError) as failure:
        say(f"\ndemo: FAILED: {failure}")
        say(f"files: {root}")
        return 1
    finally:
        stage.close()
        world.close()
    say(f"\nfiles: inboxes, outboxes, receipts, logs and all bundles are in {root}")
    say("demo: complete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
