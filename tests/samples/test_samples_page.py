"""docs/samples.md states the outcome of every real sample file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not (ROOT.parent / "shared" / "samples").is_dir(), reason="the samples are not beside the project")
def test_the_page_of_samples_is_what_the_adapters_make_of_them_today() -> None:
    script = ROOT / "docs" / "samples.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "")
