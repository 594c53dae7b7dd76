"""The command line of ``run.py``."""

from __future__ import annotations

import argparse
import sys

from tests.mutation.run import TESTS, mutate, report


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutate the modules that trust rests on, and run their tests.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as core/policy; all where none is named")
    names = parser.parse_args().modules or sorted(TESTS)
    if unknown := [name for name in names if name not in TESTS]:
        parser.error(f"not in modules.toml: {', '.join(unknown)}")
    return report([mutate(name) for name in names])


if __name__ == "__main__":
    sys.exit(main())
