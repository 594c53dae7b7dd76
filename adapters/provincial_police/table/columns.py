"""The columns of the export: the field list of the police's standard for reports of missing persons, and our own.

Source: 《公安机关处置失踪警情工作标准》, article 13. Names are pinyin initials as in GA/T 543.1. A file may use
these, the Chinese or the English headings. AJLB, SZYY and YBJS have this exchange's own numbers.
"""

from __future__ import annotations

from typing import Final

from adapters.provincial_police.table.codes import DOCUMENT, ETHNICITY, EVENT_OF, KIND_OF, RESIDENT_ID
from adapters.provincial_police.table.column import (
    Column,
    contact,
    date,
    division,
    feature,
    kept,
    named,
    names,
    outside,
    place,
    read_organ,
    text,
)
from adapters.provincial_police.table.fields import (
    SEX_TABLE,
    document_of,
    measure_text,
    read_age,
    read_document,
    read_document_type,
    read_ethnicity,
    read_event,
    read_height,
    read_kind,
    read_licence,
    read_organ_name,
    read_resident_id,
    read_sex,
    read_weight,
    write_age,
    write_sex,
)
from caseexchange.records.v1 import common_pb2

CASE_NUMBER: Final = "AJBH"
KIND: Final = "AJLB"
PHOTO: Final = "XP"
BARCODE: Final = "YBTM"
ROLE: Final = "YBJS"
COLLECTED: Final = "YBCJSJ"
_LEGAL, _FORMER, _ALIAS = common_pb2.NAME_KIND_LEGAL, common_pb2.NAME_KIND_FORMER, common_pb2.NAME_KIND_ALIAS
_OTHER, _REPORTER = common_pb2.CONTACT_ROLE_UNSPECIFIED, common_pb2.CONTACT_ROLE_REPORTER
_BELONGINGS: Final = common_pb2.FEATURE_KIND_BELONGINGS

COLUMNS: Final = (
    text(CASE_NUMBER, "案件编号", "Police case number", "local_id", "案事件编号", "案号", "警情编号"),
    Column(
        KIND,
        "案件类别",
        "Class of case",
        ("案件类型",),
        read_kind,
        lambda record: next((code for code, kind in KIND_OF.items() if kind == record.kind), ""),
        KIND,
    ),
    Column(
        "SLDW",
        "受理单位",
        "Handling organ",
        ("承办单位", "立案单位"),
        read_organ_name,
        lambda record: record.handling_organ.display,
    ),
    Column(
        "SLDWDM",
        "受理单位代码",
        "Handling organ code",
        ("承办单位代码", "受理单位机构代码"),
        read_organ,
        lambda record: record.handling_organ.value,
    ),
    named("XM", "姓名", "Name", _LEGAL, "失踪人姓名", "失踪人员姓名", "儿童姓名"),
    named("CYM", "曾用名", "Former name", _FORMER),
    names("BM", "别名", "Other names", _ALIAS, "化名", written=True),
    names("CH", "绰号", "Nicknames", _ALIAS, "小名", "乳名", "昵称", written=False),
    Column("XBDM", "性别", "Sex", ("XB", "性别代码"), read_sex, write_sex, SEX_TABLE),
    date("CSRQ", "出生日期", "Birth date", "birth", "出生年月", "出生年月日", "生日"),
    Column("NL", "年龄", "Age", ("失踪时年龄",), read_age, write_age),
    Column(
        "MZDM",
        "民族",
        "Ethnic group",
        ("MZ", "民族代码"),
        read_ethnicity,
        lambda record: record.ethnicity.value if record.ethnicity.system == ETHNICITY else "",
        ETHNICITY,
    ),
    Column(
        "GMSFHM",
        "公民身份号码",
        "Resident identity number",
        ("身份证号", "身份证号码", "公民身份证号码", "SFZH", "SFZHM"),
        read_resident_id,
        lambda record: document_of(record, RESIDENT_ID).number,
    ),
    Column(
        "ZJLX",
        "证件种类",
        "Type of document",
        ("证件类型", "证件种类代码"),
        read_document_type,
        lambda record: document_of(record, DOCUMENT).type.value,
    ),
    Column(
        "ZJHM",
        "证件号码",
        "Document number",
        (),
        read_document,
        lambda record: document_of(record, DOCUMENT).number,
    ),
    Column(
        "JSZH",
        "驾驶证号",
        "Driving licence number",
        ("驾驶证号码",),
        read_licence,
        lambda record: document_of(record, DOCUMENT, licence=True).number,
    ),
    kept("HPHM", "车牌号", "Number plates", "车牌号码", "号牌号码"),
    kept("SJHM", "本人电话", "Own telephone", "手机号", "手机号码", "本人手机号码"),
    kept("WLZH", "社交账号", "Social accounts", "网络账号", "QQ微信号"),
    place("HJDXZ", "户籍地址", "Registered address", "household", "户籍地", "户籍所在地", "户籍地详址", "HJDZ"),
    division("HJDQH", "户籍地区划", "Registered division", "household", "户籍地行政区划", "户籍地区划代码"),
    place("XZZXZ", "现住址", "Residence", "residence", "现住地址", "居住地", "现住址详址", "XZZ"),
    division("XZZQH", "现住址区划", "Division of residence", "residence", "现住址行政区划", "现住址区划代码"),
    kept("GZDW", "工作单位或学校", "Work or school", "工作单位", "就读学校", "FWCS", "工作单位(学校)"),
    Column("SG", "身高", "Height", ("失踪时身高",), read_height, lambda record: measure_text(record.height)),
    Column("TZ", "体重", "Weight", (), read_weight, lambda record: measure_text(record.weight)),
    text("XX", "血型", "Blood group", "blood_group"),
    feature("TMTZ", "体貌特征", "Physical features", common_pb2.FEATURE_KIND_BODY, "体表特征", "体表标记"),
    feature("YCTZ", "牙齿特征", "Dental features", common_pb2.FEATURE_KIND_DENTAL),
    feature("YZTZ", "衣着特征", "Clothes", _BELONGINGS, "衣着", "失踪时衣着"),
    feature("XDWP", "携带物品", "Belongings", _BELONGINGS, "随身物品", number=1),
    feature("KY", "口音", "Accent", common_pb2.FEATURE_KIND_SPEECH),
    feature("JKZK", "健康状况", "Health", common_pb2.FEATURE_KIND_HEALTH, "身体状况"),
    # It does not help to find a person, and every recipient of a description would get it. So it is kept as unmapped.
    kept("JSBS", "精神病史", "Mental history", "精神状况"),
    feature("SHXG", "生活习惯", "Habits", common_pb2.FEATURE_KIND_HABIT, "行为习惯", "爱好习惯"),
    kept("SHGX", "社会关系", "Relations", "家庭及社会关系", "主要社会关系"),
    date("SZSJ", "失踪时间", "Last seen at", "event_date", "失踪日期", "最后出现时间"),
    place("SZDD", "失踪地点", "Last seen where", "event_place", "失踪地址", "最后出现地点"),
    division("SZDQH", "失踪地区划", "Division where last seen", "event_place", "失踪地行政区划", "失踪地区划代码"),
    kept("SZQYX", "失踪前言行", "Words and acts before", "失踪前言行表现", "失踪前异常言行"),
    Column(
        "SZYY",
        "失踪原因",
        "Likely reason",
        ("可能失踪原因", "可能的失踪原因"),
        read_event,
        lambda record: next((code for code, event in EVENT_OF.items() if event == record.event), ""),
        "SZYY",
    ),
    kept("ZXXZ", "自行查找情况", "Search by the family", "自行寻找情况"),
    date("FXSJ", "发现时间", "Found at", "found_date", "解救时间", "发现日期"),
    place("FXDD", "发现地点", "Found where", "found_place", "解救地点"),
    division("FXDQH", "发现地区划", "Division where found", "found_place", "发现地行政区划", "发现地区划代码"),
    text("JYAQ", "简要案情", "Summary", "narrative"),
    contact("BARXM", "报案人姓名", "Reporter's name", _REPORTER, "name", "报案人", "报警人", "报警人姓名"),
    contact("BARGX", "报案人与失踪人关系", "Reporter's relation", _REPORTER, "relation", "与失踪人关系", "报案人关系"),
    contact("BARDH", "报案人电话", "Reporter's telephone", _REPORTER, "phone", "报案人联系方式", "报案人联系电话"),
    contact("BARDW", "报案人工作单位", "Reporter's employer", _REPORTER, "organisation", "报案人单位"),
    contact("BARZZ", "报案人住址", "Reporter's address", _REPORTER, "address", "报案人地址", "报案人现住址"),
    contact("LXR", "联系人", "Contact's name", _OTHER, "name", "联系人姓名"),
    contact("LXRGX", "联系人关系", "Contact's relation", _OTHER, "relation", "与联系人关系"),
    contact("LXDH", "联系电话", "Contact's telephone", _OTHER, "phone", "联系方式", "联系人电话"),
    contact("LXDW", "联系单位", "Contact's organisation", _OTHER, "organisation", "联系人单位"),
    outside(PHOTO, "照片", "Photos", "近期照片", "相片"),
    outside(BARCODE, "样本条码", "Sample barcode", "样本编号", "血样条码"),
    outside(ROLE, "样本角色", "Whose sample", "样本来源人", table=ROLE),
    outside(COLLECTED, "样本采集时间", "Sample taken at", "采样时间", "采血时间"),
)
OUTSIDE_OF_CASE: Final = frozenset({PHOTO, BARCODE, ROLE, COLLECTED})
"""Columns that do not become a field of the CaseRecord cell by cell."""
BY_NAME: Final = {column.name: column for column in COLUMNS}
