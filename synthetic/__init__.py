"""Synthetic data of agencies that do not exist, the same every time, for tests and measurements alike."""
