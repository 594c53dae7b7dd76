"""Look for planted bytes wherever a process could leave them: its memory, the memory of its children, files."""

from __future__ import annotations

import base64
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


def encodings(name: str, canary: str | bytes) -> dict[str, bytes]:
    """All forms in which a canary could lie somewhere, each under its name and form."""
    found: dict[bytes, str] = {}
    if isinstance(canary, str):
        plain = canary.encode()
        forms = {form: canary.encode(form) for form in ("utf-8", "utf-16-le", "utf-16-be", "gb18030")}
        forms["escaped"] = canary.encode("ascii", "backslashreplace")
    else:
        plain = canary
        forms = {"bytes": canary}
    forms["hex"], forms["HEX"] = plain.hex().encode(), plain.hex().upper().encode()
    for shift in range(3):
        # Within a longer text it begins at any of three places. Its first and last digits depend on its neighbours.
        coded = base64.b64encode(bytes(shift) + plain)
        inner = coded[(4 * shift + 2) // 3 : len(plain) * 4 // 3 - 1]
        forms[f"base64 {shift}"] = inner
        forms[f"base64url {shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    for form, data in forms.items():
        found.setdefault(data, f"{name} as {form}")
    return {label: data for data, label in found.items()}


def found_in_memory(pid: int, planted: Mapping[str, bytes]) -> set[str]:
    """Which of these bytes are in the memory of a process or of a process below it, as in a core dump of each."""
    found = set[str]()
    for member in family(pid):
        with Path(f"/proc/{member}/mem").open("rb", buffering=0) as memory:
            for begin, end in _readable(member):
                found |= _in_range(memory.fileno(), begin, end, planted)
    return found


def found_in_files(folder: Path, planted: Mapping[str, bytes]) -> set[str]:
    """Which of these bytes are in the files below a folder, or in their names."""
    found = set[str]()
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        # Kafka's indexes end with megabytes of zeros. UTF-16 may end with one.
        found |= found_in(bytes(path) + content.rstrip(b"\0") + b"\0", planted)
    return found


def found_in(data: bytes, planted: Mapping[str, bytes]) -> set[str]:
    """Which of these bytes are in others."""
    return {name for name, needle in planted.items() if needle in data}


def _readable(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        place, rights, *_ = line.split(maxsplit=5)
        # The kernel lends these pages, and lets nobody read them from outside.
        if rights.startswith("r") and not line.endswith(("[vvar]", "[vvar_vclock]", "[vsyscall]")):
            begin, end = place.split("-")
            yield int(begin, 16), int(end, 16)


def _in_range(memory: int, begin: int, end: int, planted: Mapping[str, bytes]) -> set[str]:
    at, longest, found = begin, max(map(len, planted.values())), set[str]()
    while at < end:
        try:
            data = os.pread(memory, min(_AT_ONCE, end - at), at)
        except OSError:
            break  # a part that was given back meanwhile
        found |= found_in(data, planted)
        if len(data) <= longest:
            break
        at += len(data) - longest  # what lies across two reads
    return found
