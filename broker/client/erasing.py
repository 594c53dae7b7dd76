"""Have sections of an own record erased from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.client.connection import typed_errors
from broker.wire.receipts import position_from
from caseexchange.broker.v1 import publisher_pb2, publisher_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

    from broker.core.streams import Position

_SECONDS: Final = 120.0
"""Longest wait for an answer. The broker may wait for other programs that read its log."""


class Erased(NamedTuple):
    """Sections are gone from the log: of the record at ``position``. Whether all had been ordered before."""

    position: Position
    ordered_before: bool


async def erase_sections(channel: grpc.aio.Channel, record_id: str, sections: Sequence[str], code: str) -> Erased:
    """Erase sections of a record that the channel's agency published. It is safe to repeat the call after a failure.

    Args:
        channel: to the broker.
        record_id: the record.
        sections: the names of the sections.
        code: why: a capital letter, then at most 63 capital letters, digits and underscores. Auditors read it.

    Raises:
        ErasureUnsupported: the log is on Kafka.
        RecordUnknown, RightDenied: another agency published it.
        CaseExchangeError: the broker refused for another reason, or did not answer.
    """
    request = publisher_pb2.EraseSectionsRequest(record_id=record_id, sections=sections, code=code)
    with typed_errors():
        response = await publisher_pb2_grpc.PublisherServiceStub(channel).EraseSections(request, timeout=_SECONDS)
    return Erased(position_from(response.position), response.ordered_before)
