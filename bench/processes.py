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


class FileUse(NamedTuple):
    """What a process did with files and pipes since it began. Sockets do not count.

    Attributes:
        calls: reads and writes.
        read: bytes that these took from the system.
        written: bytes that they gave to it.
    """

    calls: int
    read: int
    written: int

    @classmethod
    def of(cls, pid: int) -> FileUse:
        lines = _numbers(Path(f"/proc/{pid}/io"))
        return cls(lines["syscr"] + lines["syscw"], lines["rchar"], lines["wchar"])

    def since(self, before: FileUse) -> FileUse:
        return FileUse(self.calls - before.calls, self.read - before.read, self.written - before.written)


class Usage(NamedTuple):
    """What was spent since a process began: processor time (user and system), and what follows.

    Attributes:
        threads: how often each thread had to wait, and how often another program interrupted it. A thread that has
            ended no longer counts.
        files: what it did with files and pipes.
    """

    cpu_microseconds: float
    threads: Mapping[int, tuple[int, int]]
    files: FileUse

    @property
    def waits(self) -> int:
        """Context switches that a thread asked for, because it had to wait."""
        return sum(waits for waits, _ in self.threads.values())

    @property
    def switches(self) -> int:
        """All context switches."""
        return sum(map(sum, self.threads.values()))

    def since(self, before: Usage) -> Usage:
        threads = {}
        for thread, (waits, interruptions) in self.threads.items():
            then = before.threads.get(thread, (0, 0))
            threads[thread] = (waits - then[0], interruptions - then[1])
        cpu = self.cpu_microseconds - before.cpu_microseconds
        return Usage(cpu, threads, self.files.since(before.files))


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for parent in found:
        children = Path(f"/proc/{parent}/task/{parent}/children")
        found += [int(child) for child in children.read_text().split()] if children.exists() else []
    return found


def usage(pid: int) -> Usage:
    """What a process and its children have spent, all threads together."""
    cpu, threads, members = 0.0, {}, family(pid)
    for member in members:
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        cpu += (int(fields[11]) + int(fields[12])) * _TICK_MICROSECONDS
        for status in Path(f"/proc/{member}/task").glob("*/status"):
            lines = _numbers(status)
            threads[lines["Pid"]] = (lines["voluntary_ctxt_switches"], lines["nonvoluntary_ctxt_switches"])
    return Usage(cpu, threads, FileUse(*map(sum, zip(*map(FileUse.of, members), strict=True))))


def _numbers(path: Path) -> dict[str, int]:
    """The lines of a file in /proc that give a number to a name."""
    lines = (line.split(":", 1) for line in path.read_text().splitlines())
    return {name: int(value) for name, value in lines if value.strip().isdigit()}


def resident_mb(pid: int) -> float:
    """Memory of one process that is in RAM, in MiB."""
    return _memory_mb(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """The most memory of one process that was ever in RAM, in MiB."""
    return _memory_mb(pid, "VmHWM")


def _memory_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
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
