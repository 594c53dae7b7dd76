"""All text of the notice board itself, in Chinese and in English."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from caseexchange.records.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

_F: Final = common_pb2


@dataclass(frozen=True, slots=True)
class Words:
    """The text in one language. ``{}`` marks a place for a value, and names it."""

    language: str
    language_name: str
    folder: str
    site: str
    tagline: str
    skip: str
    menu: str
    notices: str
    help: str
    feed: str
    exercise_label: str
    exercise: str
    current: str
    counts: tuple[str, str]
    none: str
    headline: str
    children: Mapping[int, str]
    adults: Mapping[int, str]
    sexes: Mapping[int, str]
    sex: str
    age: str
    place: str
    published: str
    until: str
    number: str
    stated_age: str
    apparent_age: str
    not_stated: str
    separator: str
    features: Mapping[int, str]
    recognise: str
    photo_of: str
    photo_number: str
    no_photo: str
    know: str
    contact_office: str
    danger: str
    office: str
    telephone: str
    email: str
    no_contact: str
    care: str
    back: str
    pages: str
    newer: str
    older: str
    page_of: str
    updated: str
    privacy: str
    gone: str
    gone_text: str
    event: str
    day: str
    months: tuple[str, ...]
    help_lead: str
    help_steps: tuple[tuple[str, str], ...]
    please_not: str
    please_nots: tuple[str, ...]
    own_child: str
    own_child_text: str
    why: str
    why_text: str


ZH: Final = Words(
    language="zh-CN",
    language_name="中文",
    folder="zh",
    site="带他们回家",
    tagline="您记得的一件小事，也许能让一个孩子回到家人身边。",
    skip="跳到正文",
    menu="主菜单",
    notices="寻亲启事",
    help="如何帮忙",
    feed="订阅更新（Atom）",
    exercise_label="演练",
    exercise="演练：本网站上的人物和图片都是虚构的。",
    current="正在寻找线索",
    counts=("共{count}则启事", "共{count}则启事"),
    none="目前没有公开的启事。",
    headline="您认识这个{who}吗？",
    children=MappingProxyType({_F.SEX_UNSPECIFIED: "孩子", _F.SEX_MALE: "男孩", _F.SEX_FEMALE: "女孩"}),
    adults=MappingProxyType({_F.SEX_UNSPECIFIED: "人", _F.SEX_MALE: "男子", _F.SEX_FEMALE: "女子"}),
    sexes=MappingProxyType({_F.SEX_MALE: "男", _F.SEX_FEMALE: "女", _F.SEX_OTHER: "其他"}),
    sex="性别",
    age="年龄",
    place="地点",
    published="发布日期",
    until="有效期至",
    number="启事编号",
    stated_age="{span}岁",
    apparent_age="看上去{span}岁",
    not_stated="未说明",
    separator="，",
    features=MappingProxyType(
        {
            _F.FEATURE_KIND_BODY: "身体特征",
            _F.FEATURE_KIND_BELONGINGS: "衣着和随身物品",
            _F.FEATURE_KIND_SPEECH: "口音和语言",
            _F.FEATURE_KIND_HEALTH: "健康状况",
            _F.FEATURE_KIND_DENTAL: "牙齿特征",
            _F.FEATURE_KIND_HABIT: "生活习惯",
            _F.FEATURE_KIND_UNSPECIFIED: "其他特征",
        }
    ),
    recognise="可供辨认的特征",
    photo_of="照片：{summary}",
    photo_number="照片{number}：{summary}",
    no_photo="没有照片",
    know="如果您认识这个{who}",
    contact_office="请联系下面的单位，并说出启事编号。没有把握也请告诉他们：核实是他们的工作。",
    danger="如果孩子正处于危险之中，请立即拨打110报警。",
    office="单位",
    telephone="电话",
    email="邮箱",
    no_contact="请向当地公安机关提供线索。",
    care="请不要自行接近、跟踪或拍摄任何人，也不要公开猜测孩子是谁。",
    back="返回全部启事",
    pages="分页",
    newer="较新的启事",
    older="较早的启事",
    page_of="第{page}页，共{pages}页",
    updated="更新于{time}",
    privacy="本网站不公开姓名、证件号码和基因数据。孩子找到以后，启事随即撤下。",
    gone="这里没有启事",
    gone_text="它可能已经撤下：也许孩子已经回家。请不要继续转发旧的启事。",
    event="寻找儿童线索",
    day="{year}年{month}月{day}日",
    months=tuple(str(number) for number in range(1, 13)),
    help_lead="找到一个孩子，往往只差一个认出来的人。您不需要做什么大事。",
    help_steps=(
        ("看一看", "看照片，也看特征。孩子会长大，胎记、伤疤和口音却变得很慢。"),
        ("想一想", "您是否见过这个孩子？在哪里，什么时候，和谁在一起？当时记下来的最可靠。"),
        ("说出来", "联系启事上的单位，说出启事编号。哪怕只是“好像见过”，也值得一说。"),
    ),
    please_not="请不要",
    please_nots=(
        "自行接近、跟踪、盘问或拍摄任何人；",
        "在网上公开猜测孩子的姓名、住址或家庭；",
        "截图转发：撤下的启事会继续流传。请转发网页地址。",
    ),
    own_child="如果您在寻找自己的孩子或亲人",
    own_child_text="请到公安机关报案，并申请采集血样比对。血样和基因数据只由公安机关的实验室保管，不会出现在这里。",
    why="为什么这里没有姓名",
    why_text=(
        "每个孩子将来都有权决定别人知道自己的哪些事。所以启事只写认出孩子所需要的内容，"
        "图片中的隐藏信息（拍摄地点、设备等）也已去除。"
    ),
)

EN: Final = Words(
    language="en",
    language_name="English",
    folder="en",
    site="Bring Them Home",
    tagline="One small thing that you remember may bring a child back to their family.",
    skip="Skip to the content",
    menu="Main menu",
    notices="Notices",
    help="How you can help",
    feed="Follow by feed (Atom)",
    exercise_label="Exercise",
    exercise="Exercise: every person and picture on this site is invented.",
    current="Do you recognise someone?",
    counts=("{count} notice", "{count} notices"),
    none="There are no public notices at the moment.",
    headline="Do you know this {who}?",
    children=MappingProxyType({_F.SEX_UNSPECIFIED: "child", _F.SEX_MALE: "boy", _F.SEX_FEMALE: "girl"}),
    adults=MappingProxyType({_F.SEX_UNSPECIFIED: "person", _F.SEX_MALE: "man", _F.SEX_FEMALE: "woman"}),
    sexes=MappingProxyType({_F.SEX_MALE: "Male", _F.SEX_FEMALE: "Female", _F.SEX_OTHER: "Other"}),
    sex="Sex",
    age="Age",
    place="Place",
    published="Published",
    until="In force until",
    number="Notice number",
    stated_age="{span} years old",
    apparent_age="looks {span} years old",
    not_stated="Not stated",
    separator=", ",
    features=MappingProxyType(
        {
            _F.FEATURE_KIND_BODY: "Physical features",
            _F.FEATURE_KIND_BELONGINGS: "Clothes and belongings",
            _F.FEATURE_KIND_SPEECH: "Speech and accent",
            _F.FEATURE_KIND_HEALTH: "Health",
            _F.FEATURE_KIND_DENTAL: "Teeth",
            _F.FEATURE_KIND_HABIT: "Habits",
            _F.FEATURE_KIND_UNSPECIFIED: "Other features",
        }
    ),
    recognise="What to look for",
    photo_of="Photograph: {summary}",
    photo_number="Photograph {number}: {summary}",
    no_photo="No photograph",
    know="If you know this {who}",
    contact_office="Please contact the office below and quote the notice number. Do so even if you are not sure: "
    "checking is their work.",
    danger="If a child is in danger now, call the police at once: 110 in China.",
    office="Office",
    telephone="Telephone",
    email="E-mail",
    no_contact="Please tell the nearest police station.",
    care="Please do not approach, follow or photograph anyone yourself, and do not guess in public who the child is.",
    back="Back to all notices",
    pages="Pages",
    newer="Newer notices",
    older="Older notices",
    page_of="Page {page} of {pages}",
    updated="Updated {time}",
    privacy="No names, identity numbers or genetic data are published here. A notice is taken down when the child is "
    "found.",
    gone="There is no notice here",
    gone_text="It may have been taken down, perhaps because the child is home. Please do not pass old notices on.",
    event="Appeal for information about a child",
    day="{day} {month} {year}",
    months=(
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
    help_lead="What is missing is often just the one person who recognises a child. It does not take a great deed.",
    help_steps=(
        (
            "Look",
            "Look at the picture, and at the features. Children grow; a birthmark, a scar or an accent changes slowly.",
        ),
        (
            "Remember",
            "Have you seen this child? Where, when, and with whom? What you write down at the time is worth most.",
        ),
        ("Tell", "Contact the office on the notice and quote its number. “I may have seen them” is worth saying, too."),
    ),
    please_not="Please do not",
    please_nots=(
        "approach, follow, question or photograph anyone yourself;",
        "guess in public at a child’s name, address or family;",
        "pass on screenshots: a notice that was taken down lives on in them. Pass on the page’s address instead.",
    ),
    own_child="If you are looking for your own child or relative",
    own_child_text="Report it to the police and ask for a blood sample to be taken and compared. Samples and genetic "
    "data stay with the police laboratories and never appear here.",
    why="Why there are no names here",
    why_text="Every child has the right to decide, one day, what others know of them. So a notice says only what is "
    "needed to recognise a child, and what a picture’s file says about where and how it was taken is removed.",
)
WORDS: Final[Mapping[str, Words]] = MappingProxyType({words.language: words for words in (ZH, EN)})
