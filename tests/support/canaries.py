"""Look for planted bytes wherever a process could leave them: its memory, the memory of its children, files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_AT_ONCE = 16 << 20


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def found_in_memory(pid: int, planted: Mapping[str, bytes]) -> set[str]:
    """Which of these bytes are in the memory of a process or of a process below it, as in a core dump of each."""
    found = set()
    for member in family(pid):
        with Path(f"/proc/{member}/mem").open("rb", buffering=0) as memory:
            for begin, end in _readable(member):
                found |= {name for name, data in planted.items() if _in_range(memory.fileno(), begin, end, data)}
    return found


def found_in_files(folder: Path, planted: Mapping[str, bytes]) -> set[str]:
    """Which of these bytes are in the files below a folder, or in their names."""
    found = set()
    for path in folder.rglob("*"):
        data = bytes(path) + (path.read_bytes() if path.is_file() else b"")
        found |= {name for name, needle in planted.items() if needle in data}
    return found


def _readable(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        place, rights, *_ = line.split(maxsplit=5)
        # The kernel lends these pages, and lets nobody read them from outside.
        if rights.startswith("r") and not line.endswith(("[vvar]", "[vvar_vclock]", "[vsyscall]")):
            begin, end = place.split("-")
            yield int(begin, 16), int(end, 16)


def _in_range(memory: int, begin: int, end: int, needle: bytes) -> bool:
    at = begin
    while at < end:
        try:
            data = os.pread(memory, min(_AT_ONCE, end - at), at)
        except OSError:
            return False  # a part that was given back meanwhile
        if needle in data:
            return True
        if len(data) <= len(needle):
            return False
        at += len(data) - len(needle)  # what lies across two reads
    return False
