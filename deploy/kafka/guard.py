"""Kills its process group as soon as the process that started it has ended, for any reason.

It is a separate process, because a cluster's nodes must not outlive a killed test run. The kernel's own way
(PR_SET_PDEATHSIG) depends on the thread that started them. The guard's standard input is a pipe. Only the starter has
the other end, so the pipe ends when the starter ends. The nodes are put in the guard's group.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Wait for the end of standard input, then kill the group, with this process."""
    # The keyboard or a parent may send signals to the group. The guard ignores them, because it must end last.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.stdin.buffer.read()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
