"""Code tables of police exports, and the type for a doubt about a cell.

Sources: GB/T 2261.1-2003 (sex), GB/T 3304-1991 (ethnic groups). The numbers of AJLB, YBJS and SZYY are this exchange's
own. GB/T 2260 and GA/T 380 are in divisions.py, GB 11643 in resident_id.py.
A doubtful code is a warning, never a rejection: a rescued child's papers may be forged, and divisions are abolished.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from adapters.base import Severity
from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2

RESIDENT_ID: Final = "GB 11643"
ETHNICITY: Final = "GB/T 3304"
DIVISION: Final = "GB/T 2260"
ORGAN: Final = "GA/T 380"
DOCUMENT: Final = "GA/T 517"
DRIVING_LICENCE: Final = "335"
RESIDENT_CARD: Final = "111"


class Doubt(NamedTuple):
    """A doubt about a cell. ``unread``: no field holds the cell, so it is kept as unmapped."""

    code: str
    message: str
    unread: bool = False
    severity: Severity = Severity.WARN


SEX_OF: Final = {
    "0": common_pb2.SEX_UNSPECIFIED,
    "1": common_pb2.SEX_MALE,
    "2": common_pb2.SEX_FEMALE,
    "9": common_pb2.SEX_OTHER,
}
SEX_NAMES: Final = {"0": "未知的性别", "1": "男性", "2": "女性", "9": "未说明的性别"}
KIND_OF: Final = {
    "1": case_pb2.CASE_KIND_RESCUED_CHILD,
    "2": case_pb2.CASE_KIND_MISSING_CHILD,
    "3": case_pb2.CASE_KIND_UNKNOWN_ORIGIN_CHILD,
    "4": case_pb2.CASE_KIND_VAGRANT_CHILD,
    "5": case_pb2.CASE_KIND_SEEKING_PARENT,
    "9": case_pb2.CASE_KIND_OTHER_SEARCH,
}
"""The column AJLB: this exchange's own numbers for the cases with a duty to sample (MPS, 2009), and 9 for others."""
KIND_NAMES: Final = {
    "1": "被解救儿童",
    "2": "失踪儿童",
    "3": "来历不明儿童",
    "4": "流浪乞讨儿童",
    "5": "寻找子女的父母",
    "9": "其他寻人",
}

EVENT_OF: Final = {
    "1": case_pb2.EVENT_KIND_ABDUCTED,
    "2": case_pb2.EVENT_KIND_STRAYED,
    "3": case_pb2.EVENT_KIND_ABANDONED,
    "4": case_pb2.EVENT_KIND_GIVEN_AWAY,
    "5": case_pb2.EVENT_KIND_RAN_AWAY,
}
"""The column SZYY: this exchange's own numbers."""
EVENT_NAMES: Final = {"1": "被拐", "2": "走失", "3": "遗弃", "4": "送养", "5": "离家出走"}

ROLE_OF: Final = {
    "1": dna_pb2.SAMPLE_ROLE_CHILD,
    "2": dna_pb2.SAMPLE_ROLE_MOTHER,
    "3": dna_pb2.SAMPLE_ROLE_FATHER,
    "4": dna_pb2.SAMPLE_ROLE_SIBLING,
    "9": dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE,
}
"""The column YBJS: this exchange's own numbers."""
ROLE_NAMES: Final = {"1": "子女本人", "2": "母亲", "3": "父亲", "4": "兄弟姐妹", "9": "其他亲属"}

ETHNIC_GROUPS: Final = {
    **{
        f"{number:02}": f"{name}族"
        for number, name in enumerate(
            (  # noqa: SIM905 - a list of quoted names would be longer
                "汉 蒙古 回 藏 维吾尔 苗 彝 壮 布依 朝鲜 满 侗 瑶 白 土家 哈尼 哈萨克 傣 黎 傈僳 佤 畲 高山 拉祜 水 "
                "东乡 纳西 景颇 柯尔克孜 土 达斡尔 仫佬 羌 布朗 撒拉 毛南 仡佬 锡伯 阿昌 普米 塔吉克 怒 乌孜别克 "
                "俄罗斯 鄂温克 德昂 保安 裕固 京 塔塔尔 独龙 鄂伦春 赫哲 门巴 珞巴 基诺"
            ).split(),
            start=1,
        )
    },
    "97": "其他",
    "98": "外国血统中国籍人士",
}

TABLES: Final = {
    "GB/T 2261.1": SEX_NAMES,
    ETHNICITY: ETHNIC_GROUPS,
    "AJLB": KIND_NAMES,
    "SZYY": EVENT_NAMES,
    "YBJS": ROLE_NAMES,
}
"""Codes and names, by the name of the table in a mapping file: the number of the standard, or our own column."""
_WORDS: Final = {"男": "1", "女": "2", "未知": "0", "未说明": "9"}


def code_in(table: str, text: str) -> str:
    """The code of a cell of this table, by its number or its name. If it is neither, the text itself."""
    names = TABLES[table]
    if text in names:
        return text
    return _CODES_BY_NAME[table].get(text, text)


_CODES_BY_NAME: Final = {
    table: {
        **{name: code for code, name in names.items()},
        **{name.removesuffix("族"): code for code, name in names.items() if table == ETHNICITY},
        **(_WORDS if table == "GB/T 2261.1" else {}),
    }
    for table, names in TABLES.items()
}
