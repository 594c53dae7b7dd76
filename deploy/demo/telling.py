"""How the demo tells its story: what it prints, what it checks, and whether a file holds the child's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from world import DemoFailed

if TYPE_CHECKING:
    from pathlib import Path

NAME = "测试儿童甲𠮷"
"""The synthetic child's name. It must not appear where it is not allowed."""


def say(text: str) -> None:
    print(text, flush=True)


def step(number: str, text: str) -> None:
    say(f"\n{number}. {text}")


def check(text: str, holds: object) -> None:
    """Check a statement of the demo, and print it."""
    if not holds:
        raise DemoFailed(f"this does not hold: {text}")
    say(f"   checked: {text}")


def holds_name(path: Path) -> bool:
    data = path.read_bytes()
    return NAME.encode() in data or NAME.encode("gb18030") in data
