from __future__ import annotations

import grpc
import pytest

from broker.core import errors
from broker.core.errors import CaseExchangeError, all_errors
from broker.wire.status import (
    DETAILS_KEY,
    error_from_call,
    refusal_from,
    refusal_to,
    status_details,
    status_of,
)

CLASSES = [error for error in all_errors() if "reason" in vars(error) or error is errors.Internal]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_comes_through_a_call_as_itself(kind: type[CaseExchangeError]) -> None:
    error = kind("what is wrong", record_id="01990000")
    back = error_from_call(status_of(kind), error.message, [(DETAILS_KEY, status_details(error))])
    assert (back.reason, back.retriable) == (kind.reason, kind.retriable)
    assert (back.message, back.details) == ("what is wrong", {"record_id": "01990000"})


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_comes_through_a_batch_as_itself(kind: type[CaseExchangeError]) -> None:
    back = refusal_from(refusal_to(kind("what is wrong", record_id="01990000")))
    assert (back.reason, back.message, back.details) == (kind.reason, "what is wrong", {"record_id": "01990000"})


def test_a_retriable_error_never_travels_as_one_that_is_not() -> None:
    final = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}
    assert not [kind for kind in CLASSES if kind.retriable and status_of(kind) in final]


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "connection refused", errors.ConnectionFailed),
        (grpc.StatusCode.UNAVAILABLE, "Ssl handshake failed", errors.HandshakeRefused),
        (grpc.StatusCode.UNAVAILABLE, "Handshake read failed (Socket closed)", errors.ConnectionFailed),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", errors.Unavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many", errors.Overloaded),
        (grpc.StatusCode.INTERNAL, "Internal error from Core", errors.ConnectionFailed),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", errors.ConnectionFailed),
        (grpc.StatusCode.UNKNOWN, "Stream removed", errors.ConnectionFailed),
        (grpc.StatusCode.UNIMPLEMENTED, "", errors.Internal),
    ],
)
def test_a_status_without_a_reason_becomes_the_error_that_fits(
    code: grpc.StatusCode, text: str, expected: type[CaseExchangeError]
) -> None:
    assert type(error_from_call(code, text, [])) is expected


def test_a_broker_that_does_not_answer_in_time_is_told_in_plain_words() -> None:
    back = error_from_call(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", [])
    assert back.message == "no broker answered in time"


def test_a_reason_that_is_unknown_here_keeps_its_words_and_its_nature() -> None:
    details = status_details(errors.LogFull("new words")).replace(b"LOG_FULL", b"NEW_ONES")
    back = error_from_call(grpc.StatusCode.UNAVAILABLE, "new words", [(DETAILS_KEY, details)])
    assert back.retriable
    assert back.message == "new words"


def test_what_a_peer_says_is_bounded_and_of_one_line() -> None:
    back = error_from_call(grpc.StatusCode.INVALID_ARGUMENT, "a\nb" * 1000, [])
    assert len(back.message) == 300
    assert "\n" not in back.message


def test_details_that_are_garbage_are_passed_over() -> None:
    back = error_from_call(grpc.StatusCode.NOT_FOUND, "text", [(DETAILS_KEY, b"\xff\xff")])
    assert isinstance(back, errors.InputRefused)
