"""The agencies' commands of ``case-exchange``."""
