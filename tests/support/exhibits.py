"""A whole notice board of invented children, for a browser test and for people to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caseexchange.records.v1 import common_pb2, notice_pb2
from tests.support.notices import drawing, filed, notice, photo

if TYPE_CHECKING:
    from adapters.public_notice.history import Filed

_BODY, _CLOTHES = common_pb2.FEATURE_KIND_BODY, common_pb2.FEATURE_KIND_BELONGINGS
_SPEECH, _HEALTH = common_pb2.FEATURE_KIND_SPEECH, common_pb2.FEATURE_KIND_HEALTH
_CHILDREN = (
    ("SEX_FEMALE", (5, 7, True), "虚构省样例县", ("firebrick", "#2d2420", "#cfd8cf")),
    ("SEX_MALE", (9, 9, False), "样本省虚构市 (synthetic city)", ("#2b5d8a", "#1d1a19", "#e6dccb")),
    ("SEX_FEMALE", (2, 3, True), "虚构省山前县", ("#c98a2b", "#4a3426", "#d5dde3")),
    ("SEX_MALE", (12, 14, True), "样例自治州 (synthetic prefecture)", ("#3f7256", "#15110f", "#e3d3cf")),
    ("SEX_UNSPECIFIED", (0, 1, True), "虚构省水边县", ("#8b6fa8", "#3b2b22", "#dfe3d3")),
    ("SEX_MALE", (6, 8, True), "样例县 (synthetic county)", None),
)
_TEXTS = (
    ("寻找她的家人", "Looking for her family"),
    ("他记得家门口有一条河", "He remembers a river by his home"),
    ("寻找这个小女孩的父母", "Who are this little girl’s parents?"),
    ("他说话带有西南口音", "He speaks with an accent of the south-west"),
    ("车站发现的幼儿", "A very young child, found at a station"),
    ("八岁男孩在集市上走失", "A boy who went astray at a market"),
)


def exhibits() -> list[Filed]:
    """Six notices, one of them without a picture and one with two."""
    return [filed(_exhibit(number), number, f"case-{number}") for number in range(len(_CHILDREN))]


def _exhibit(number: int) -> notice_pb2.PublicNotice:
    sex, (least, greatest, apparent), where, colours = _CHILDREN[number]
    pictures = [] if colours is None else [photo(drawing(*colours))]
    if number == 1:
        pictures.append(photo(drawing("#2b5d8a", "#1d1a19", "#c7d3d8")))
    headline, in_english = _TEXTS[number]
    return notice(
        number + 1,
        sex=common_pb2.Sex.Value(sex),
        age=common_pb2.AgeRange(least=least, greatest=greatest, apparent=apparent),
        place=common_pb2.Place(text=where),
        photos=pictures,
        texts=[
            notice_pb2.LocalisedText(
                language="zh-CN",
                headline=headline,
                text="演练内容，人物是虚构的。\n被发现时独自一人，能说出几首童谣，但说不出家在哪里。",
            ),
            notice_pb2.LocalisedText(
                language="en",
                headline=in_english,
                text="An exercise: the child is invented.\nFound alone; knows nursery rhymes by heart, and cannot "
                "say where home is.",
            ),
        ],
        features=[
            common_pb2.Feature(kind=_BODY, text="左眉上有一颗小痣 / a small mole above the left eyebrow"),
            common_pb2.Feature(kind=_CLOTHES, text="红色外套，口袋里有一只木刻小鸟"),
            common_pb2.Feature(kind=_CLOTHES, text="A wooden bird in the pocket"),
            common_pb2.Feature(kind=_SPEECH, text="说话带西南口音"),
            common_pb2.Feature(kind=_HEALTH, text="身体健康"),
        ],
    )
