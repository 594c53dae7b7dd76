"""The report for a judge in a browser: on a screen, on a phone, and on A4."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.cli.report.words import LANGUAGES, Words
from tests.browser.test_noticeboard import AXE
from tests.support.reports import audit_report, rendered, troubled_report

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.browser import Browser

A4_POINTS = (595, 842)
PRINTED_PIXELS = 673
"""The width between the margins of A4: 178 mm at 96 pixels an inch."""
PAGES = [f"{name}-{language}" for name in ("sound", "troubled") for language in LANGUAGES]


class Written(NamedTuple):
    """Reports in files."""

    folder: Path

    def address(self, name: str) -> str:
        return (self.folder / f"{name}.html").as_uri()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("reports")
    for language in LANGUAGES:
        codes = sorted(Words(language).codes)[:12]
        for name, report in (("sound", audit_report()), ("troubled", troubled_report(codes, each=2))):
            (folder / f"{name}-{language}.html").write_text(rendered(report, language), "utf-8")
    return Written(folder)


def overflow(browser: Browser) -> int:
    """How many pixels the page is wider than its window."""
    return int(browser.execute_script("return document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize("name", PAGES)
def test_a_report_fits_a_screen_and_a_phone_and_has_no_complaint(
    browser: Browser, written: Written, screenshots: Path, name: str
) -> None:
    for look, width in (("wide", 1280), ("phone", 390)):
        browser.look(width=width)
        browser.get(written.address(name))
        assert overflow(browser) == 0
        if look == "wide":
            browser.picture(screenshots / f"report-{name}.png")
    ground = browser.execute_script("return getComputedStyle(document.querySelector('.verdict')).borderLeftWidth")
    # The style sheet is applied, so its policy allows it.
    assert ground == "10px"
    assert browser.complaints() == []


@pytest.mark.parametrize("name", PAGES)
def test_a_report_prints_on_a4_and_loses_nothing_at_the_right(
    browser: Browser, written: Written, screenshots: Path, name: str
) -> None:
    browser.look(width=PRINTED_PIXELS)
    browser.get(written.address(name))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert overflow(browser) == 0
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    made = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": False})
    pdf = base64.b64decode(made["data"])
    (screenshots / f"report-{name}.pdf").write_bytes(pdf)
    sizes = set(re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf))
    assert {tuple(round(float(side)) for side in size) for size in sizes} == {A4_POINTS}


@pytest.mark.parametrize("name", ["sound-zh", "troubled-en"])
def test_axe_finds_nothing_in_a_report(browser: Browser, written: Written, name: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make test-browser")
    browser.get(written.address(name))
    assert browser.violations(AXE.read_text()) == []
