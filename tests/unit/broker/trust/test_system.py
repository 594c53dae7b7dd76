from __future__ import annotations

import time
from typing import TYPE_CHECKING

from broker.core.body import is_uuid
from broker.trust.system import SystemClock, SystemEntropy

if TYPE_CHECKING:
    import pytest


def test_a_record_id_is_a_uuid_of_version_7_that_begins_with_the_time() -> None:
    before = SystemClock().now_ms()
    ids = [SystemEntropy().record_id() for _ in range(200)]
    after = SystemClock().now_ms()
    assert all(is_uuid(text) and text[14] == "7" and text[19] in "89ab" for text in ids)
    assert all(before <= int(text.replace("-", "")[:12], 16) <= after for text in ids)
    # Each of the other bits is random: it is seen as 0 and as 1.
    numbers = [int(text.replace("-", ""), 16) & ((1 << 80) - 1) for text in ids]
    fixed = [bit for bit in range(80) if len({number >> bit & 1 for number in numbers}) == 1]
    assert fixed == [62, 63, 76, 77, 78, 79]


def test_a_record_id_has_48_bits_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # A time that needs 49 bits (after the year 10889) shows that the bits that do not fit are left out.
    monkeypatch.setattr(time, "time_ns", lambda: (1 << 48 | 0x0123456789AB) * 1_000_000 + 999_999)
    assert SystemEntropy().record_id().startswith("01234567-89ab-7")


def test_the_clock_is_this_machines() -> None:
    clock = SystemClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 1000
    assert abs(clock.monotonic() - time.monotonic()) < 1


def test_tokens_have_the_size_asked_for_and_differ() -> None:
    tokens = {SystemEntropy().token(16) for _ in range(20)}
    assert {len(token) for token in tokens} == {16}
    assert len(tokens) == 20
