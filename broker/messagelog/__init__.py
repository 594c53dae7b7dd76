"""Backends of the message log."""
