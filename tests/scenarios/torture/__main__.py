"""``make torture``: a long run. It prints every fault, the numbers and the result, and keeps evidence of a failure."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

import click

from tests.scenarios.torture.run import told, torture
from tests.support.kafka import running_cluster
from tests.support.pki import SamplePki


def main() -> int:
    """Run with the arguments of the command line. Return 0: every guarantee held, 1: one did not."""
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", action="store_true", help="keep the evidence even if every guarantee held")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    root = Path(tempfile.mkdtemp(prefix="case-exchange-torture-"))
    click.echo(f"seed {seed}, {given.seconds:g} s, in {root}")
    pki = SamplePki.build(root / "pki")
    with running_cluster(root / "kafka", pki.folder, nodes=3) as cluster:
        outcome = asyncio.run(torture(root, pki, cluster, seed=seed, seconds=given.seconds))
    click.echo(told(outcome))
    if given.keep and not outcome.violations:
        click.echo(f"the evidence is in {root}")
    elif not outcome.violations:
        shutil.rmtree(root)
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
