"""A broker or a witness as a process of its own, which a nemesis may hit."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.scenarios.torture.history import History

COMMAND: Final = Path(sys.executable).with_name("case-exchange")
_AGAIN_SECONDS: Final = 1.0
_ENDS_SECONDS: Final = 60.0


class ProcessTarget:
    """A process of ours on its own port. It is started again if it ends by itself, as a supervisor would do."""

    def __init__(self, name: str, config: Path, port: int, history: History) -> None:
        self.turn = asyncio.Lock()
        self.name = name
        self.address = f"localhost:{port}"
        self.errors = config.with_suffix(".log")
        self.ended_by_itself = 0
        self.config = config
        self._history = history
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = False
        self._keeper: asyncio.Task[None] | None = None
        # While one begins or ends the process, nobody else does: otherwise two would run, and one be forgotten.
        self._changing = asyncio.Lock()

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        async with self._changing:
            await self._spawn()
            self._wanted = True
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    async def kill(self) -> None:
        async with self._changing:
            self._wanted = False
            await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    async def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        async with self._changing:
            self._wanted = False
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        return await self._end(signal.SIGTERM)

    def pause(self) -> None:
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def wipe(self) -> None:
        """Delete what it has on its disk, if it must be able to do without."""

    def command(self) -> list[str | Path]:
        """The command line, after the program."""
        raise NotImplementedError

    async def _spawn(self) -> None:
        with self.errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                COMMAND, *self.command(), stdout=asyncio.subprocess.DEVNULL, stderr=errors
            )

    async def _keep(self) -> None:
        while True:
            process = self._process
            if process is not None:
                code = await process.wait()
                if self._is_wanted(process):
                    self.ended_by_itself += 1
                    self._history.fault(f"{self.name} ended by itself with code {code}")
                    await asyncio.sleep(_AGAIN_SECONDS)
                    async with self._changing:
                        if self._is_wanted(process):
                            await self._spawn()
            await asyncio.sleep(0.1)

    def _is_wanted(self, process: asyncio.subprocess.Process) -> bool:
        return self._wanted and process is self._process

    async def _end(self, number: signal.Signals) -> int:
        self._send(number)
        assert self._process is not None
        try:
            async with asyncio.timeout(_ENDS_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self._send(signal.SIGKILL)
            return await self._process.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
