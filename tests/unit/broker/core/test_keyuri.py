"""URIs of keys in tokens: what is read, and what is refused without a word of what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import KeyUriInvalid
from broker.core.keyuri import KeyUri

WHERE = "module-path=/usr/lib/m.so&pin-source=file:/etc/pin"
CANARY = "syn-pin-4711"

printable = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


def test_a_uri_says_token_key_module_and_where_the_pin_is() -> None:
    text = f"pkcs11:token=my%20token;serial=01ab;object=signing;id=%a1%00;type=private?{WHERE}"
    assert KeyUri.parse(text) == KeyUri("/usr/lib/m.so", "/etc/pin", "my token", "01ab", "signing", b"\xa1\0")
    for source in ("file:///etc/pin", "/etc/pin", "file:/etc/pin"):
        assert KeyUri.parse(f"pkcs11:token=t;object=k?pin-source={source}&module-path=/m").pin_source == "/etc/pin"
    assert KeyUri.parse("pkcs11:token=t;id=%01?module-path=/m&pin-source=/dev/fd/3").label == "01 in the token t"


@given(printable, printable, st.binary(max_size=8), printable, printable)
def test_a_uri_is_read_back_as_it_was_written(token: str, key: str, identity: bytes, module: str, pin: str) -> None:
    uri = KeyUri(f"/{module}", f"/run/{pin}", token, token, key, identity)
    assert KeyUri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"pkcs11:token=t;object=k?{WHERE}&pin-value={CANARY}", "holds a PIN"),
        (f"pkcs11:token=t;object=k;PIN-Value={CANARY}?{WHERE}", "holds a PIN"),
        (f"pkcs11:pin-value={CANARY}", "holds a PIN"),
        (f"pkcs11:token=t;object=k?module-path=/m.so;pin-value={CANARY}&pin-source=/p", "holds a PIN"),
        (f"pkcs11:token=t;object=k&PIN-VALUE={CANARY}?{WHERE}", "holds a PIN"),
        (f"pkcs11:token=t;object=k?module-path=/m.so%3bpin%2Dvalue={CANARY}&pin-source=/p", "holds a PIN"),
        (f"pkcs11:token=t;object=k?module-path=/m&pin-source=|echo {CANARY}", "no pin-source"),
        (f"pkcs11:token=t;object=k?module-path=/m&pin-source={CANARY}", "no pin-source"),
        ("pkcs11:token=t;object=k?module-path=/m", "no pin-source"),
        ("pkcs11:token=t;object=k?module-path=m.so&pin-source=/p", "no module-path"),
        ("pkcs11:token=t;object=k", "no module-path"),
        (f"pkcs11:object=k?{WHERE}", "names no token"),
        (f"pkcs11:token=t?{WHERE}", "names no key"),
        (f"pkcs11:token=t;object=k;object={CANARY}?{WHERE}", "has object twice"),
        (f"pkcs11:token=t;object=k;slot-id=1?{WHERE}", "something else than"),
        (f"pkcs11:token=t;object=k?{WHERE}&module-name={CANARY}", "something else than"),
        (f"pkcs11:token=t;object=k;type=public?{WHERE}", "not of type=private"),
        (f"pkcs11:token=%ff{CANARY};object=k?{WHERE}", "not printable"),
        (f"pkcs11:token=t%0a;object=k?{WHERE}", "not printable"),
        (f"file:/{CANARY}", "does not begin with pkcs11:"),
    ],
)
def test_what_is_refused_is_not_quoted(text: str, why: str) -> None:
    with pytest.raises(KeyUriInvalid, match=why) as caught:
        KeyUri.parse(text)
    assert CANARY not in caught.value.line
    assert "docs/keys.md" in caught.value.line
