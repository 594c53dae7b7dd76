"""Verify a delivery and put its record together, so that a defect stays within its record."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import structlog

from adapters.edge.routing import not_obeyed
from adapters.records.sections import join
from adapters.records.validate import validate
from broker.core.audit.received import ReceivedCopy
from broker.core.errors import AdapterFailed, CaseExchangeError, RecordInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapters.base import Record
    from adapters.edge.edge import Edge
    from adapters.edge.spool import Spool
    from broker.client.subscriber import Delivered
    from broker.client.verifying import VerifiedRecord

_log = structlog.get_logger("adapters.edge.opening")


class Opened(NamedTuple):
    """A delivered record with a valid signature, and its message. ``not_obeyed``: see ``Delivery``."""

    verified: VerifiedRecord
    record: Record
    not_obeyed: str


async def open_delivery(edge: Edge, delivered: Delivered) -> Opened:
    """Verify a delivery and put its record together.

    Raises:
        Unavailable, SpoolUnavailable, SetupInvalid, OSError: it has to wait.
        SealKeyMissing: it has to wait, if the key can come.
        CaseExchangeError: it can never be used.
    """
    with contained(OSError):
        if delivered.fault is not None:
            raise delivered.fault
        verified = await edge.verify(delivered)
        return await asyncio.to_thread(
            _opened, verified, received_copy(edge, delivered, verified.body.record_id), edge.spool
        )


@contextlib.contextmanager
def contained(*passing: type[Exception]) -> Iterator[None]:
    """Limit a defect to one record: every other exception inside becomes a typed error.

    Args:
        passing: types of exceptions that are not changed, because the record did not cause them.

    Raises:
        AdapterFailed: an exception was raised inside that is neither in ``passing`` nor a CaseExchangeError. The
            message gives only its type, because its text may quote the record.
    """
    try:
        yield
    except Exception as defect:
        if isinstance(defect, (CaseExchangeError, *passing)):
            raise
        message = f"the program failed on this record: {type(defect).__name__}"
        raise AdapterFailed(message) from defect


def received_copy(edge: Edge, delivered: Delivered, record_id: str) -> ReceivedCopy:
    """What the spool keeps of a delivery: which record it was, and which sections were in it."""
    sections = tuple(section.name for section in delivered.envelope.sections)
    digest = delivered.envelope.record_sha256
    return ReceivedCopy(record_id, digest, delivered.position, edge.clock.now_ms(), sections)


def _opened(verified: VerifiedRecord, copy: ReceivedCopy, spool: Spool) -> Opened:
    body, record = verified.body, _record(verified)
    found = not_obeyed(record, verified, spool)
    with spool.transaction():
        spool.numbers.add_original(body.original_id, body.kind, body.case_id, body.publisher)
        spool.newer.add_opened(body, verified.record_sha256)
        spool.newer.add_word(record, body, verified.corrects_of_others)
        spool.received.add(copy)
    if found:
        _log.warning("a correction or closure is not obeyed", record_id=body.record_id, reason=found)
    return Opened(verified, record, found)


def _record(verified: VerifiedRecord) -> Record:
    record = join(verified.body.kind, verified.sections)
    codes = [issue.code for issue in validate(record, verified.withheld_sections) if issue.refuses]
    if codes:
        message = ",".join(codes)
        raise RecordInvalid(message)
    return record
