"""The published CAP schema, and other projects' alerts, if they are beside the project."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from adapters.base import Limits, Severity, Source
from adapters.public_notice.cap.adapter import ADAPTER
from adapters.public_notice.history import fold
from adapters.public_notice.noticeboard.frame import Settings
from adapters.public_notice.noticeboard.site import make_site
from tests.support.exhibits import exhibits
from tests.support.notices import EPOCH_SECONDS, closure, drawing, filed, notice, photo

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples" / "cap"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the third-party samples are not beside the project")
OUTCOMES = {
    "oasiscap-v1dot2_appendix_adot1.xml": (1, ()),
    "oasiscap-v1dot2_appendix_adot3.xml": (1, ()),
    "oasiscap-v1dot2_appendix_adot4.xml": (1, ()),
    "oasiscap-v1dot0_appendix_adot4.xml": (0, ("NOT_CAP",)),
    "KAR0-0306112239-SW.cap": (1, ()),
    "amber.rss": (0, ("NOT_CAP",)),
}


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(SAMPLES / "cap12.xsd"))


@pytest.mark.parametrize("url", ["", "https://notices.example/"])
@pytest.mark.parametrize("exercise", [False, True])
def test_every_alert_of_the_board_is_valid_by_the_published_schema(
    schema: etree.XMLSchema, url: str, *, exercise: bool
) -> None:
    items = [
        *exhibits(),
        filed(notice(1, "UPDATE", photos=[photo(drawing())]), 10, "case-0"),
        filed(closure(), 11, "case-1"),
        filed(notice(9, place=None, report_to=None, age=None, sex=None, texts=[], expires_at=None), 12, "case-9"),
    ]
    now = datetime.fromtimestamp(EPOCH_SECONDS + 86400, UTC)
    files = make_site(fold(items, now), Settings(url, now, exercise)).files
    alerts = [etree.fromstring(content) for name, content in files.items() if name.startswith("cap/")]
    assert sorted(str(alert.findtext("{*}msgType")) for alert in alerts) == [*["Alert"] * 5, "Cancel", "Update"]
    for alert in alerts:
        schema.assertValid(alert)


def test_what_the_adapter_writes_is_valid_by_the_published_schema(schema: etree.XMLSchema) -> None:
    history = [notice(photos=[photo(drawing())]), notice(action="UPDATE"), notice(action="WITHDRAW")]
    for number in range(3):
        history[number].effective_at.seconds += number
        schema.assertValid(etree.fromstring(ADAPTER.encode(history[: number + 1], Limits()).content))


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_alerts_of_others_have_their_stated_outcome(name: str) -> None:
    found = ADAPTER.decode(Source((SAMPLES / name).read_bytes()), Limits())
    refused = {issue.code for issue in found.issues if issue.severity in {Severity.REJECT_FILE, Severity.REJECT_RECORD}}
    assert (len(found.records), tuple(sorted(refused))) == OUTCOMES[name]


def test_no_file_of_any_kind_makes_the_reader_raise() -> None:
    for path in sorted(item for item in SAMPLES.parent.rglob("*") if item.is_file()):
        found = ADAPTER.decode(Source(path.read_bytes()), Limits())
        assert found.records or found.issues, path.name
