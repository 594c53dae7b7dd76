"""One process of a cluster, started here or left running by an earlier command, and the guard of our processes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_GUARD: Final = Path(__file__).with_name("guard.py")
_MILLISECONDS: Final = 1000


class Guard:
    """A process group that does not outlive this process, in whatever way this process ends."""

    def __init__(self) -> None:
        # Isolated, and started by path: it needs nothing of the project, and starts in 20 ms.
        command = [sys.executable, "-I", "-S", str(_GUARD)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)  # noqa: S603 - our own file

    @property
    def group(self) -> int:
        """The process group for new processes."""
        return self._process.pid

    def close(self) -> None:
        """Kill all processes that are left in the group, and the guard."""
        self._process.communicate()


class NodeProcess:
    """A running process, held by a file descriptor, so that no other process can be taken for it."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        """Get a descriptor for a process.

        Args:
            pid: its id.
            child: the process, if this process started it.

        Raises:
            ProcessLookupError: it has ended.
        """
        self.pid: Final = pid
        self._child = child
        self._descriptor = os.pidfd_open(pid)

    @classmethod
    def start(cls, command: Sequence[str], log: Path, pid_file: Path, *, group: int | None) -> NodeProcess:
        """Start a process and write its id into a file.

        Args:
            command: the command.
            log: the file to which its output is appended.
            pid_file: the file for its id.
            group: the process group that it joins. None: it gets a session of its own and outlives this process.
        """
        with log.open("ab") as output:
            child = subprocess.Popen(  # noqa: S603 - the caller's command
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=group,
                start_new_session=group is None,
            )
        pid_file.write_text(f"{child.pid}\n")
        return cls(child.pid, child)

    @classmethod
    def find(cls, pid_file: Path, mark: str) -> NodeProcess | None:
        """The process with the id in this file, if it still runs and ``mark`` is among its arguments."""
        try:
            process = cls(int(pid_file.read_text()))
        except (OSError, ValueError):
            return None
        # Checked after the descriptor exists, so that an id that now belongs to another process is recognised.
        with contextlib.suppress(OSError):
            if mark.encode() in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0"):
                return process
        process.close()
        return None

    def runs(self) -> bool:
        """Whether it still runs."""
        return not self.wait(0)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, seconds: float) -> bool:
        """Wait until it ends. Returns whether it has ended."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        ended = bool(poll.poll(max(seconds, 0) * _MILLISECONDS))
        if ended and self._child is not None:
            self._child.wait()
        return ended

    def close(self) -> None:
        """Close the descriptor. A running process keeps running."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
