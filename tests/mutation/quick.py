"""A pytest plugin for the tests of a mutant: hypothesis draws the same examples every time, and does not shrink."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("mutation", derandomize=True, database=None, phases=(Phase.explicit, Phase.generate))
settings.load_profile("mutation")
