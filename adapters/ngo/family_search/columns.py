"""The columns of family-search tables, with all of their labels, and the place of each in a record.

The labels are those in exports of the 宝贝回家 site's records by public programs. They use several names for one thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.ngo.family_search.words import (
    CATEGORY_OF,
    EVENT_WORDS,
    EVENTS,
    NOT_SAMPLED,
    SAMPLED,
    SEX_WORDS,
    SEXES,
    UNKNOWN,
    category,
)
from adapters.values.chinese_dates import MESSAGES, date_words, read_date
from adapters.values.measures import parse_height
from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

VOLUNTEER: Final = "跟进志愿者"
STATION: Final = "站务"


class Column(NamedTuple):
    """One column: the label that is written, other labels that are read, and how a cell goes into a record and back.

    ``read`` returns a warning's code, or "".
    """

    label: str
    variants: tuple[str, ...]
    read: Callable[[case_pb2.CaseRecord, str], str]
    write: Callable[[case_pb2.CaseRecord], str]
    is_date: bool = False


def _read_category(record: case_pb2.CaseRecord, cell: str) -> str:
    kind, event = category(cell)
    record.kind = kind or case_pb2.CASE_KIND_OTHER_SEARCH
    record.event = record.event or event
    if kind:
        return ""
    return "CATEGORY_NOT_STATED" if event else "CATEGORY_UNKNOWN"


def _read_event(record: case_pb2.CaseRecord, cell: str) -> str:
    event = EVENTS.get(cell, case_pb2.EVENT_KIND_UNSPECIFIED)
    if not event:
        return "EVENT_UNKNOWN"
    contradiction = record.event and record.event != event
    record.event = event
    return "EVENT_CONTRADICTION" if contradiction else ""


def _read_sex(record: case_pb2.CaseRecord, cell: str) -> str:
    record.sex = SEXES.get(cell, common_pb2.SEX_UNSPECIFIED)
    return "" if record.sex else "SEX_UNKNOWN"


def _read_blood(record: case_pb2.CaseRecord, cell: str) -> str:
    record.blood_sampled = cell in SAMPLED
    return "" if cell in SAMPLED | NOT_SAMPLED else "BLOOD_NOT_READ"


def _read_height(record: case_pb2.CaseRecord, cell: str) -> str:
    reading = parse_height(cell)
    record.height.CopyFrom(reading.measure)
    return reading.code


def _write_height(record: case_pb2.CaseRecord) -> str:
    height = record.height
    last = f"-{height.value_max:g}" if height.value_max else ""
    return height.original_text or (f"{height.value:g}{last}{height.unit}" if height.value else "")


def _read_name(record: case_pb2.CaseRecord, cell: str) -> str:
    if cell not in UNKNOWN:
        record.names.add(kind=common_pb2.NAME_KIND_LEGAL, full=cell)
    return ""


def _read_feature(record: case_pb2.CaseRecord, cell: str) -> str:
    record.features.add(kind=common_pb2.FEATURE_KIND_BODY, text=cell)
    return ""


def _text(label: str, variants: tuple[str, ...], field: str) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        setattr(record, field, cell)
        return ""

    return Column(label, variants, read, lambda record: str(getattr(record, field)))


def _date(label: str, variants: tuple[str, ...], field: str) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        date, code = read_date(cell)
        getattr(record, field).CopyFrom(date)
        return code

    return Column(label, variants, read, lambda record: date_words(getattr(record, field)), is_date=True)


def _place(label: str, variants: tuple[str, ...], field: str) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        getattr(record, field).text = cell
        return ""

    return Column(label, variants, read, lambda record: str(getattr(record, field).text))


def _contact(label: str, variants: tuple[str, ...], relation: str, field: str) -> Column:
    def read(record: case_pb2.CaseRecord, cell: str) -> str:
        setattr(record.contacts.add(relation=relation), field, cell)
        return ""

    def write(record: case_pb2.CaseRecord) -> str:
        return next((str(getattr(item, field)) for item in record.contacts if item.relation == relation), "")

    return Column(label, variants, read, write)


NUMBER: Final = "寻亲编号"
CATEGORY: Final = "寻亲类别"
COLUMNS: Final = (
    Column(CATEGORY, ("类别",), _read_category, lambda record: CATEGORY_OF.get(record.kind, "")),
    _text(NUMBER, ("宝贝回家编号", "编号"), "local_id"),
    Column(
        "姓名",
        ("失踪人姓名", "失踪者姓名"),
        _read_name,
        lambda record: next((name.full for name in record.names if name.kind == common_pb2.NAME_KIND_LEGAL), ""),
    ),
    Column("性别", (), _read_sex, lambda record: SEX_WORDS.get(record.sex, "")),
    _date("出生日期", ("出生时间", "出生年月"), "birth"),
    Column("失踪时身高", ("身高",), _read_height, _write_height),
    _date("失踪时间", ("失踪日期",), "event_date"),
    _place("失踪人所在地", ("失踪人户籍所在地", "失踪者户籍所在地", "失踪人所在省", "籍贯"), "household"),
    _place("失踪地点", ("失踪地址", "地址"), "event_place"),
    Column(
        "寻亲者特征描述",
        ("失踪者特征描述", "特征描述"),
        _read_feature,
        lambda record: next((item.text for item in record.features if item.kind == common_pb2.FEATURE_KIND_BODY), ""),
    ),
    _text("其他资料", ("其他情况", "共同经历资料", "其他情况/共同经历资料"), "narrative"),
    Column(
        "失踪类型",
        ("失踪原因", "失踪性质", "事件类型"),
        _read_event,
        lambda record: EVENT_WORDS.get(record.event, ""),
    ),
    Column("采血情况", (), _read_blood, lambda record: "已采血" if record.blood_sampled else ""),
    _contact(VOLUNTEER, ("志愿者",), VOLUNTEER, "name"),
    _contact("站务电话", (), STATION, "phone"),
)
REGISTERED: Final = "注册时间"
"""When the search was registered. A record has no field for it, so it is kept as unmapped."""
HEADER: Final = (*(column.label for column in COLUMNS), REGISTERED)
BY_LABEL: Final = {label: column for column in COLUMNS for label in (column.label, *column.variants)}
WARNINGS: Final = {
    **MESSAGES,
    "CATEGORY_NOT_STATED": "the row does not say who searches for whom; it is read as another search",
    "CATEGORY_UNKNOWN": "the category is not known here; it is read as another search, and the text is kept",
    "EVENT_UNKNOWN": "the kind of event is not known here; the text is kept",
    "EVENT_CONTRADICTION": "the category names another kind of event; that one is not used",
    "SEX_UNKNOWN": "not 男 or 女; the text is kept",
    "BLOOD_NOT_READ": "the text does not say whether a sample was taken; it is kept",
    "HEIGHT_APPROXIMATE": "the text calls the height approximate; it is read, and the text is kept",
    "HEIGHT_IMPLAUSIBLE": "too large or too small for a person; the text is kept",
    "HEIGHT_NOT_READ": "not a number with a unit that is known here; the text is kept",
    "HEIGHT_UNIT_MISSING": "a number without a unit; the text is kept and no unit is guessed",
}
"""The message of a warning, by its code."""
