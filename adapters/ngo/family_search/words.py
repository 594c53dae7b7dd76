"""Words of family-search tables and their meaning: categories, what happened, sex, whether blood was taken."""

from __future__ import annotations

import re
from typing import Final

from caseexchange.records.v1 import case_pb2, common_pb2

CATEGORIES: Final = {
    "家寻宝贝": case_pb2.CASE_KIND_MISSING_CHILD,
    "宝贝寻家": case_pb2.CASE_KIND_UNKNOWN_ORIGIN_CHILD,
    "流浪乞讨": case_pb2.CASE_KIND_VAGRANT_CHILD,
    "其他寻人": case_pb2.CASE_KIND_OTHER_SEARCH,
    "海外寻亲": case_pb2.CASE_KIND_OTHER_SEARCH,
}
"""A family seeks a child; a child, often an adult now, seeks its family; a person lives on the street; other searches;
and searches abroad, for which the table does not say who seeks whom."""
CATEGORY_OF: Final = {
    case_pb2.CASE_KIND_MISSING_CHILD: "家寻宝贝",
    case_pb2.CASE_KIND_UNKNOWN_ORIGIN_CHILD: "宝贝寻家",
    case_pb2.CASE_KIND_RESCUED_CHILD: "宝贝寻家",
    case_pb2.CASE_KIND_VAGRANT_CHILD: "流浪乞讨",
    case_pb2.CASE_KIND_OTHER_SEARCH: "其他寻人",
}
EVENTS: Final = {
    "被拐": case_pb2.EVENT_KIND_ABDUCTED,
    "被拐卖": case_pb2.EVENT_KIND_ABDUCTED,
    "拐卖": case_pb2.EVENT_KIND_ABDUCTED,
    "被拐骗": case_pb2.EVENT_KIND_ABDUCTED,
    "走失": case_pb2.EVENT_KIND_STRAYED,
    "走丢": case_pb2.EVENT_KIND_STRAYED,
    "迷路": case_pb2.EVENT_KIND_STRAYED,
    "遗弃": case_pb2.EVENT_KIND_ABANDONED,
    "被遗弃": case_pb2.EVENT_KIND_ABANDONED,
    "送养": case_pb2.EVENT_KIND_GIVEN_AWAY,
    "被送养": case_pb2.EVENT_KIND_GIVEN_AWAY,
    "离家出走": case_pb2.EVENT_KIND_RAN_AWAY,
    "出走": case_pb2.EVENT_KIND_RAN_AWAY,
}
"""Whole cells only: 被拐或走失 states neither."""
EVENT_WORDS: Final = {kind: word for word, kind in reversed(EVENTS.items()) if word not in {"拐卖", "出走"}}
SEXES: Final = {
    "男": common_pb2.SEX_MALE,
    "女": common_pb2.SEX_FEMALE,
    "男性": common_pb2.SEX_MALE,
    "女性": common_pb2.SEX_FEMALE,
    "男孩": common_pb2.SEX_MALE,
    "女孩": common_pb2.SEX_FEMALE,
}
SEX_WORDS: Final = {common_pb2.SEX_MALE: "男", common_pb2.SEX_FEMALE: "女"}
SAMPLED: Final = frozenset({"已采血", "已采", "已采血样", "采过血", "已入库", "已采血入库", "是", "有"})
NOT_SAMPLED: Final = frozenset({"未采血", "未采", "未采血样", "没有采血", "没采血", "否", "无", "没有"})
UNKNOWN: Final = frozenset({"不详", "未知", "不知道", "不清楚", "无", "无名", "无名氏"})
"""In a cell for a name, these mean that there is no name."""

_MARKS: Final = re.compile(r"[()（）\[\]【】,，、/:：;；\-—\s]")


def category(text: str) -> tuple[case_pb2.CaseKind.ValueType, case_pb2.EventKind.ValueType]:
    """The meaning of a category's cell: 家寻宝贝, 被拐, or both as 家寻宝贝（被拐）. Unspecified: not stated."""
    plain = _MARKS.sub("", text)
    word = next((word for word in CATEGORIES if plain.startswith(word)), "")
    rest = plain.removeprefix(word)
    if rest and rest not in EVENTS:
        return case_pb2.CASE_KIND_UNSPECIFIED, case_pb2.EVENT_KIND_UNSPECIFIED
    return CATEGORIES.get(word, case_pb2.CASE_KIND_UNSPECIFIED), EVENTS.get(rest, case_pb2.EVENT_KIND_UNSPECIFIED)
