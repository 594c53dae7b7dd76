from __future__ import annotations

import json

import pytest
import structlog

from broker import telemetry


@pytest.fixture(autouse=True)
def _as_it_was() -> object:
    yield
    structlog.reset_defaults()


def line(capsys: pytest.CaptureFixture[str], **fields: object) -> dict[str, object]:
    telemetry.configure("info")
    structlog.get_logger("test").info("something happened", **fields)
    found: dict[str, object] = json.loads(capsys.readouterr().err)
    return found


def test_a_line_is_json_with_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    found = line(capsys, record_id="01990000", count=3)
    assert (found["event"], found["record_id"], found["count"]) == ("something happened", "01990000", 3)


@pytest.mark.parametrize(
    "fields",
    [{"name": "测试儿童甲"}, {"record_id": b"bytes"}, {"record_id": {"name": "测试儿童甲"}}, {"envelope": object()}],
    ids=["field", "bytes", "nested", "object"],
)
def test_what_is_not_allowed_is_left_out_and_counted(
    capsys: pytest.CaptureFixture[str], fields: dict[str, object]
) -> None:
    found = line(capsys, **fields)
    assert found["fields_dropped"] == 1
    assert not set(found) & {"name", "record_id", "envelope"}


def test_a_text_is_cut_and_kept_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = line(capsys, reason="a\nb" * 1000)
    assert len(str(found["reason"])) == telemetry.MAX_CHARACTERS
    assert "\n" not in str(found["reason"])
