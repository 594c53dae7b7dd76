"""Heights and weights as people write them, in centimetres and kilograms: 3'0", 5 ft 2 in, 1.32m, 1米32, 28公斤, 62 lb.

A measure is read only if its unit is known, from the text or from the format. The size of a number is never used to
guess its unit. The source's own text is always kept. What is not certain has a code.

Sources: international yard and pound agreement of 1959 (1 in = 2.54 cm, 1 lb = 0.45359237 kg); 市制 since 1959 (1 斤 =
0.5 kg); UN/ECE Recommendation 20 (unit codes such as INH and KGM); NCIC's field HGT (one digit of feet, two of inches).
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from caseexchange.records.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST: Final = 64
"""The most characters of a measure."""
_NUMBER: Final = r"[0-9]{1,5}(?:\.[0-9]{1,3}|,[0-9]{1,2})?"
_UNIT: Final = r"""(?:[^\W\d_]+|["'])"""
_SINGLE: Final = re.compile(rf"({_NUMBER})\s?({_UNIT})?\.?")
_PAIR: Final = re.compile(rf"([0-9]{{1,3}})\s?({_UNIT})\.?\s?({_NUMBER})\s?({_UNIT})?\.?")
_APPROXIMATE: Final = re.compile(
    r"(?:约|大约|大概|about|approx\.?|approximately)\s?(.+?)\s?(?:左右)?|(.+?)\s?(?:左右|approx\.?)"
)
_QUOTES: Final = (("′′", '"'), ("''", '"'), ("’’", '"'), ("”", '"'), ("“", '"'), ("’", "'"), ("‘", "'"), ("′", "'"))
_NCIC: Final = re.compile(r"([1-9])(0[0-9]|1[01])")
_NCIC_LEAST_FEET: Final = 3
"""100 to 211 may also be centimetres without a unit. 300 cannot."""
_CENTIMETRE: Final = Decimal("0.01")

_MESSAGES: Final = {
    "NOT_READ": "not a number with a unit that is known here; the text is kept",
    "UNIT_MISSING": "a number without a unit; the text is kept and no unit is guessed",
    "UNIT_CONTRADICTION": "the unit in the text differs from the stated unit; the text is kept",
    "AMBIGUOUS": "three digits that may be feet and inches, or centimetres; the text is kept",
    "IMPLAUSIBLE": "too large or too small for a person; the text is kept",
    "APPROXIMATE": "the text calls the measure approximate; it is read, and the text is kept",
    "NCIC": "three digits without a unit are read as NCIC writes them: one of feet, two of inches",
}


class Reading(NamedTuple):
    """What was read. Without a value the measure has only its text.

    ``code`` names what is not certain, or is "": HEIGHT_ or WEIGHT_, then NOT_READ, UNIT_MISSING, UNIT_CONTRADICTION,
    AMBIGUOUS or IMPLAUSIBLE (then there is no value), APPROXIMATE or NCIC (then there is a value). ``message`` explains
    the code, for an issue.
    """

    measure: common_pb2.Measure
    code: str
    message: str

    @property
    def read(self) -> bool:
        """Whether there is a value."""
        return bool(self.measure.unit)


class _Unit(NamedTuple):
    """A unit by its usual sign, in cm or kg. A metric measure is exact; others are rounded to hundredths."""

    sign: str
    size: Decimal
    metric: bool = True


class _Quantity(NamedTuple):
    name: str
    unit: str
    least: Decimal
    greatest: Decimal
    units: Mapping[str, _Unit]
    pairs: Mapping[str, tuple[str, int]]
    """The unit of a second number after the first one's unit, and the limit that the number must stay below."""


def _named(*units: tuple[_Unit, str]) -> dict[str, _Unit]:
    return {name: unit for unit, names in units for name in names.split()}


_HEIGHT: Final = _Quantity(
    "HEIGHT",
    "cm",
    Decimal(20),
    Decimal(260),
    _named(
        (_Unit("cm", Decimal(1)), "cm cmt cms 厘米 公分 centimeter centimeters centimetre centimetres"),
        (_Unit("m", Decimal(100)), "m mtr 米 公尺 meter meters metre metres"),
        (_Unit("mm", Decimal("0.1")), "mm mmt 毫米 millimeter millimeters millimetre millimetres"),
        (_Unit("in", Decimal("2.54"), metric=False), 'in inh ins inch inches "'),
        (_Unit("ft", Decimal("30.48"), metric=False), "ft fot foot feet '"),
    ),
    {"ft": ("in", 12), "m": ("cm", 100)},
)
_WEIGHT: Final = _Quantity(
    "WEIGHT",
    "kg",
    Decimal("0.3"),
    Decimal(400),
    _named(
        (_Unit("kg", Decimal(1)), "kg kgs kgm 公斤 千克 kilo kilos kilogram kilograms kilogramme kilogrammes"),
        (_Unit("g", Decimal("0.001")), "g gr grm 克 gram grams gramme grammes"),
        (_Unit("斤", Decimal("0.5")), "斤 市斤"),
        (_Unit("lb", Decimal("0.45359237"), metric=False), "lb lbs lbr pound pounds"),
        (_Unit("oz", Decimal("0.028349523125"), metric=False), "oz onz ounce ounces"),
    ),
    {"lb": ("oz", 16)},
)


def parse_height(text: str, unit: str = "", *, ncic: bool = False) -> Reading:
    """A height in centimetres.

    Args:
        text: as the source wrote it, with or without a unit: ``3'0"``, ``5 ft 2 in``, ``1.32m``, ``132``, ``1米32``.
        unit: the unit that the format states beside the text or for its column, such as ``in`` or ``CMT``; "": none.
        ncic: whether three bare digits may be NCIC's feet and inches: ``400`` is 4'00".
    """
    if ncic and not unit and (digits := _NCIC.fullmatch(plain(text))):
        if int(digits[1]) < _NCIC_LEAST_FEET:
            return _reading(_HEIGHT, text, None, "AMBIGUOUS")
        size = _HEIGHT.units["ft"].size * int(digits[1]) + _HEIGHT.units["in"].size * int(digits[2])
        return _reading(_HEIGHT, text, size.quantize(_CENTIMETRE), "NCIC")
    return _parse(_HEIGHT, text, unit)


def parse_weight(text: str, unit: str = "") -> Reading:
    """A weight in kilograms; text and unit as for ``parse_height``: ``28kg``, ``56斤``, ``62 lb``, ``7 lb 3 oz``."""
    return _parse(_WEIGHT, text, unit)


def number_text(value: float) -> str:
    """A number of a measure as decimal text, without an exponent and without zeros at its end."""
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def measure_text(measure: common_pb2.Measure) -> str:
    """A measure's own text, or else its number and unit; "" if it has neither."""
    if measure.original_text or not measure.unit:
        return measure.original_text
    return f"{number_text(measure.value)} {measure.unit}"


def plain(text: str) -> str:
    """A text without full-width characters, capitals, repeated blanks and the many forms of the quotation marks."""
    if len(text) > _LONGEST:
        return ""
    # NFKC turns U+2033, the sign of inches, into two of U+2032, the sign of feet.
    text = unicodedata.normalize("NFKC", text).lower()
    for mark, usual in _QUOTES:
        text = text.replace(mark, usual)
    return " ".join(text.split())


def _parse(quantity: _Quantity, text: str, stated: str) -> Reading:
    shown = plain(text)
    approximate = _APPROXIMATE.fullmatch(shown)
    if approximate:
        shown = approximate[1] or approximate[2]
    unit = quantity.units.get(plain(stated))
    if stated and unit is None:
        return _reading(quantity, f"{text} {stated}", None, "NOT_READ")
    if pair := _PAIR.fullmatch(shown):
        return _reading(quantity, text, *_pair(quantity, pair, unit), approximate=bool(approximate))
    single = _SINGLE.fullmatch(shown)
    if single is None:
        return _reading(quantity, text, None, "NOT_READ")
    # The unit that was stated beside the text is part of the source's statement.
    original = f"{text} {stated}" if unit and not single[2] else text
    return _reading(quantity, original, *_single(quantity, single, unit), approximate=bool(approximate))


def _single(quantity: _Quantity, single: re.Match[str], stated: _Unit | None) -> tuple[Decimal | None, str]:
    """The size of a number, or None and the reason."""
    own = quantity.units.get(single[2] or "")
    known = own or stated
    if single[2] and own is None:
        return None, "NOT_READ"
    if own and stated and own != stated:
        return None, "UNIT_CONTRADICTION"
    if known is None:
        return None, "UNIT_MISSING"
    size = _decimal(single[1]) * known.size
    return (size if known.metric else size.quantize(_CENTIMETRE)), ""


def _pair(quantity: _Quantity, pair: re.Match[str], stated: _Unit | None) -> tuple[Decimal | None, str]:
    """The size of a number with a second number after it, or None and the reason."""
    first, second = quantity.units.get(pair[2]), quantity.units.get(pair[4] or "")
    if first is None or first.sign not in quantity.pairs or (pair[4] and second is None):
        return None, "NOT_READ"
    sign, below = quantity.pairs[first.sign]
    number = _decimal(pair[3])
    if first.metric and not pair[4]:
        # 1米3 means 1.3 m.
        if not pair[3].isdigit() or len(pair[3]) > 2:  # noqa: PLR2004 - digits of centimetres
            return None, "NOT_READ"
        number = Decimal(pair[3].ljust(2, "0"))
    if (second and second.sign != sign) or number >= below:
        return None, "NOT_READ"
    smaller = quantity.units[sign]
    if stated and stated.sign not in {first.sign, sign}:
        return None, "UNIT_CONTRADICTION"
    size = first.size * int(pair[1]) + smaller.size * number
    return (size if first.metric else size.quantize(_CENTIMETRE)), ""


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", "."))


def _reading(
    quantity: _Quantity, original: str, size: Decimal | None, doubt: str = "", *, approximate: bool = False
) -> Reading:
    measure = common_pb2.Measure(original_text=original)
    if size is not None and not quantity.least <= size <= quantity.greatest:
        size, doubt = None, "IMPLAUSIBLE"
    if size is not None:
        measure.value, measure.unit = float(size), quantity.unit
        doubt = doubt or ("APPROXIMATE" if approximate else "")
    code = f"{quantity.name}_{doubt}" if doubt else ""
    return Reading(measure, code, _MESSAGES.get(doubt, ""))
