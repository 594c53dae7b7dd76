"""Runs a command of ``case-exchange`` in a process of its own, and measures its peak of memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

# The process reads its own peak. The peak from wait4 begins at the size of the parent process (Linux keeps ru_maxrss
# over exec), and a process that runs many tests is large.
_PROGRAM: Final = """
import sys
from pathlib import Path
from broker.cli.main import main
report = Path(sys.argv.pop(1))
try:
    main()
finally:
    report.write_text(Path("/proc/self/status").read_text())
"""


class Measured(NamedTuple):
    """The exit code, everything that was printed, and the peak of memory in bytes."""

    code: int
    printed: str
    peak: int


def run_measured(*arguments: object) -> Measured:
    """Run the command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "status"
        command = [sys.executable, "-c", _PROGRAM, str(report), *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)  # noqa: S603
        return Measured(done.returncode, done.stdout.decode(errors="replace"), figure(report.read_text(), "VmHWM"))


def figure(status: str, name: str) -> int:
    """A figure of /proc/self/status in bytes, or zero if it is not there."""
    for line in status.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
