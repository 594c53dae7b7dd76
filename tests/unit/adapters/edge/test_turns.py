from __future__ import annotations

import threading

from adapters.edge.turns import TurnLock


def test_who_waits_gets_the_lock_before_the_thread_that_released_it() -> None:
    lock, got, waits = TurnLock(), list[str](), threading.Event()

    def wait() -> None:
        waits.set()
        with lock:
            got.append("the other")

    other = threading.Thread(target=wait)
    with lock:
        other.start()
        assert waits.wait(20)
        while not lock._door.locked():
            pass
    with lock:
        got.append("this one")
    other.join(20)
    assert got == ["the other", "this one"]


def test_its_holder_takes_it_again_while_another_waits() -> None:
    lock, done = TurnLock(), threading.Event()

    def wait() -> None:
        with lock:
            done.set()

    other = threading.Thread(target=wait)
    with lock:
        other.start()
        while not lock._door.locked():
            pass
        with lock:
            assert not done.is_set()
        assert not done.is_set()
    assert done.wait(20)
    other.join(20)
