from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.core.errors import Internal, LogCorrupt, LogSchemaUnsupported
from broker.core.leasing.ackstate import MAX_BINARY_BYTES, MAX_TEXT_BYTES, AckState, varint_bytes, write_varint

MAX_OFFSET = 2**63 - 1


def text_of(*numbers: int) -> str:
    return urlsafe_b64encode(bytes(numbers)).rstrip(b"=").decode()


@st.composite
def ack_states(draw: st.DrawFn) -> AckState:
    gaps = st.one_of(st.integers(0, 3), st.integers(0, 2**40))
    floor = draw(st.one_of(st.integers(0, 5), st.integers(0, 2**60)))
    done = []
    lowest = floor + 1
    for _ in range(draw(st.integers(0, 8))):
        first = lowest + draw(gaps)
        last = first + draw(gaps)
        done.append((first, last))
        lowest = last + 2
    bare = AckState(floor, tuple(done))
    offsets = draw(st.lists(st.integers(floor, lowest + 10), unique=True, max_size=8))
    counts = st.tuples(st.integers(0, 127), st.integers(0, 3)).filter(any)
    return AckState(
        floor,
        tuple(done),
        tuple((offset, *draw(counts)) for offset in sorted(offsets) if not bare.is_done(offset)),
    )


def test_a_state_s_text_is_as_documented() -> None:
    state = AckState(floor=300, done=((301, 301), (305, 310)), counts=((300, 2, 0), (304, 127, 3)))

    assert state.encode() == text_of(2, 0xAC, 0x02, 2, 0, 0, 2, 5, 2, 0, 2, 0, 3, 127, 3)
    assert AckState.decode(state.encode()) == state


def test_a_new_subscription_s_text_is_short() -> None:
    assert AckState().encode() == "AgAAAA"
    assert AckState.decode("AgAAAA") == AckState()


def test_a_state_of_version_1_is_read_and_its_counts_begin_again() -> None:
    """Nobody knows which of them were lost in company."""
    text = text_of(1, 0xAC, 0x02, 2, 0, 0, 2, 5, 2, 0, 2, 3, 127)

    assert AckState.decode(text) == AckState(floor=300, done=((301, 301), (305, 310)))


@pytest.mark.parametrize("numbers", [(0, 0, 1, 0, 0), (0, 0, 1, 0, 0x80, 0x01), (0, 0, 1, 0, 1, 1)])
def test_a_text_of_version_1_that_was_not_written_by_us_is_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(LogCorrupt):
        AckState.decode(text_of(1, *numbers))


@given(ack_states())
@example(AckState(MAX_OFFSET))
@example(AckState(0, ((1, MAX_OFFSET),), ((0, 127, 3),)))
def test_every_state_comes_back_as_it_was_written(state: AckState) -> None:
    assert AckState.decode(state.encode()) == state


@given(ack_states(), st.integers(0, 50))
def test_a_record_is_done_below_the_floor_and_within_the_ranges(state: AckState, around: int) -> None:
    edges = {state.floor, *(edge for span in state.done for edge in span)}
    for offset in {max(0, edge + around - 25) for edge in edges}:
        naive = offset < state.floor or any(first <= offset <= last for first, last in state.done)
        assert state.is_done(offset) is naive


@pytest.mark.parametrize(
    "parts",
    [
        (-1, (), ()),
        (MAX_OFFSET + 1, (), ()),
        (5, ((5, 6),), ()),
        (5, ((4, 9),), ()),
        (5, ((8, 7),), ()),
        (5, ((7, 8), (9, 10)), ()),
        (5, ((7, 9), (8, 12)), ()),
        (5, ((10, 11), (7, 8)), ()),
        (5, ((7, MAX_OFFSET + 1),), ()),
        (5, (), ((4, 1, 0),)),
        (5, (), ((5, 0, 0),)),
        (5, (), ((5, 128, 0),)),
        (5, (), ((5, -1, 1),)),
        (5, (), ((5, 0, 4),)),
        (5, (), ((5, 1, -1),)),
        (5, (), ((6, 1, 0), (5, 1, 0))),
        (5, (), ((6, 1, 0), (6, 1, 0))),
        (5, ((7, 8),), ((8, 1, 0),)),
        (5, (), ((MAX_OFFSET + 1, 1, 0),)),
    ],
)
def test_parts_that_contradict_each_other_are_no_state(
    parts: tuple[int, tuple[tuple[int, int], ...], tuple[tuple[int, int, int], ...]],
) -> None:
    with pytest.raises(ValueError, match="must"):
        AckState(*parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "Ag",
        "AgAA",
        "AgAAAA==",
        "AgAAAA\n",
        "AgAAAB",
        "AgA AAA",
        "AgA+AA",
        "AgA/AA",
        "例",
        text_of(2, 0, 0, 0, 0),
        text_of(2, 0x80, 0x00, 0, 0),
        text_of(2, *([0xFF] * 9), 0x01, 0, 0),
        text_of(2, *([0x80] * 9)),
        text_of(2, 0, 1, 0),
        text_of(2, 0, 200, 0),
        text_of(2, 0, 0, 1, 0, 0, 0),
        text_of(2, 0, 0, 1, 0, 1),
        text_of(2, 0, 0, 1, 0, 1, 4),
        text_of(2, 0, 0, 1, 0, 0x80, 0x01, 0),
        text_of(2, 0, 1, 0, 5, 1, 3, 1, 0),
        text_of(2, *([0xFF] * 8), 0x7F, 1, 0, 0, 0),
    ],
)
def test_a_text_that_was_not_written_by_us_is_refused(text: str) -> None:
    with pytest.raises(LogCorrupt):
        AckState.decode(text)


@given(ack_states(), st.data())
def test_a_changed_character_is_refused_or_is_another_state(state: AckState, data: st.DataObject) -> None:
    text = state.encode()
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[at])) + text[at + 1 :]
    try:
        other = AckState.decode(changed)
    except (LogCorrupt, LogSchemaUnsupported):
        return
    if urlsafe_b64decode(changed[:2] + "==")[0] == 1:
        # A text of the version before may say the same.
        return
    assert other != state
    assert other.encode() == changed


def test_a_newer_version_s_text_is_not_called_corrupt() -> None:
    with pytest.raises(LogSchemaUnsupported, match="version 3"):
        AckState.decode(text_of(3, 0, 0, 0))


def test_a_text_longer_than_an_offset_commit_holds_is_neither_written_nor_read() -> None:
    # Version, floor and counts take 5 bytes, each range 2 and the last one, because of its wide gap, 3.
    spans = (*((offset, offset) for offset in range(1, 2 * 1532 + 1, 2)), (4000, 4000))
    longest = AckState(0, spans)
    assert len(longest.encode()) == MAX_TEXT_BYTES

    with pytest.raises(Internal) as refusal:
        AckState(0, (*spans, (4002, 4002))).encode()
    assert refusal.value.details == {"binary_bytes": str(MAX_BINARY_BYTES + 2)}
    with pytest.raises(LogCorrupt):
        AckState.decode(longest.encode() + "AAAA")


@given(st.integers(0, MAX_OFFSET), st.integers(0, MAX_OFFSET))
@example(127, 1)
@example(0, 0)
def test_a_varint_s_length_is_known_beforehand_and_subadditive(one: int, other: int) -> None:
    out = bytearray()
    write_varint(out, one)

    assert len(out) == varint_bytes(one)
    assert varint_bytes(one + other) <= varint_bytes(one) + varint_bytes(other)


COUNTS = ((11, 1, 0), (16, 0, 2))
STATE = AckState(10, ((12, 15), (17, 17)), COUNTS)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (9, AckState(9, ((12, 15), (17, 17)), COUNTS)),
        (0, AckState(0, ((1, 9), (12, 15), (17, 17)), COUNTS)),
        (10, STATE),
        (12, AckState(10, ((13, 15), (17, 17)), COUNTS)),
        (13, AckState(10, ((12, 12), (14, 15), (17, 17)), COUNTS)),
        (17, AckState(10, ((12, 15),), COUNTS)),
        (99, STATE),
    ],
)
def test_a_record_that_is_reopened_is_not_done_and_every_other_is_as_before(offset: int, expected: AckState) -> None:
    assert STATE.reopened(offset) == expected
    assert not STATE.reopened(offset).is_done(offset)
    others = [each for each in range(30) if each != offset]
    assert [STATE.reopened(offset).is_done(each) for each in others] == [STATE.is_done(each) for each in others]
