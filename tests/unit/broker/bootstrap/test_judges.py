"""The processes of a verification import only what they use, so that they start fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KEPT = Path(__file__).parents[3] / "vectors" / "bundles"
COMMAND = Path(sys.executable).with_name("case-exchange")
SCRIPT = """
import json, sys
from pathlib import Path
import __main__
from broker.bootstrap.judges import FRAMES, Trust, judging_processes
from broker.core.bundle import BundleFrames
from broker.core.audit.beginning import read_beginning
from broker.wire.bundle import read_frames

if __name__ == "__main__":
    bundle, root, __main__.__file__ = sys.argv[1:]
    with open(bundle, "rb") as file:
        beginning = read_beginning(BundleFrames(read_frames(file)), FRAMES)
    source = beginning.header.source
    trust = Trust((Path(root),), source, beginning.directories, beginning.authorities, beginning.revocation_lists)
    with judging_processes(trust) as pool:
        print(json.dumps(pool.submit(eval, "sorted(__import__('sys').modules)").result()))
"""


def test_a_process_that_judges_imports_no_transport_no_log_and_no_agency() -> None:
    # As the command does it: a process also imports the program that was started.
    command = [sys.executable, "-c", SCRIPT, str(KEPT / "plain.bundle"), str(KEPT / "governance.pem"), str(COMMAND)]
    loaded = set(json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout))
    assert {"broker.core.audit.judge", "broker.trust.keyring", "broker.wire.frames", "broker.cli.start"} <= loaded
    others = {"adapters", "asyncio", "certs", "grpc", "kafka", "msgspec", "sqlite3", "structlog", "tenacity", "uvloop"}
    assert not {name.split(".")[0] for name in loaded} & others
    parts = {name.split(".")[1] for name in loaded if name.startswith("broker.")}
    assert parts == {"bootstrap", "cli", "core", "trust", "wire"}
    assert {name for name in loaded if name.startswith("broker.bootstrap.")} == {"broker.bootstrap.judges"}
