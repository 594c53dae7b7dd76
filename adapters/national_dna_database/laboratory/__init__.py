"""The reference laboratory: it keeps profiles, searches for parents, and reports."""
