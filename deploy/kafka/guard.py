"""Kills its process group as soon as whoever started it is gone, for whatever reason.

A process of its own, because a cluster's nodes must not outlive a test run that was killed, and the kernel's own means
(PR_SET_PDEATHSIG) is bound to the thread that started them. Its standard input is a pipe of which the starter alone has
the other end: it ends when the starter does. The nodes are put in its group.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Wait for the end of standard input, then kill the group, this process included."""
    # Whatever is meant for the group by its keyboard or its parent is not for the one that must be last.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.stdin.buffer.read()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
