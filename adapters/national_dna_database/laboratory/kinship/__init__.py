"""Likelihood ratios of parent and child from STR profiles: pure mathematics, no I/O."""
