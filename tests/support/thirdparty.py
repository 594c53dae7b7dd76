"""The example of an agency's own adapter (docs/adapters.md), installed as a third party would install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "deploy" / "example_adapter"
SAMPLE = EXAMPLE / "sample.log"


def install_example(folder: Path) -> Path:
    """Build the distribution and install it into a separate folder, without a network."""
    target = folder / "installed"
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", target, EXAMPLE], check=True)
    return target
