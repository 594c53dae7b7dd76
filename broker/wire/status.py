"""The table between the error tree and gRPC, for both directions.

A refused call ends with a status. Its details contain ``google.rpc.ErrorInfo``: ``reason`` names the class, and
``metadata`` has its details. An exceeded quota adds ``google.rpc.RetryInfo``. A refused record of a batch has the same
facts in a ``Refusal``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from broker.core import errors
from broker.core.errors import CaseExchangeError, all_errors
from caseexchange.broker.v1 import publisher_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.message import Message

ERROR_DOMAIN: Final = "case-exchange"
DETAILS_KEY: Final = "grpc-status-details-bin"
RETRY_AFTER_MS: Final = "retry_after_ms"
"""The detail of an error that says when to try again. It is also sent as ``google.rpc.RetryInfo``."""
MAX_DETAIL_CHARACTERS: Final = 300
"""The limit for a peer's text in an error, because it goes to logs and terminals."""

_Code = grpc.StatusCode

STATUS_OF: Final[dict[type[CaseExchangeError], grpc.StatusCode]] = {
    CaseExchangeError: _Code.INTERNAL,
    errors.InputRefused: _Code.INVALID_ARGUMENT,
    errors.PositionUnknown: _Code.NOT_FOUND,
    errors.DeadLetterUnknown: _Code.NOT_FOUND,
    errors.SubscriptionUnknown: _Code.NOT_FOUND,
    errors.SubscriptionInUse: _Code.FAILED_PRECONDITION,
    errors.RecordUnknown: _Code.NOT_FOUND,
    errors.RecordNotWaiting: _Code.FAILED_PRECONDITION,
    errors.IssuedInFuture: _Code.FAILED_PRECONDITION,
    errors.RecordExpired: _Code.FAILED_PRECONDITION,
    errors.IdentityRefused: _Code.UNAUTHENTICATED,
    errors.PeerUnknown: _Code.PERMISSION_DENIED,
    errors.RightDenied: _Code.PERMISSION_DENIED,
    errors.SignatureRefused: _Code.PERMISSION_DENIED,
    errors.RecordIdConflict: _Code.ALREADY_EXISTS,
    errors.LeaseLost: _Code.FAILED_PRECONDITION,
    errors.Unavailable: _Code.UNAVAILABLE,
    errors.LogFull: _Code.RESOURCE_EXHAUSTED,
    errors.Overloaded: _Code.RESOURCE_EXHAUSTED,
    errors.LogCorrupt: _Code.DATA_LOSS,
    errors.LogRolledBack: _Code.DATA_LOSS,
}
"""The status of a class. A class that is not listed has the status of its nearest listed ancestor."""

_WITHOUT_REASON: Final[dict[grpc.StatusCode, type[CaseExchangeError]]] = {
    _Code.INVALID_ARGUMENT: errors.InputRefused,
    _Code.OUT_OF_RANGE: errors.InputRefused,
    _Code.NOT_FOUND: errors.InputRefused,
    _Code.FAILED_PRECONDITION: errors.InputRefused,
    _Code.UNAUTHENTICATED: errors.IdentityRefused,
    _Code.PERMISSION_DENIED: errors.RightDenied,
    _Code.RESOURCE_EXHAUSTED: errors.Overloaded,
    _Code.UNAVAILABLE: errors.ConnectionFailed,
    _Code.CANCELLED: errors.ConnectionFailed,
    # A broker always states a reason. Without one they are gRPC's own words for a connection that broke in the middle.
    _Code.INTERNAL: errors.ConnectionFailed,
    _Code.UNKNOWN: errors.ConnectionFailed,
    _Code.DEADLINE_EXCEEDED: errors.Unavailable,
}
_HANDSHAKE: Final = ("ssl", "tls", "certificate")
"""Words in the error of a refused handshake. After one that was only interrupted, the caller tries again."""


def status_of(error: type[CaseExchangeError]) -> grpc.StatusCode:
    """The gRPC status of a class."""
    return next(STATUS_OF[ancestor] for ancestor in error.__mro__ if ancestor in STATUS_OF)


def as_told(error: CaseExchangeError) -> CaseExchangeError:
    """The error as callers are told it: a fault of the exchange's own keys is not theirs to mend. No token is named."""
    if isinstance(error, errors.HardwareKeyUnavailable):
        return errors.Unavailable("the exchange cannot use one of its own keys now; its operator is told which")
    return error


def status_details(error: CaseExchangeError) -> bytes:
    """The serialised ``google.rpc.Status`` that describes this error to a caller."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.details)
    details: list[Message] = [info]
    if RETRY_AFTER_MS in error.details:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(error.details[RETRY_AFTER_MS]))
        details.append(retry)
    # grpc.StatusCode's values are pairs of number and name.
    number = status_of(type(error)).value[0]
    status = status_pb2.Status(code=number, message=error.message)
    for detail in details:
        status.details.add().Pack(detail)
    serialised: bytes = status.SerializeToString()
    return serialised


def error_from_call(
    code: grpc.StatusCode, message: str | None, trailing_metadata: Iterable[tuple[str, str | bytes]]
) -> CaseExchangeError:
    """The error of a failed call, as exactly as the peer stated it.

    Args:
        code: the call's status.
        message: the call's status message.
        trailing_metadata: pairs of key and value, which may include the details.
    """
    for key, value in trailing_metadata:
        if key == DETAILS_KEY and isinstance(value, bytes):
            info = _error_info(value)
            if info is not None:
                return _known(info.reason, code)(_short(message or ""), **dict(info.metadata))
    text = (message or "").lower()
    if code is _Code.UNAVAILABLE and any(word in text for word in _HANDSHAKE):
        return errors.HandshakeRefused("the TLS handshake failed: one side does not accept the other's certificate")
    kind = _WITHOUT_REASON.get(code, errors.Internal)
    if kind is errors.ConnectionFailed:
        return kind("no broker answered, or the connection broke")
    if code is _Code.DEADLINE_EXCEEDED:
        return kind("no broker answered in time")
    return kind(_short(message or f"the call failed with {code.name}"))


def refusal_to(error: CaseExchangeError) -> publisher_pb2.Refusal:
    """Write the refusal of one record."""
    return publisher_pb2.Refusal(
        reason=error.reason, message=error.message, retriable=error.retriable, details=error.details
    )


def refusal_from(message: publisher_pb2.Refusal) -> CaseExchangeError:
    """Read the refusal of one record."""
    unknown = _Code.UNAVAILABLE if message.retriable else _Code.INVALID_ARGUMENT
    return _known(message.reason, unknown)(_short(message.message), **dict(message.details))


def _known(reason: str, code: grpc.StatusCode) -> type[CaseExchangeError]:
    """The class of a reason. If only a newer broker knows the reason, the class that fits the status."""
    by_reason: Sequence[type[CaseExchangeError]] = [kind for kind in all_errors() if kind.reason == reason]
    # The tree is walked from the root down, and a child without its own reason inherits its parent's.
    return by_reason[0] if by_reason else _WITHOUT_REASON.get(code, errors.Internal)


def _error_info(details: bytes) -> error_details_pb2.ErrorInfo | None:
    status = status_pb2.Status()
    info = error_details_pb2.ErrorInfo()
    try:
        status.ParseFromString(details)
    except DecodeError:
        return None
    for packed in status.details:
        if packed.Unpack(info) and info.domain == ERROR_DOMAIN:
            return info
    return None


def _short(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_DETAIL_CHARACTERS])
