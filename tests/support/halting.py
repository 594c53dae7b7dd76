"""A gateway's edge that halts while it takes a file in, here or in a process that a test kills."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.edge.spool import Spool
from adapters.gateway.outbound import Outbound

if TYPE_CHECKING:
    from collections.abc import Callable

REACHED = "reached"


class HaltingSpool(Spool):
    """Halts in the thread that takes a file in: when it looks at its record of this number, first or again."""

    def __init__(self, path: Path, at: int, tell: Callable[[], object] = lambda: None) -> None:
        super().__init__(path)
        self._left = at
        self._tell = tell
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def seen_record(self, sha256: bytes, place: str) -> bool:
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            self._tell()
            assert self.go_on.wait(120)
        return super().seen_record(sha256, place)


def _tell() -> None:
    sys.stdout.write(f"{REACHED}\n")
    sys.stdout.flush()


async def _take(profile_path: Path, spool_path: Path, content: bytes, at: int) -> None:
    profile, routes = load_profile(profile_path)
    async with open_edge(profile) as edge:
        spool = HaltingSpool(spool_path, at, _tell)
        outbound = Outbound(edge._replace(spool=spool), profile.gateway, routes, Limits())
        outbound.take(content, {})


if __name__ == "__main__":
    asyncio.run(_take(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]).read_bytes(), int(sys.argv[4])))
