"""A module can be read at once: it has at most 300 lines. The exceptions are listed, each with its reason."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST = 300
PARTS = ("adapters", "broker", "certs")
EXEMPT = {
    "broker/core/errors.py": "one table of every error, which docs/errors.md is generated from",
}


def lengths() -> dict[str, int]:
    paths = (path for part in PARTS for path in (ROOT / part).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}


def test_no_other_module_is_longer() -> None:
    assert {path for path, length in lengths().items() if length > MOST} == set(EXEMPT)


def test_the_exceptions_are_written_down() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [path for path in EXEMPT if f"`{path.removesuffix('.py')}`" not in page] == []
