"""Draw docs/growth.svg from the table of bench/growth.py in docs/benchmarks.md. So the picture and the table agree.

Run it after a change of the table: ``PYTHONPATH=. .venv/bin/python bench/plots.py``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
TABLE, PICTURE = DOCS / "benchmarks.md", DOCS / "growth.svg"
FACTOR = 1.3
"""How many times the cost in the smallest log the cost in a larger one may be."""


class Panel(NamedTuple):
    """One curve: a row of the table, its title, and its limit, if that is no multiple of the first value."""

    row: str
    title: str
    limit: float | None = None


DISK = "disk, all"
PANELS = (
    Panel("publish 100 x 4, broker us a record", "publish: broker µs a record"),
    Panel("subscribe, broker us a record", "subscribe: broker µs a record"),
    Panel("replay of a day, broker us a record", "replay of a day: broker µs a record"),
    Panel("catch-up, us a record", "catch-up: µs a record"),
    Panel("start, broker processor time, s", "start: processor seconds", 2.0),
    Panel("open a subscription that wants the newest record only, s", "open, wants 1 record: seconds", 0.2),
    Panel("memory after all this, MB", "memory: MB", 300.0),
    Panel(DISK, "disk: bytes a record"),
)
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
COLUMNS, WIDTH, HEIGHT = 4, 210, 150
LEFT, RIGHT, TOP, BOTTOM = 14, 40, 30, 22
# Both can be read on white and on black.
INK, LINE = "#7d8590", "#3b82f6"


def rows(text: str) -> dict[str, list[float]]:
    """The values of every row of the table whose first line names sizes of logs, and the sum of what is on the disk."""
    lines = text.splitlines()
    begin = next(at for at, line in enumerate(lines) if line.startswith("| | 100,000 |"))
    found = {"": _cells(lines[begin])[1]}
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        name, values = _cells(line)
        found[name] = values
    disk = [values for name, values in found.items() if name.startswith("disk") and name.endswith("a record")]
    found[DISK] = [sum(each) for each in zip(*disk, strict=True)]
    return found


def _cells(line: str) -> tuple[str, list[float]]:
    """The name and the values of a row. The last column is a ratio."""
    name, *values, _ = (cell.strip() for cell in line.strip("|").split("|"))
    return name, [float(value.replace(",", "")) for value in values]


def growth(text: str) -> str:
    """The picture of the table in this text."""
    table = rows(text)
    sizes = table.pop("")
    parts = [_panel(at, panel, sizes, table[panel.row]) for at, panel in enumerate(PANELS)]
    width, height = COLUMNS * WIDTH, (len(PANELS) + COLUMNS - 1) // COLUMNS * HEIGHT
    style = f'font-family="sans-serif" font-size="11" fill="{INK}" text-anchor="middle"'
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {style}>'
    return "\n".join((begin, *parts, "</svg>", ""))


def _panel(number: int, panel: Panel, sizes: list[float], values: list[float]) -> str:
    """A curve over the size of the log, from zero upwards, with its limit as a dashed line."""
    limit = FACTOR * values[0] if panel.limit is None else panel.limit
    left, bottom = number % COLUMNS * WIDTH + LEFT, number // COLUMNS * HEIGHT + HEIGHT - BOTTOM
    scale = (HEIGHT - TOP - BOTTOM) / (1.1 * max(limit, *values))
    step = (WIDTH - LEFT - RIGHT) / len(sizes)
    points = [(left + (at + 0.5) * step, bottom - value * scale) for at, value in enumerate(values)]
    end, at_limit = left + WIDTH - LEFT - RIGHT, bottom - limit * scale
    parts = [
        f'<text x="{(left + end) / 2:.1f}" y="{bottom - HEIGHT + TOP + 9:.1f}">{panel.title}</text>',
        f'<path d="M{left} {bottom}H{end}" stroke="{INK}"/>',
        f'<path d="M{left} {at_limit:.1f}H{end}" stroke="{INK}" stroke-dasharray="4 3"/>',
        f'<text x="{end + 3}" y="{at_limit + 4:.1f}" text-anchor="start">{_short(limit)}</text>',
        f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}" stroke="{LINE}" stroke-width="2" fill="none"/>',
    ]
    for (x, y), size, value in zip(points, sizes, values, strict=True):
        # Between a curve and its limit there is not always room for a number.
        above = not 0 <= y - at_limit < 18
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{LINE}"/>',
            f'<text x="{x:.1f}" y="{y - 7 if above else y + 15:.1f}">{_short(value)}</text>',
            f'<text x="{x:.1f}" y="{bottom + 14}">10{_RAISED[round(math.log10(size))]}</text>',
        ]
    return "\n".join(parts)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def main() -> None:
    PICTURE.write_text(growth(TABLE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PICTURE)


if __name__ == "__main__":
    main()
