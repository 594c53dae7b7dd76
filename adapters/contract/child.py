"""The program that reads hostile files: a process with limits, which records every attempt to reach out.

Start it as ``python -m adapters.contract.child NAME FOLDER SECONDS BYTES``. It reads every file in the folder as the
commands do, and prints a line of JSON before and after each. The process ends at a file that takes more CPU time than
SECONDS, or more memory than twice BYTES. The last line then names this file.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any, Final

from adapters.base import DecodedRecord, Limits
from adapters.contract.hostile import CANARY
from adapters.contract.measured import figure
from adapters.reading import Attachments, IssueLog, SourceFile, open_source
from adapters.registry import adapter

_STATUS: Final = Path("/proc/self/status")
_CODE: Final = (".py", ".pyc", ".so", ".pth")


class Watch:
    """Records what the interpreter does that an adapter may not do: open files and sockets, start processes."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.watching = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.system", "os.fork")):
            self.seen.append(event)
        # Late imports are allowed.
        if event == "open" and not str(arguments[0]).endswith(_CODE):
            self.seen.append(event)


def main(name: str, folder: Path, seconds: int, most: int) -> None:
    """Read every file of a folder and report."""
    found, limits, watch = adapter(name), Limits(), Watch()
    attachments = Attachments(folder / "attachments", limits.bytes)
    # What is made only once must not count for the first file.
    list(map(found.sniff, (b"", b"a")))
    mapped = _status("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2 * most, mapped + 2 * most))
    for path in sorted(item for item in folder.iterdir() if item.is_file()):
        _report({"file": path.name})
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + seconds + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        _reset_peak()
        before = _status("VmRSS")
        log, records, leaked = IssueLog(), 0, False
        with open_source(path) as file:
            source = SourceFile(file, limits)
            watch.seen.clear()
            watch.watching = True
            for item in source.items(found, attachments):
                if isinstance(item, DecodedRecord):
                    records += 1
                    leaked |= CANARY in item.record.SerializeToString()
                else:
                    log.add(item)
                    leaked |= CANARY.decode() in item.message + item.locator
            watch.watching = False
        _report(
            {
                "file": path.name,
                "records": records,
                "issues": [[item.severity.value, item.code, item.locator, item.message] for item in log.kept[:20]],
                "grown": max(0, _status("VmHWM") - before),
                "reached": sorted(set(watch.seen)),
                "leaked": leaked,
            }
        )


def _report(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _status(name: str) -> int:
    return figure(_STATUS.read_text(), name)


def _reset_peak() -> None:
    """Reset the peak of memory (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
