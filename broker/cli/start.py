"""The installed command. Ctrl-C ends it with 130 and without a word, also while it still loads or already ends.

To load the program takes a moment. This module imports none of it, so that Ctrl-C is handled from the beginning.
"""

from __future__ import annotations

import sys

from broker.cli.interrupts import INTERRUPTED, end_at_once, ends_at_once


def start() -> None:
    """Run the command and exit."""
    try:
        with ends_at_once():
            from broker.cli.main import main  # noqa: PLC0415 - Ctrl-C must be handled before

        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        # Only Python itself has to end. What was printed is written.
        end_at_once()
