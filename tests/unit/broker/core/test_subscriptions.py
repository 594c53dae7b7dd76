from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import InputRefused
from broker.core.leasing.ackstate import AckState
from broker.core.streams import StreamPartition
from broker.core.subscriptions import (
    EARLIEST,
    Generation,
    KindsStart,
    KindStart,
    Stage,
    StartPoint,
    has_effect,
    stages,
    undone,
)

DNA_0, DNA_1, CASES_0 = StreamPartition("dna", 0), StreamPartition("dna", 1), StreamPartition("cases", 0)
SAMPLE, PROFILE, CLOSURE = "SampleRequest", "StrProfile", "Closure"
OFFSETS = st.integers(0, 30)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("earliest", EARLIEST),
        ("latest", StartPoint(latest=True)),
        ("1970-01-01T08:00:01+08:00", StartPoint(time_ms=1000)),
        ("1970-01-01T00:00:00.250Z", StartPoint(time_ms=250)),
    ],
)
def test_a_start_is_read_and_written(text: str, start: StartPoint) -> None:
    assert StartPoint.parse(text) == start
    assert StartPoint.parse(str(start)) == start


@pytest.mark.parametrize(
    "text", ["", "now", "2026-01-31", "2026-01-31T08:00:00", "1969-12-31T23:59:59+00:00", "Latest", "latest "]
)
def test_what_is_no_start_is_refused(text: str) -> None:
    with pytest.raises(InputRefused):
        StartPoint.parse(text)


def test_each_kind_begins_in_the_partitions_of_its_streams() -> None:
    starts = (KindsStart(DNA_0, (SAMPLE,), 7), KindsStart(CASES_0, (CLOSURE,), 3))
    generation = Generation(2, 9, starts)
    kinds = (SAMPLE, PROFILE, CLOSURE)
    assert generation.starts_in(DNA_0, kinds) == [KindStart(PROFILE, 0), KindStart(SAMPLE, 7)]
    assert generation.starts_in(DNA_1, kinds) == [KindStart(SAMPLE, 0), KindStart(PROFILE, 0)]
    assert generation.starts_in(CASES_0, kinds) == [KindStart(CLOSURE, 3)]
    assert generation.begin(DNA_0, kinds) == AckState()
    assert generation.begin(DNA_0, [SAMPLE]) == AckState(7)
    assert generation.begin(CASES_0, kinds) == AckState(3)


def test_what_is_wanted_where_from_an_offset_on() -> None:
    starts = [KindStart(PROFILE, 2), KindStart(SAMPLE, 7)]
    assert stages(starts, 0) == [Stage(2, 7, frozenset({PROFILE})), Stage(7, None, frozenset({PROFILE, SAMPLE}))]
    assert stages(starts, 4) == [Stage(4, 7, frozenset({PROFILE})), Stage(7, None, frozenset({PROFILE, SAMPLE}))]
    assert stages(starts, 9) == [Stage(9, None, frozenset({PROFILE, SAMPLE}))]


@given(OFFSETS, OFFSETS, OFFSETS)
def test_an_offset_is_in_the_stage_that_wants_exactly_its_kinds(sample: int, profile: int, begin: int) -> None:
    starts = sorted([KindStart(SAMPLE, sample), KindStart(PROFILE, profile)], key=lambda start: start.offset)
    found = stages(starts, begin)
    for offset in range(40):
        wanted = {start.kind for start in starts if start.offset <= offset} if offset >= begin else set()
        here = [stage for stage in found if stage.first <= offset and (stage.end is None or offset < stage.end)]
        assert [set(stage.kinds) for stage in here] == ([wanted] if wanted else [])


@given(OFFSETS, st.sets(st.integers(0, 30)), OFFSETS, OFFSETS, st.one_of(st.none(), OFFSETS))
def test_undone_is_exactly_what_the_state_does_not_call_done(
    floor: int, finished: set[int], end: int, first: int, last: int | None
) -> None:
    state = AckState(floor)
    above = sorted(offset for offset in finished if offset > floor)
    spans: list[tuple[int, int]] = []
    for offset in above:
        if spans and spans[-1][1] + 1 == offset:
            spans[-1] = (spans[-1][0], offset)
        else:
            spans.append((offset, offset))
    state = AckState(floor, tuple(spans))
    found = [offset for each in undone(state, Stage(first, last, frozenset({SAMPLE})), end) for offset in each]
    assert found == [
        offset
        for offset in range(40)
        if first <= offset < end and (last is None or offset < last) and not state.is_done(offset)
    ]


@pytest.mark.parametrize(
    ("number", "before", "counts"), [(0, None, True), (3, None, True), (1, 0, True), (1, 1, False), (0, 1, False)]
)
def test_the_first_order_of_a_number_counts_and_none_that_is_late(
    number: int, before: int | None, *, counts: bool
) -> None:
    assert has_effect(number, before) is counts
