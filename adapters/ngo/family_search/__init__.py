"""Workbooks of searches for family members."""
