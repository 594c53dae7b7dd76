"""An implementation of HPKE that this project did not write opens our wraps, and we open its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from broker.core.encryptionkeys import MLKEM768_X25519, P256, RECORDS, EncryptionKey, encryption_key_id
from broker.trust.hpke import HpkeWrapper, PrivateEncryptionKey

PROGRAM = Path(__file__).parents[3] / "interop" / "hpke" / "hpke.cjs"
CONTENT_KEYS, INFO = bytes(range(96)), b"one record, one recipient, one key"


def hpke_js(*asked: dict[str, Any]) -> list[dict[str, Any]]:
    """What hpke-js answers. Skips the test where it is not installed."""
    if shutil.which("node") is None:
        pytest.skip("no Node.js on the path: apt-get install npm")
    if not (PROGRAM.parent / "node_modules" / "@hpke").is_dir():
        pytest.skip("hpke-js is not installed: make interop")
    done = subprocess.run(
        ["node", PROGRAM], input=json.dumps(asked).encode(), capture_output=True, check=True, timeout=60
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("suite", [MLKEM768_X25519, P256])
def test_hpke_js_opens_what_we_wrap(suite: str) -> None:
    (made,) = hpke_js({"suite": suite, "make": True})
    public = bytes.fromhex(made["publicKey"])
    key = EncryptionKey("sample-agency", encryption_key_id(suite, public), suite, RECORDS, public, 0, 1, None, b"")
    wrap = HpkeWrapper().wrap(key, CONTENT_KEYS, INFO)
    changed = wrap[:-1] + bytes([wrap[-1] ^ 1])
    asked = [
        {"suite": suite, "key": made["key"], "wrapped": one.hex(), "info": info.hex()}
        for one, info in [(wrap, INFO), (wrap, INFO + b"\0"), (changed, INFO)]
    ]
    assert [each["content"] for each in hpke_js(*asked)] == [CONTENT_KEYS.hex(), None, None]


@pytest.mark.parametrize("suite", [MLKEM768_X25519, P256])
def test_we_open_what_hpke_js_seals(suite: str) -> None:
    private = PrivateEncryptionKey.generate(suite)
    public = private.public_key.hex()
    (sealed,) = hpke_js({"suite": suite, "publicKey": public, "info": INFO.hex(), "content": CONTENT_KEYS.hex()})
    assert private.unwrap(bytes.fromhex(sealed["wrapped"]), INFO) == CONTENT_KEYS
