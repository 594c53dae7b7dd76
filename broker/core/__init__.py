"""The pure core: no I/O, clock, randomness, logging or async. Time, ids and bytes are arguments."""
