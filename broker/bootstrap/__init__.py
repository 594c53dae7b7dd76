"""Composition roots: the only place that names backends and implementations."""
