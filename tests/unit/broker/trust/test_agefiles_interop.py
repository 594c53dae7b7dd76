"""Programs for age that this project did not write open our sealed files, and we open theirs."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.trust.agefiles import AgeSeal, make_identity

PROGRAM = Path(__file__).parents[3] / "interop" / "age" / "age.mjs"
NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
CONTENT = "SYNTHETIC 王小明".encode() * 10_000


def age_js(*asked: dict[str, Any]) -> list[dict[str, Any]]:
    """What age-encryption answers. Skips the test where it is not installed."""
    if shutil.which("node") is None:
        pytest.skip("no Node.js on the path: apt-get install npm")
    if not (PROGRAM.parent / "node_modules" / "age-encryption").is_dir():
        pytest.skip("age-encryption is not installed: make interop")
    done = subprocess.run(
        ["node", PROGRAM], input=json.dumps(asked).encode(), capture_output=True, check=True, timeout=60
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def secret_of(path: Path) -> str:
    return path.read_text().splitlines()[-1]


def test_age_in_javascript_opens_what_we_seal_and_we_what_it_seals(tmp_path: Path) -> None:
    made, seal = make_identity(tmp_path, NOW), AgeSeal(tmp_path)
    sealed = seal.seal(CONTENT)
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    opened, damaged, theirs = age_js(
        {"identity": secret_of(made.path), "sealed": sealed.hex()},
        {"identity": secret_of(made.path), "sealed": changed.hex()},
        {"recipient": made.recipient, "content": CONTENT.hex()},
    )
    assert opened["content"] == CONTENT.hex()
    assert damaged["content"] is None
    assert seal.open(bytes.fromhex(theirs["sealed"])) == CONTENT


def test_age_itself_opens_what_we_seal_with_our_file_and_we_what_it_seals_to_our_recipient(tmp_path: Path) -> None:
    age = shutil.which("age")
    if age is None:
        pytest.skip("no age on the path: apt-get install age")
    made, seal = make_identity(tmp_path / "keys", NOW), AgeSeal(tmp_path / "keys")
    opened = subprocess.run(
        [age, "--decrypt", "--identity", made.path],
        input=seal.seal(CONTENT),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert opened.stdout == CONTENT
    theirs = subprocess.run(
        [age, "--recipient", made.recipient], input=CONTENT, capture_output=True, check=True, timeout=60
    )
    assert seal.open(theirs.stdout) == CONTENT
    # An identity that its own program made is taken up as it is.
    made.path.unlink()
    subprocess.run(
        ["age-keygen", "--output", tmp_path / "keys" / "by-age.identity"], capture_output=True, check=True, timeout=60
    )
    assert seal.open(seal.seal(CONTENT)) == CONTENT
