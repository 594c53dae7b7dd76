from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.public_notice.noticeboard.markup import page, plain, tag


class Seen(HTMLParser):
    def __init__(self, document: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(document.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text())
def test_whatever_a_text_holds_the_page_has_the_elements_it_was_given(text: str) -> None:
    seen = Seen(page(tag("p", tag("span", text, title=text))))
    assert seen.tags == ["p", "span"]
    assert seen.attributes == [("title", plain(text))]
    assert seen.text == f"\n{plain(text)}\n"


@pytest.mark.parametrize("name", ["script", "style", "iframe", "object", "base", "svg", "p onload", "P", ""])
def test_no_page_holds_an_element_that_could_run_or_load_something(name: str) -> None:
    with pytest.raises(ValueError, match="a page must not contain"):
        tag(name)


@pytest.mark.parametrize("name", ["onclick", "onload", "style", "x y", "data<"])
def test_no_page_holds_an_attribute_that_could_run_something(name: str) -> None:
    with pytest.raises(ValueError, match="a page must not contain"):
        tag("p", **{name: "x"})


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", " javascript:x", "JavaScript:x", "blob:x"]
)
def test_no_link_leads_into_a_script(address: str) -> None:
    with pytest.raises(ValueError, match="scheme"):
        tag("a", "x", href=address)


def test_a_text_cannot_turn_the_direction_of_the_page() -> None:
    assert plain("a\u202eb\u2066c\x07d\ufeffe\nf") == "abcde\nf"
