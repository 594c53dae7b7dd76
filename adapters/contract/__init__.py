"""The rules for every adapter, as tests that anybody can run on an adapter of their own.

Needs pytest and Hypothesis, which the exchange itself does not need. Write a subclass of ``AdapterContract`` in a test
module (docs/adapters.md).
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("adapters.contract.suite")

from adapters.contract.roundtrip import not_carried, round_trip, thinned  # noqa: E402 - asserts are rewritten first
from adapters.contract.suite import AdapterContract, Subject  # noqa: E402 - as above

__all__ = ["AdapterContract", "Subject", "not_carried", "round_trip", "thinned"]
