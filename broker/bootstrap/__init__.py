"""Composition roots. Only this package names backends and implementations."""
