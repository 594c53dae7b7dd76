"""The notice board as its visitors use it: on a screen, only with a keyboard, and by the rules of screen readers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.browser.conftest import Served
    from tests.support.browser import Browser

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"dark": True},
    "phone": {"width": 390, "height": 844},
    "phone-dark": {"width": 320, "height": 700, "dark": True},
}
PAGES = ("welcome", "list-zh", "list-en", "notice-zh", "notice-en", "no-picture", "help-zh", "help-en", "gone")


def address(site: Served, name: str) -> str:
    return {
        "welcome": f"{site.address}index.html",
        "list-zh": f"{site.address}zh/index.html",
        "list-en": f"{site.address}en/index.html",
        "notice-zh": site.notice("zh", 2),
        "notice-en": site.notice("en", 2),
        "no-picture": site.notice("en", 6),
        "help-zh": f"{site.address}zh/help.html",
        "help-en": f"{site.address}en/help.html",
        "gone": f"{site.address}404.html",
    }[name]


def tab_to(browser: Browser, text: str) -> None:
    for _ in range(40):
        browser.tab()
        if text in browser.focused()["text"]:
            return
    pytest.fail(f"no amount of tabs leads to {text}")


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_every_page_fits_its_window_and_shows_its_pictures(
    browser: Browser, site: Served, screenshots: Path, name: str, look: str
) -> None:
    browser.look(**LOOKS[look])
    browser.get(address(site, name))
    browser.picture(screenshots / f"{name}-{look}.png")
    facts = browser.execute_script(
        """const images = [...document.images];
        await Promise.all(images.map(image => image.decode()));
        const ground = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
        return {wide: document.documentElement.scrollWidth - innerWidth,
          broken: images.filter(image => !image.naturalWidth).length, light: Math.max(...ground.slice(0, 3))};"""
    )
    assert (facts["wide"], facts["broken"]) == (0, 0)
    assert (facts["light"] < 80) == LOOKS[look].get("dark", False)
    assert browser.complaints() == []


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(browser: Browser, site: Served, name: str, look: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make test-browser")
    browser.look(**LOOKS[look])
    browser.get(address(site, name))
    assert browser.violations(AXE.read_text()) == []


def test_a_walk_by_keyboard_alone_leads_to_whom_to_call(browser: Browser, site: Served) -> None:
    browser.get(address(site, "welcome"))
    tab_to(browser, "Notices")
    browser.enter()
    assert browser.current_url == address(site, "list-en")
    browser.tab()
    first = browser.focused()
    assert (first["text"], first["inside"]) == ("Skip to the content", True)
    browser.enter()
    assert browser.focused()["tag"] == "MAIN"
    browser.tab()
    assert browser.focused()["text"] == "A boy who went astray at a market"
    tab_to(browser, "He remembers a river")
    browser.enter()
    assert browser.current_url == address(site, "notice-en")
    tab_to(browser, "中文")
    browser.enter()
    assert browser.current_url == address(site, "notice-zh")
    tab_to(browser, "000-0000-0009")
    assert browser.focused()["href"] == "tel:00000000009"


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_wherever_the_focus_is_one_sees_it_and_it_goes_through_every_link_in_order(
    browser: Browser, site: Served, name: str, look: str
) -> None:
    browser.look(**LOOKS[look])
    browser.get(address(site, name))
    links = browser.execute_script("return [...document.querySelectorAll('a')].map(link => link.getAttribute('href'))")
    walked = []
    for _ in links:
        browser.tab()
        focused = browser.focused()
        assert (focused["tag"], focused["ringed"], focused["inside"]) == ("A", True, True), focused
        walked.append(focused["href"])
    assert walked == links


def test_the_board_works_where_no_script_may_run(browser: Browser, site: Served) -> None:
    browser.forbid_scripts()
    browser.get(address(site, "list-zh"))
    tab_to(browser, "寻找她的家人")
    browser.enter()
    assert browser.current_url == site.notice("zh", 1)
    assert browser.execute_script("return document.querySelector('h1').textContent") == "寻找她的家人"


def test_nothing_that_found_its_way_into_a_page_would_run_or_load(browser: Browser, site: Served) -> None:
    browser.get(address(site, "notice-en"))
    ran = browser.execute_script(
        """const outcomes = [];
        const attempt = act => { try { act(); } catch (error) { outcomes.push(error.name); } };
        attempt(() => document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.ran = 1">'));
        attempt(() => { const made = document.createElement('script'); made.textContent = 'window.ran = 1';
          document.body.append(made); });
        attempt(() => document.body.firstElementChild.setAttribute('onclick', 'window.ran = 1'));
        attempt(() => document.body.firstElementChild.click());
        attempt(() => { const made = document.createElement('img'); made.src = 'http://localhost:9/x.png';
          document.body.append(made); });
        await new Promise(done => setTimeout(done, 300));
        return [window.ran === undefined, outcomes];"""
    )
    assert ran[0] is True
    # The console names what was refused, and the directive that refused it.
    refused = " ".join(browser.complaints())
    assert "Content Security Policy" in refused
    assert "img-src" in refused
    assert "TypeError" in ran[1] or "script" in refused
