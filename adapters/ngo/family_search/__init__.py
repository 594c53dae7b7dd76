"""Workbooks of searches for kin."""
