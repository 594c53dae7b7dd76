from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core.errors import CertificateInvalid
from broker.ports import Signed
from broker.trust import verification as module
from broker.trust.verification import InlineVerifier, ProcessVerifier
from broker.wire.bounds import ENVELOPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.trust.recordkeys import RecordKey
    from tests.support.pki import SamplePki

ROOT = Path(__file__).parents[4]


@pytest.fixture
def verifier() -> Iterator[ProcessVerifier]:
    made = ProcessVerifier()
    yield made
    made.close()


def signed(pki: SamplePki, count: int, *, agency: str = "shanxi-police") -> list[Signed]:
    signer = pki.signer(agency)
    certificate = pki.keyring().signer(signer.certificate_sha256)
    return [Signed(certificate, b"%d" % number, signer.sign(b"%d" % number)) for number in range(count)]


def wrong(item: Signed) -> Signed:
    return item._replace(message=item.message + b" changed")


@pytest.mark.parametrize("count", [0, 1, 20])
def test_both_verifiers_say_the_same_of_good_and_bad_signatures(
    pki: SamplePki, verifier: ProcessVerifier, count: int
) -> None:
    items = signed(pki, count) + signed(pki, count, agency="hebei-police")
    items[::3] = map(wrong, items[::3])
    expected = [number % 3 != 0 for number in range(2 * count)]
    process = verifier._process
    assert verifier.verify(items) == InlineVerifier().verify(items) == expected
    assert verifier._process is process, "it was the process that answered: nobody had to stand in for it"


def test_another_agencys_signature_does_not_hold(pki: SamplePki, verifier: ProcessVerifier) -> None:
    ours, theirs = signed(pki, 10), signed(pki, 10, agency="hebei-police")
    mixed = [mine._replace(signature=other.signature) for mine, other in zip(ours, theirs, strict=True)]
    assert verifier.verify(mixed) == [False] * 10


FILLING = bytes(256 << 10)
MESSAGES = {b"\x0a\x00" * len(FILLING): False, b"\x12\x80\x80\x10" + FILLING: True, FILLING + bytes(2): False}


@pytest.mark.parametrize("data", MESSAGES)
def test_both_verifiers_say_the_same_of_large_messages(verifier: ProcessVerifier, data: bytes) -> None:
    process = verifier._process
    bounds = (data, {1: ENVELOPE}, 20_000)
    assert verifier.fields_fit(*bounds) is InlineVerifier().fields_fit(*bounds) is MESSAGES[data]
    assert verifier._process is process, "it was the process that answered: nobody had to stand in for it"


def test_large_messages_are_examined_also_when_the_process_has_died(verifier: ProcessVerifier) -> None:
    pid = verifier._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for data, fits in MESSAGES.items():
        assert verifier.fields_fit(data, {1: ENVELOPE}, 20_000) is fits
    assert verifier._process.pid != pid


def test_a_process_that_died_is_missed_by_nobody_and_started_again(pki: SamplePki, verifier: ProcessVerifier) -> None:
    items = signed(pki, 10)
    items[4] = wrong(items[4])
    expected = [number != 4 for number in range(10)]
    pid = verifier._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    verifier._process.join()
    assert verifier.verify(items) == expected
    assert verifier._process.pid != pid
    assert verifier.verify(items) == expected


def test_a_process_that_does_not_answer_is_not_waited_for_for_ever(pki: SamplePki) -> None:
    made = ProcessVerifier(patience_seconds=60)
    assert made.verify(signed(pki, 10)) == [True] * 10
    pid = made._process.pid
    assert pid is not None
    made._patience_seconds = 0.1
    os.kill(pid, signal.SIGSTOP)
    assert made.verify(signed(pki, 10)) == [True] * 10
    assert made._process.pid != pid
    made.close()


def test_a_process_that_takes_no_question_is_not_waited_for_for_ever() -> None:
    """A message of sixteen megabytes is more than the connection holds, so it is still being sent."""
    made = ProcessVerifier()
    pid = made._process.pid
    assert pid is not None
    made._patience_seconds = 0.1
    os.kill(pid, signal.SIGSTOP)
    assert made.fields_fit(b"\x12\x80\x80\x80\x08" + bytes(16 << 20), {1: ENVELOPE}, 20_000)
    assert made._process.pid != pid
    made.close()


def test_whoever_has_few_signatures_does_not_wait_for_a_long_list_of_another(
    pki: SamplePki, verifier: ProcessVerifier
) -> None:
    few = signed(pki, 10)
    pid = verifier._process.pid
    assert pid is not None
    done: list[int] = []

    def ask(items: list[Signed]) -> threading.Thread:
        def check() -> None:
            assert verifier.verify(items) == [True] * len(items)
            done.append(len(items))

        thread = threading.Thread(target=check)
        thread.start()
        return thread

    os.kill(pid, signal.SIGSTOP)
    many = ask(few * 200)
    while not verifier._turn.locked():
        pass
    other = ask(few)
    # It waits behind the one that asks now.
    while not verifier._next.locked():
        pass
    os.kill(pid, signal.SIGCONT)
    other.join()
    many.join()
    assert done == [10, 2000]
    assert verifier._process.pid == pid


def test_a_closed_verifier_still_answers_without_a_process(pki: SamplePki) -> None:
    made = ProcessVerifier()
    made.close()
    assert made.verify(signed(pki, 10)) == [True] * 10
    assert not made._process.is_alive()


def test_a_program_that_forgets_to_close_its_verifier_ends_all_the_same() -> None:
    script = (
        "from broker.trust.verification import ProcessVerifier\n"
        "if __name__ == '__main__':\n"
        "    forgotten = ProcessVerifier()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False, timeout=60)
    assert done.returncode == 0


class Asked:
    """The process's work, done in this process. A thread asks, and ends when it has its answers."""

    def __init__(self, *requests: module._Request) -> None:
        self.answers: list[bytes] = []
        asking, answering = socket.socketpair()

        def ask() -> None:
            for request in requests:
                asking.sendall(pickle.dumps(request))
                self.answers.append(asking.recv(len(request.items), socket.MSG_WAITALL))
            asking.close()

        thread = threading.Thread(target=ask)
        thread.start()
        before = signal.getsignal(signal.SIGINT)
        try:
            module._check_for_ever(answering)
            self.interrupt = signal.getsignal(signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)
            thread.join()


def test_the_process_answers_in_order_until_its_broker_is_gone(pki: SamplePki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_KEYS", 1)
    ours, theirs = signed(pki, 1)[0], signed(pki, 1, agency="hebei-police")[0]
    items = [ours, wrong(ours), theirs]

    def request(*places: int) -> module._Request:
        keys = {7: ours.certificate.public_key_der, 9: theirs.certificate.public_key_der}
        asked = [items[place] for place in places]
        numbered = [(9 if item is theirs else 7, item.message, item.signature) for item in asked]
        return module._Request(keys, numbered)

    asked = Asked(request(0, 1, 2), request(2), request(1, 0))
    assert asked.answers == [b"\1\0\1", b"\1", b"\0\1"]
    # It ignores an interrupt on its terminal: the broker decides when it ends.
    assert asked.interrupt is signal.SIG_IGN


def test_the_process_takes_keys_of_signers_only(pki: SamplePki) -> None:
    signer = signed(pki, 1)[0].certificate
    known: dict[bytes, RecordKey] = {}
    key = module._key(known, signer.public_key_der)
    assert module._key(known, signer.public_key_der) is key
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(CertificateInvalid):
        module._key(known, other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def test_the_process_ends_when_its_broker_is_killed() -> None:
    script = (
        "import sys, time\n"
        "from broker.trust.verification import ProcessVerifier\n"
        "if __name__ == '__main__':\n"
        "    print(ProcessVerifier()._process.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    # A process that stays behind would keep this running until the whole run's time limit.
    while _runs(child):
        pass
    parent.stdout.close()
    assert parent.stdin is not None
    parent.stdin.close()


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
