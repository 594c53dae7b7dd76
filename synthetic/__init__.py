"""Synthetic data of agencies that do not exist, for tests and measurements. They are the same every time."""
