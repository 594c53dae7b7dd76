"""The page of a report: what it says, and that nothing of others becomes more than text in it."""

from __future__ import annotations

import hashlib
import re
import shlex
from base64 import b64encode
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest

from broker.bootstrap.directoryfacts import PinnedKey
from broker.bootstrap.reportfacts import ExampleRecord, HashedFile
from broker.cli.report.plaintext import MAX_CHARACTERS, plain
from broker.cli.report.view import MAX_PARTITIONS, times
from broker.cli.report.words import LANGUAGES, Words
from broker.core.audit.broughtreceipts import BroughtReport
from broker.core.audit.findings import Severity
from broker.core.audit.handovers import Handovers
from broker.core.audit.report import ProvedRecord
from broker.core.audit.times import ProvenTime, TimesReport
from broker.core.audit.witnesses import CosignedPartition, WitnessReport
from broker.core.bundle import LAST_MS
from broker.core.streams import Position, StreamPartition
from tests.support.reports import (
    CASES_0,
    KEY,
    LOG_ID,
    RECORD_ID,
    audit_report,
    findings_of,
    rendered,
    report_facts,
    troubled_report,
)

CODES = sorted(Words("en").codes)
HOSTILE = [
    "<script>window.ran=1</script>",
    "<img src=x onerror=window.ran=1>",
    '"><a href="javascript:window.ran=1">click</a>',
    "</style><style>body{display:none}",
    "</title><meta http-equiv=refresh content=0>",
    "{{ 7 * 7 }}{% include 'x' %}",
    "police\u202e gpj.exe\u2066\u2069\u200f",
    "line\nbreak\r\x00\x1b[2J",
    "&lt;b&gt;",
    "a" + "\u0336\u0489" * 400,
    "long" * 1000,
    "\ud800 lone",
    "北京市公安局",
]
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "section",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "div",
    ),
    *("table", "thead", "tbody", "tr", "th", "td", "ul", "li", "dl", "dt", "dd", "pre", "code", "span", "bdi"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "id", "aria-labelledby", "scope", "colspan"),
}


class Page(HTMLParser):
    """The elements, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def policy_of(page: Page) -> str:
    return next(value for name, value in page.attributes if name == "content" and "default-src" in value)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sound_log_is_said_to_be_sound_with_what_could_be_hidden(language: str) -> None:
    page = Page(rendered(audit_report(), language))
    texts = Words(language).texts
    assert page.open == []
    assert ("lang", texts["language"]) in page.attributes
    for said in (
        texts["sound"],
        texts["sound_text"].format(records=48),
        texts["findings_none"],
        texts["hide_any_record"],
        texts["witnesses_none"],
        texts["handovers_none"],
        texts["brought_none"],
        "c" * 64,
        "e" * 64,
        "2026-09-21 14:13:20 UTC",
        f"2026-09-21 22:13:20 {texts['beijing']}",
    ):
        assert said in page.text, said
    assert texts["log_differs"] not in page.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_a_proof_the_page_says_what_it_proves_and_what_it_does_not_say(language: str) -> None:
    texts, report = Words(language).texts, audit_report()
    header = replace(report.header, proved_record=RECORD_ID, streams=("cases",))
    at, root = Position(*CASES_0, 8), report.partitions[0].root
    cosigned = CosignedPartition(CASES_0, 9, 12, 1_789_999_990, ("witness.example/one", "witness.example/two"))
    told = (RECORD_ID, "shanxi-police", "gateway", "CaseRecord", ("hebei-police", "child-aid-ngo"), 1)
    proved = ProvedRecord(*told, at, 1_789_999_980_000, LOG_ID, 8, 12, root, cosigned)
    own = WitnessReport(2, 2, brought=False, cosigned=(cosigned,), missing=())
    page = Page(rendered(replace(report, header=header, records=1, proved=proved, witnesses=own), language))
    assert page.open == []
    for said in (
        *(texts[name] for name in ("proved", "proved_text", "proof", "unsaid", "unsaid_others", "unsaid_time")),
        texts["unsaid_independence"],
        texts["proof_tree_text"].format(number=9, size=12),
        *(RECORD_ID, "shanxi-police (gateway)", "hebei-police, child-aid-ngo", str(at), root),
        *("witness.example/one, witness.example/two", "2026-09-21 14:13:00 UTC", "2026-09-21 14:13:10 UTC"),
    ):
        assert said in page.text, said
    for unsaid in ("sound", "sound_part", "could_hide", "hide_any_record", "proof_none", "unsaid_one_log"):
        assert texts[unsaid] not in page.text
    # Nothing is proved if something is wrong.
    page = Page(rendered(replace(report, header=header, findings=findings_of(["SIGNATURE_INVALID"])), language))
    assert texts["proof_none"] in page.text
    assert RECORD_ID in page.text
    assert texts["unsaid_one_log"] in page.text
    assert texts["proved"] not in page.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_a_bundle_without_the_audit_stream_nothing_is_said_about_deliveries_and_fates(language: str) -> None:
    report = audit_report()
    cases = tuple(part for part in report.partitions if part.partition.stream == "cases")
    page = Page(rendered(replace(report, partitions=cases), language))
    texts = Words(language).texts
    for absent, unsaid in (("handovers_none", "handovers_no_audit"), ("other_lists_none", "other_lists_no_audit")):
        assert texts[unsaid] in page.text
        assert texts[absent] not in page.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_times_that_others_prove_are_listed_and_without_any_the_page_says_whose_word_they_are(language: str) -> None:
    texts = Words(language).texts
    proven = ProvenTime(CASES_0, 9, 1_790_000_000_000, "timestamps.example", witnesses=False)
    times = TimesReport(timestamps=1, unproved=2, unchecked=3, proven=(proven,), records=9)
    page = Page(rendered(audit_report(times=times), language))
    for said in (texts["timestamps_line"].format(hold=1, unproved=2, unchecked=3), "timestamps.example"):
        assert said in page.text
    assert texts["timestamps_none"] not in page.text
    nothing = Page(rendered(audit_report(times=TimesReport()), language))
    assert texts["timestamps_in_none"] in nothing.text
    assert texts["times_none"] in nothing.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_is_explained_with_its_position_record_and_contradiction(language: str) -> None:
    words = Words(language)
    report = troubled_report(CODES)
    page = Page(rendered(report, language))
    assert page.open == []
    for finding in report.findings:
        title, text = words.explanation(finding.code)
        assert title in page.text
        assert text in page.text
        assert str(finding.position) in page.text
        assert finding.message in page.text
        for item in finding.compared:
            assert words.texts[item.stated.value] in page.text
            assert item.value in page.text
    assert RECORD_ID in page.text
    assert words.texts["left_out"].format(number=3) in page.text
    assert words.texts["more_rows"].format(number=24) in page.text
    assert words.texts["handovers_left_out"].format(number=17) in page.text
    # The glossary and the place for a signature end the page.
    assert page.text.rindex(words.texts["signed"]) > page.text.rindex(words.terms[-1][1])


def test_errors_come_before_warnings_and_those_of_a_code_are_together() -> None:
    first, second, third = findings_of(["RECORD_CHANGED", "SEQUENCE_GAP", "RECORD_CHANGED"])
    findings = (
        second._replace(severity=Severity.WARNING),
        first._replace(severity=Severity.ERROR),
        third._replace(severity=Severity.ERROR),
    )
    text = Page(rendered(audit_report(findings=findings))).text
    words = Words("en")
    assert text.count(words.explanation("RECORD_CHANGED").title) == 1
    assert text.index("RECORD_CHANGED") < text.index("SEQUENCE_GAP")
    assert "Occurrences: 2" in text
    assert "Errors: 2. Warnings: 1" in text


def test_a_thousand_findings_are_all_there() -> None:
    report = audit_report(findings=findings_of(["RECORD_CHANGED", "SEQUENCE_GAP"], each=500))
    page = Page(rendered(report))
    assert all(f"cases/0/{offset}" in page.text for offset in range(1000))
    assert page.elements.count("tr") > 1000


def test_an_empty_bundle_has_a_page() -> None:
    facts = report_facts(brought=(), signatures=(), proofs=(), example=None, log_keys=())
    report = audit_report(partitions=(), records=0, withheld_sections=0, deliveries=0, broken_off=True)
    page = Page(rendered(replace(report, findings=findings_of(["X", "BUNDLE_INVALID"])[1:]), "en", facts))
    texts = Words("en").texts
    assert texts["step_signatures_none"] in page.text
    assert texts["step_record_none"] in page.text
    assert texts["broken_off"] in page.text
    assert page.open == []


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_that_the_maker_of_a_bundle_chose_becomes_more_than_text(hostile: str) -> None:
    sound = troubled_report(CODES[:3])
    report = replace(
        sound,
        header=replace(
            sound.header,
            trust_domain=hostile,
            auditor=hostile,
            purpose=hostile,
            streams=(hostile,),
            accepted_from_ms=0,
            accepted_until_ms=1,
        ),
        partitions=tuple(
            item._replace(partition=StreamPartition(hostile, 0), log_id=hostile, root=hostile)
            for item in sound.partitions
        ),
        unprocessed=tuple(
            item._replace(agency=hostile, subscription=hostile, reason=hostile, discarded=item.discarded and hostile)
            for item in sound.unprocessed
        ),
        skipped=tuple(item._replace(agency=hostile, subscription=hostile, order=hostile) for item in sound.skipped),
        findings=tuple(item._replace(message=hostile, record_id=hostile) for item in sound.findings),
        handovers=Handovers(
            tuple(share._replace(agency=hostile) for share in sound.handovers.shares),
            tuple(
                item._replace(agency=hostile, record_id=hostile, withheld_sections=(hostile,))
                for item in sound.handovers.listed
            ),
        ),
    )
    facts = report_facts(
        bundle=HashedFile(hostile, "c" * 64),
        brought=(HashedFile(hostile, "d" * 64),),
        pinned=(PinnedKey(hostile, "e" * 64),),
        signatures=tuple(
            item._replace(name=hostile, partition=StreamPartition(hostile, 0)) for item in report_facts().signatures
        ),
        proofs=(),
    )
    text = rendered(report, "en", facts)
    page = Page(text)
    assert set(page.elements) <= ELEMENTS
    assert {name for name, _ in page.attributes} <= ATTRIBUTES
    assert page.elements.count("style") == page.elements.count("title") == 1
    assert page.open == []
    assert plain(hostile) in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]", text)
    # In a command of the page it can only be the name of a file, as one quoted word.
    commands = unescape("".join(re.findall(r"<pre[^>]*>(.*?)</pre>", text, re.DOTALL)))
    assert plain(hostile) not in commands.replace(shlex.quote(hostile), "")
    assert "49" not in re.findall(r"<bdi>(.*?)</bdi>", text)


def test_what_cannot_be_seen_or_is_too_long_is_replaced() -> None:
    assert plain("a\u202eb\x00c\n") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"
    assert plain("王 𠮷a\u0301") == "王 𠮷a\u0301"
    assert plain("a" + "\u0301" * 9) == "a" + "\u0301" * 3
    assert plain("x" * (MAX_CHARACTERS + 5)) == "x" * MAX_CHARACTERS + "…"
    assert plain("\N{IDEOGRAPHIC SPACE}\N{NO-BREAK SPACE}") == "  "
    # Fillers, blanks and selectors that a font does not show, though they are letters, symbols or marks.
    for unseen in "\u3164\u2800\u115f\u1160\uffa0\ufe0f\u034f\U000e0100\u17b4\u180b\u00ad":
        assert plain(f"a{unseen}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_none_of_our_own_words_is_changed_or_cut() -> None:
    for language in LANGUAGES:
        words = Words(language)
        own = [*words.texts.values(), *(text for code in words.codes for text in words.explanation(code))]
        assert [text for text in own if plain(text) != text] == []


def test_the_page_loads_and_runs_nothing() -> None:
    text = rendered(troubled_report(CODES))
    page = Page(text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy_of(page) == (f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'")
    assert "url(" not in style
    assert "@import" not in style
    assert not {"script", "link", "img", "iframe", "object", "a", "form", "svg"} & set(page.elements)
    assert not {name for name, _ in page.attributes if name in {"src", "href", "style"} or name.startswith("on")}


def test_what_was_brought_and_witnessed_is_told() -> None:
    brought = BroughtReport(receipts=9, kept=4, again=1, outside=1, uncovered=1, broken=2, unproved=1, checkpoints=3)
    text = unescape(rendered(replace(troubled_report([]), brought=brought)))
    assert "Receipts: 9. In their places: 4; published again: 1" in text
    assert "The rule names 3 witnesses, and at least 2 must sign. The rule is the auditor's own." in text
    assert "Not confirmed by enough witnesses: cases/0." in text
    assert "2026-09-21 14:13:15 UTC" in text
    assert "witness.example/one" in text
    assert KEY.public_key.hex() in text
    assert LOG_ID in text


def test_every_time_has_a_form_also_after_the_last_year_of_a_calendar() -> None:
    assert times(0) == ("1970-01-01 00:00:00", "1970-01-01 08:00:00")
    assert times(LAST_MS) == ("9999-12-31 23:59:59", "10000-01-01 07:59:59")
    # A witness may sign any time of 64 bits.
    assert times((2**64 - 1) * 1000).utc == "584554051223-11-09 07:00:15"


def test_the_last_time_of_all_is_told_wherever_a_time_stands() -> None:
    facts = report_facts()
    last_s = LAST_MS // 1000
    late = report_facts(
        directories=(facts.directories[0]._replace(in_force_from_ms=LAST_MS, expires_at_ms=LAST_MS),),
        signatures=tuple(one._replace(time_s=one.time_s and last_s) for one in facts.signatures),
        example=ExampleRecord(RECORD_ID, LAST_MS),
    )
    report = troubled_report(CODES[:1])
    header = replace(report.header, created_at_ms=LAST_MS, accepted_from_ms=LAST_MS, accepted_until_ms=LAST_MS)
    again = report.republished[0]._replace(former_accepted_at_ms=LAST_MS)
    text = Page(rendered(replace(report, header=header, republished=(again,)), facts=late)).text
    assert text.count("9999-12-31 23:59:59 UTC") == 7
    assert text.count("10000-01-01 07:59:59 Beijing time") == 6
    assert f"-attime {last_s} " in text


def test_two_witnesses_whose_keys_have_the_same_id_are_both_there() -> None:
    facts = report_facts()
    one = facts.signatures[-1]._replace(public_key=bytes(range(1, 33)))
    other = one._replace(name="witness.example/two", public_key=bytes(range(2, 34)))
    text = rendered(troubled_report(()), facts=facts._replace(signatures=(*facts.signatures[:-1], one, other)))
    for witness in (one, other):
        assert text.count(witness.public_key.hex()) == 1


def test_what_is_too_much_for_a_table_is_counted() -> None:
    facts = report_facts(signatures_left_out=17)
    report = troubled_report(())
    many = replace(report, partitions=report.partitions[:1] * (MAX_PARTITIONS + 23))
    text = Page(rendered(many, facts=facts)).text
    assert "17 more signatures hold and are not listed here" in text
    assert "23 more are not listed here" in text
    assert text.count(LOG_ID) < MAX_PARTITIONS + 10
