"""What processes have spent: processor time and context switches, with their children's. Linux only (/proc)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TICK_MICROSECONDS = 1_000_000 / os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """What was spent since a process began: processor time (user and system), and what follows.

    Attributes:
        switches: context switches, also those that other processes cause.
        waits: those of them that a thread asked for, because it had to wait.
        written: bytes that were given to the system for files and pipes. Sockets do not count.
    """

    cpu_microseconds: float
    switches: int
    waits: int
    written: int

    def since(self, before: Usage) -> Usage:
        return Usage(
            self.cpu_microseconds - before.cpu_microseconds,
            self.switches - before.switches,
            self.waits - before.waits,
            self.written - before.written,
        )


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for parent in found:
        children = Path(f"/proc/{parent}/task/{parent}/children")
        found += [int(child) for child in children.read_text().split()] if children.exists() else []
    return found


def usage(pid: int) -> Usage:
    """What a process and its children have spent, all threads together."""
    cpu, switches, waits, written = 0.0, 0, 0, 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        cpu += (int(fields[11]) + int(fields[12])) * _TICK_MICROSECONDS
        for status in Path(f"/proc/{member}/task").glob("*/status"):
            lines = _numbers(status)
            waits += lines["voluntary_ctxt_switches"]
            switches += lines["voluntary_ctxt_switches"] + lines["nonvoluntary_ctxt_switches"]
        written += _numbers(Path(f"/proc/{member}/io"))["wchar"]
    return Usage(cpu, switches, waits, written)


def _numbers(path: Path) -> dict[str, int]:
    """The lines of a file in /proc that give a number to a name."""
    lines = (line.split(":", 1) for line in path.read_text().splitlines())
    return {name: int(value) for name, value in lines if value.strip().isdigit()}


def resident_mb(pid: int) -> float:
    """Memory of one process that is in RAM, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class Meter:
    """Measures one process between two moments."""

    pid: int

    def __post_init__(self) -> None:
        self._begin = usage(self.pid)

    def spent(self) -> Usage:
        return usage(self.pid).since(self._begin)


class Rate(NamedTuple):
    """The result of a measurement: records per second, and microseconds of processor time a record by process."""

    per_second: float
    cpu: Mapping[str, float]

    def text(self) -> str:
        return ", ".join(f"{name} {microseconds:,.0f}" for name, microseconds in self.cpu.items())


class Stopwatch:
    """Measures the time from now on, and what processes spend in it: this one ("client"), and others by name."""

    def __init__(self, others: Mapping[str, Sequence[int]] | None = None) -> None:
        self._meters = {name: [Meter(pid) for pid in pids] for name, pids in (others or {}).items()}
        self._started, self._cpu = time.perf_counter(), time.process_time()

    def rate(self, records: int) -> Rate:
        seconds = time.perf_counter() - self._started
        spent = {"client": 1e6 * (time.process_time() - self._cpu)}
        for name, meters in self._meters.items():
            spent[name] = sum(meter.spent().cpu_microseconds for meter in meters)
        return Rate(records / seconds, {name: microseconds / records for name, microseconds in spent.items()})
