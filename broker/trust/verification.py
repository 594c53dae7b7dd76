"""Check many signatures, and examine large messages, in this process or in another one.

A signature costs as much as everything else that is done with a record. Threads of one interpreter slow each other down
while they check signatures (docs/adr/0008). So a separate process checks them while the broker parses and stores. It
has only public keys and bytes to compare. It also counts the fields of large messages before the broker parses them
(docs/adr/0038), because that takes Python's lock for long. It ends when its broker ends for any reason, because its
connection is closed then.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from broker.core.errors import SignatureInvalid
from broker.trust.recordkeys import load_record_key, verifies
from broker.wire.bounds import fields_fit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.ports import Signed
    from broker.trust.recordkeys import RecordKey
    from broker.wire.bounds import Nested

_FEWEST: Final = 8
"""Fewer signatures than this are checked here. To ask another process would take longer."""
_PORTION: Final = 128
"""So many signatures are asked for at a time. Others ask in between, so nobody waits for a long list of another."""
_MAX_KEYS: Final = 1024
_LEAST_SECONDS: Final = 0.001


class InlineVerifier:
    """The ports SignatureVerifier and MessageExaminer, in the calling thread."""

    def verify(self, signed: Sequence[Signed]) -> list[bool]:
        """See ``SignatureVerifier``."""
        return [_holds(item) for item in signed]

    def fields_fit(self, data: bytes, nested: Nested, most: int) -> bool:
        """See ``MessageExaminer``."""
        return fields_fit(data, nested, most)


class _Request(NamedTuple):
    keys: dict[int, bytes]
    items: list[tuple[int, bytes, bytes]]


class _Bounds(NamedTuple):
    """Of a message of so many bytes, which follows."""

    nested: Nested
    most: int
    size: int


class ProcessVerifier:
    """The ports SignatureVerifier and MessageExaminer, in its own process, which is started again if it dies.

    Without the process, signatures are checked in the calling thread. That is slower, but checks the same.
    """

    def __init__(self, *, patience_seconds: float = 5.0) -> None:
        """Start the process.

        Args:
            patience_seconds: the time limit for a question and its answer. Then another process is started in its
                place.
        """
        self._patience_seconds = patience_seconds
        self._inline = InlineVerifier()
        self._turn, self._next = threading.Lock(), threading.Lock()
        self._context = multiprocessing.get_context("spawn")
        self._closed = False
        self._start()

    def verify(self, signed: Sequence[Signed]) -> list[bool]:
        """See ``SignatureVerifier``."""
        if len(signed) < _FEWEST:
            return self._inline.verify(signed)
        return [holds for at in range(0, len(signed), _PORTION) for holds in self._verify(signed[at : at + _PORTION])]

    def _verify(self, signed: Sequence[Signed]) -> list[bool]:
        certificates = {item.certificate.public_key_der: number for number, item in enumerate(signed)}
        items = [(certificates[item.certificate.public_key_der], item.message, item.signature) for item in signed]
        request = _Request({number: key for key, number in certificates.items()}, items)
        answer = self._ask(request, len(items))
        return self._inline.verify(signed) if answer is None else [bool(holds) for holds in answer]

    def fields_fit(self, data: bytes, nested: Nested, most: int) -> bool:
        """See ``MessageExaminer``."""
        answer = self._ask(_Bounds(nested, most, len(data)), 1, data)
        return self._inline.fields_fit(data, nested, most) if answer is None else bool(answer[0])

    def _ask(self, request: _Request | _Bounds, size: int, data: bytes = b"") -> bytes | None:
        """Ask the process. It answers so many bytes. None: it does not answer, and was started again."""
        with self._alone():
            try:
                return self._answer(pickle.dumps(request), data, size)
            except OSError:
                self._start_again()
                return None

    def _answer(self, question: bytes, data: bytes, size: int) -> bytes:
        until, answer = time.monotonic() + self._patience_seconds, b""
        # The bytes follow as they are, so they are not copied. Python's lock is free while they are written.
        for part in (question, data):
            self._limit(until)
            self._socket.sendall(part)
        while len(answer) < size:
            self._limit(until)
            more = self._socket.recv(size - len(answer))
            if not more:
                raise ConnectionResetError
            answer += more
        return answer

    def _limit(self, until: float) -> None:
        # Zero would mean not to wait at all, which raises another error.
        self._socket.settimeout(max(until - time.monotonic(), _LEAST_SECONDS))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else asks. Whoever has just asked cannot be the next one while others wait: one of them is."""
        with self._next:
            self._turn.acquire()
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the process. Idempotent."""
        with self._alone():
            self._closed = True
            self._socket.close()
            self._process.join()

    def _start_again(self) -> None:
        self._process.kill()
        self._socket.close()
        if not self._closed:
            self._start()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._process = self._context.Process(target=_check_for_ever, args=(theirs,), daemon=True)
        self._process.start()
        # Now only the child has its end. So each side sees when the other ends.
        theirs.close()


Verifier: TypeAlias = InlineVerifier | ProcessVerifier


def _holds(item: Signed) -> bool:
    try:
        item.certificate.verify(item.message, item.signature)
    except SignatureInvalid:
        return False
    return True


def _check_for_ever(theirs: socket.socket) -> None:
    # A terminal sends an interrupt to all its processes. This one ends when the broker closes its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    known: dict[bytes, RecordKey] = {}
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError), theirs, theirs.makefile("rb") as asked:
        while True:
            request: _Request | _Bounds = pickle.load(asked)  # noqa: S301 - the broker is its parent
            if isinstance(request, _Bounds):
                nested, most, size = request
                theirs.sendall(bytes([fields_fit(asked.read(size), nested, most)]))
                continue
            if len(known) > _MAX_KEYS:
                known.clear()
            keys = {number: _key(known, der) for number, der in request.keys.items()}
            theirs.sendall(
                bytes(verifies(keys[number], message, signature) for number, message, signature in request.items)
            )


def _key(known: dict[bytes, RecordKey], der: bytes) -> RecordKey:
    key = known.get(der)
    if key is None:
        key = known[der] = load_record_key(der)
    return key
