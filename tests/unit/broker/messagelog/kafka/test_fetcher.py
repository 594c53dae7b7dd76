"""Fetch sessions: what is told to a node, and when all of it is told again. And which records a batch gives."""

from __future__ import annotations

from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import CorruptRecordError, FetchSessionIdNotFoundError, UnknownError
from kafka.protocol.consumer import FetchResponse
from kafka.record import MemoryRecords

from broker.core.streams import StreamPartition
from broker.messagelog.kafka.fetcher import Fetched, Record, _Place, _Session
from tests.support.batches import batch

A, B = TopicPartition("cases", 0), TopicPartition("cases", 1)
CASES_0 = StreamPartition("cases", 0)


def told(request: Any) -> tuple[int, int, dict[int, int], list[int]]:
    """The session and its epoch, the offsets that a request names, and the partitions that it takes back."""
    places = {each.partition: each.fetch_offset for topic in request.topics for each in topic.partitions}
    gone = [partition for topic in request.forgotten_topics_data for partition in topic.partitions]
    return request.session_id, request.session_epoch, places, gone


def epochs(request: Any) -> dict[int, tuple[int, int]]:
    """The epochs that a request names: of the node that is asked, and of what was read before."""
    return {
        each.partition: (each.current_leader_epoch, each.last_fetched_epoch)
        for topic in request.topics
        for each in topic.partitions
    }


def answer(session_id: int, error: int = 0) -> Any:
    return FetchResponse(session_id=session_id, error_code=error, responses=[])


def test_a_session_begins_with_all_places_and_then_names_only_what_changed() -> None:
    session = _Session()
    assert told(session.request({A: _Place(5), B: _Place(0)})) == (0, 0, {0: 5, 1: 0}, [])
    assert session.answered(answer(7))
    assert told(session.request({A: _Place(6, 1), B: _Place(0)})) == (7, 1, {0: 6}, [])
    assert session.answered(answer(7))
    assert told(session.request({A: _Place(6, 1)})) == (7, 2, {}, [1])


def test_a_node_is_told_of_another_epoch_though_the_offset_stays() -> None:
    session = _Session()
    request = session.request({A: _Place(5, read_epoch=1, epoch=2), B: _Place(0, epoch=4)})
    assert epochs(request) == {0: (2, 1), 1: (4, -1)}
    session.answered(answer(7))
    # It lost the partition and leads it again.
    assert epochs(session.request({A: _Place(5, read_epoch=1, epoch=3), B: _Place(0, epoch=4)})) == {0: (3, 1)}


def test_a_session_that_the_node_has_forgotten_begins_again_with_all_places() -> None:
    session = _Session()
    session.request({A: _Place(5), B: _Place(0)})
    session.answered(answer(7))
    session.request({A: _Place(5), B: _Place(0)})
    assert not session.answered(answer(0, FetchSessionIdNotFoundError.errno))
    assert told(session.request({A: _Place(5), B: _Place(0)})) == (0, 0, {0: 5, 1: 0}, [])


def test_a_node_that_keeps_no_session_is_told_all_places_each_time() -> None:
    session = _Session()
    for _ in range(2):
        assert told(session.request({A: _Place(5)})) == (0, 0, {0: 5}, [])
        assert session.answered(answer(0))


def test_any_other_error_of_a_whole_answer_is_raised() -> None:
    session = _Session()
    session.request({A: _Place(5)})
    with pytest.raises(UnknownError):
        session.answered(answer(7, UnknownError.errno))


def fetched(data: bytes | bytearray) -> Fetched:
    batches = list(MemoryRecords(bytes(data)))
    return Fetched(CASES_0, batches, len(data), batches[-1].next_offset)


def test_a_batch_gives_its_records() -> None:
    assert list(fetched(batch((b"value", []))).records()) == [Record(0, 1_000, None, b"value", [], batches_epoch())]


def batches_epoch() -> int:
    """The leader epoch of a batch that no leader has taken yet."""
    return int(next(MemoryRecords(bytes(batch((b"", []))))).leader_epoch)


def test_a_batch_that_the_disk_has_damaged_is_named() -> None:
    data = batch((b"value", []))
    data[-3] ^= 1
    with pytest.raises(CorruptRecordError):
        list(fetched(data).records())
