"""One process of a cluster, ours or one that an earlier command left running, and the guard that ends ours with us."""

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
    """A process group that does not outlive this process, however this process ends."""

    def __init__(self) -> None:
        # Isolated and by path: it needs nothing of the project, and starts in 20 ms.
        command = [sys.executable, "-I", "-S", str(_GUARD)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)  # noqa: S603 - our own file

    @property
    def group(self) -> int:
        """The process group to start processes in."""
        return self._process.pid

    def close(self) -> None:
        """Kill whatever is left in the group, and the guard."""
        self._process.communicate()


class NodeProcess:
    """A running process, held by a descriptor of the kernel's, so that no other process can be taken for it."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        """Take hold of a process.

        Args:
            pid: its id.
            child: it, if this process started it.

        Raises:
            ProcessLookupError: there is none any more.
        """
        self.pid: Final = pid
        self._child = child
        self._descriptor = os.pidfd_open(pid)

    @classmethod
    def start(cls, command: Sequence[str], log: Path, pid_file: Path, *, group: int | None) -> NodeProcess:
        """Start a process and write down its id.

        Args:
            command: what to run.
            log: the file to which its output is appended.
            pid_file: where its id is written.
            group: the process group that it joins; without one it gets a session of its own and outlives us.
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
        """The process whose id was written down, if it still runs and ``mark`` is among its arguments."""
        try:
            process = cls(int(pid_file.read_text()))
        except (OSError, ValueError):
            return None
        # Looked at once it is held: an id that was given to another process meanwhile is seen to be another's.
        with contextlib.suppress(OSError):
            if mark.encode() in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0"):
                return process
        process.close()
        return None

    def runs(self) -> bool:
        """Whether it has not ended."""
        return not self.wait(0)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, seconds: float) -> bool:
        """Wait for it to end, and say whether it has."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        ended = bool(poll.poll(max(seconds, 0) * _MILLISECONDS))
        if ended and self._child is not None:
            self._child.wait()
        return ended

    def close(self) -> None:
        """Let go of it. It runs on if it runs."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
