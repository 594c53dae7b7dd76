"""Calls of a blocking client whose caller goes away."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from broker.messagelog.kafka.thread import ClientThread

BOUND = 60


async def test_a_call_whose_caller_went_away_runs_to_its_end_and_its_error_is_nobody_s() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    thread, begun, may_end = ClientThread("test"), threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        assert may_end.wait(BOUND)
        raise OSError

    caller = asyncio.create_task(thread.call_to_its_end(fail))
    assert await asyncio.to_thread(begun.wait, BOUND)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    may_end.set()
    ended: list[int] = []
    # The thread has one call at a time, so this one comes after the failure.
    await thread.end(lambda: ended.append(1))
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    assert ended == [1]
    assert complaints == []
