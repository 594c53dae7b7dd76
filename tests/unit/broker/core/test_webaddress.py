from __future__ import annotations

import pytest

from broker.core.webaddress import WebAddress


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://witness.example", (True, "witness.example", 443, "")),
        ("https://witness.example/", (True, "witness.example", 443, "")),
        ("https://witness.example:7443/a/b/", (True, "witness.example", 7443, "/a/b")),
        ("https://[2001:db8::1]:7443", (True, "2001:db8::1", 7443, "")),
        ("http://localhost:7380", (False, "localhost", 7380, "")),
        ("http://127.0.0.1/w", (False, "127.0.0.1", 80, "/w")),
    ],
)
def test_an_address_is_read(url: str, address: tuple[bool, str, int, str]) -> None:
    assert WebAddress.parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "witness.example",
        "ftp://witness.example",
        "http://witness.example",
        "https://",
        "https://:443",
        "https://who@witness.example",
        "https://witness.example?a",
        "https://witness.example#a",
        "https://a..b/",
        "https://.example/",
        "https://" + "a" * 64 + ".example/",
        "https://witness.example:99999",
        "https://witness.example:port",
        "https://wit ness.example",
        "https://witness.example\r\nx:y",
        "https://w\N{LATIN SMALL LETTER I WITH CIRCUMFLEX}tness.example",
        "https://witness.example/" + "a" * 500,
    ],
)
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        WebAddress.parse(url)
