"""Synthetic police exports. The people are invented: their names say so, and identity numbers have no real division."""

from __future__ import annotations

import csv
import io
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS: Final = (  # noqa: SIM905
    "AJBH AJLB SLDWDM XM BM XBDM CSRQ NL MZDM GMSFHM HJDXZ HJDQH XZZXZ SG XX TMTZ YZTZ KY SZSJ SZDD SZDQH JYAQ "
    "BARXM BARGX BARDH"
).split()
_SAMPLE: Final = ("YBTM", "YBJS", "YBCJSJ")
_DIVISIONS: Final = ("140106", "140224", "110105", "440308", "520402", "610103", "340123", "211022")
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHUNK: Final = 500


def resident_id(area: str, born: str, number: int) -> str:
    """An identity number with a correct check digit."""
    digits = f"{area}{born}{number % 1000:03}"
    total = sum(int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=True))
    return digits + "10X98765432"[total % 11]


def police_row(number: int, random: Random) -> list[str]:
    """A realistic row: all 25 columns have a value. Codes and dates repeat, texts do not."""
    born = f"{random.randint(2010, 2022)}{random.randint(1, 12):02}{random.randint(1, 28):02}"
    area = random.choice(_DIVISIONS)
    sex = random.choice("12")
    return [
        f"SYN{number:012}",
        "2",
        f"{area}000000",
        f"测试儿童{number}",
        f"虚构小名{number % 97}",
        sex,
        born,
        str(random.randint(3, 15)),
        f"{random.randint(1, 56):02}",
        resident_id(area, born, 2 * random.randint(1, 400) + int(sex) % 2),
        f"虚构省虚构市样例县样例乡第{number}村{random.randint(1, 400)}号",
        area,
        f"虚构省虚构市样例区样例路{random.randint(1, 999)}号{random.randint(1, 30)}单元",
        str(random.randint(90, 165)),
        random.choice(("A", "B", "O", "AB")),
        f"左肘有{random.randint(1, 9)}厘米月牙形胎记，右耳后有痣（虚构特征{number}）",
        "蓝色上衣、黑色长裤、白色运动鞋，背红色书包（虚构）",
        "样例口音",
        f"2026{random.randint(1, 12):02}{random.randint(1, 28):02}",
        f"虚构市样例区样例小学门口第{random.randint(1, 99)}号公交站（虚构地点）",
        area,
        f"虚构案情：第{number}号测试儿童放学后未归，家属自行查找未果后报案，以上内容均为虚构。",
        f"样例家属{number}",
        random.choice(("父亲", "母亲", "祖母")),
        f"000-0000-{number % 10000:04}",
    ]


def police_csv(size: int, *, encoding: str = "gb18030", samples: bool = False) -> Iterator[bytes]:
    """A file of about this many bytes, in pieces. It is the same every time."""
    random = Random(1)  # noqa: S311 - synthetic
    header, number, written = [*COLUMNS, *(_SAMPLE if samples else ())], 0, 0
    rows: list[list[str]] = [header]
    while written < size:
        for _ in range(_CHUNK):
            number += 1
            sample = [f"SYN-BLD-{number}", "1", "20261104"] if samples else []
            rows.append([*police_row(number, random), *sample])
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        piece = text.getvalue().encode(encoding)
        written += len(piece)
        rows = []
        yield piece
