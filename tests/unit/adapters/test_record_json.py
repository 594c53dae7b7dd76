"""What a stranger's record-json can hold, and what becomes of it."""

from __future__ import annotations

import json

import pytest

from adapters.base import Limits, Source
from adapters.record_json import ADAPTER

TIP = {"kind": "Tip", "caseReference": "SYN-1", "record": {"text": "seen"}}


def codes(*items: str) -> tuple[int, list[str]]:
    content = f'{{"records": [{",".join(items)}]}}'.encode()
    decoded = ADAPTER.decode(Source(content), Limits())
    return len(decoded.records), [issue.code for issue in decoded.issues]


@pytest.mark.parametrize("kind", ["[]", "{}", "null", "1", "[[]]"])
def test_a_kind_that_is_no_text_is_unknown_and_the_next_record_is_read(kind: str) -> None:
    assert codes(f'{{"kind": {kind}, "record": {{}}}}', json.dumps(TIP)) == (1, ["KIND_UNKNOWN"])


@pytest.mark.parametrize("value", ["1e999", "-1e999", '"\\ud800"', "NaN"])
@pytest.mark.parametrize("field", ["kind", "eventDate"])
def test_numbers_without_end_and_halves_of_characters_cost_their_record_only(field: str, value: str) -> None:
    item = f'{{"kind": "CaseRecord", "caseReference": "a", "record": {{"{field}": {value}}}}}'
    assert codes(item, json.dumps(TIP)) == (1, ["RECORD_MALFORMED"])


def test_a_case_reference_of_half_a_character_is_refused() -> None:
    assert codes(json.dumps({**TIP, "caseReference": "\ud800"})) == (0, ["RECORD_MALFORMED"])


def test_a_case_reference_that_is_no_text_is_told_of() -> None:
    assert codes(json.dumps({**TIP, "caseReference": 5})) == (0, ["REFERENCE_MALFORMED"])


def test_more_values_than_memory_has_room_for_are_refused_unread() -> None:
    assert codes("[]," * 1_400_000 + "[]," * 1_400_000 + "1") == (0, ["JSON_TOO_MANY_VALUES"])
