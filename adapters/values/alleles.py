"""The notation of alleles and the names of loci, for every format that carries STR profiles.

An allele is text: ``9.3`` is a name. Sources write the same allele in several ways. For an off-ladder allele, CODIS and
NIEM write the operator before the number, and GENis writes it after the number; NIEM also has a word for it beside the
number. Sequenced alleles are counted strand by strand (``15_14_1_0``). They are names, never numbers, and only the
readers that expect them accept them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from caseexchange.records.v1 import dna_pb2

_NUMBER: Final = re.compile(r"(\d{1,2})(?:[.,](?:([1-4])0?|00?))?")
"""Spreadsheets and R add zeros: 9.30 is 9.3, and 10.0 is 10."""
_OPERATORS: Final = (
    (re.compile(r"<\s*(.+)"), dna_pb2.ALLELE_OPERATOR_BELOW),
    (re.compile(r">\s*(.+)"), dna_pb2.ALLELE_OPERATOR_ABOVE),
    (re.compile(r"(.+?)\s*<"), dna_pb2.ALLELE_OPERATOR_BELOW),
    (re.compile(r"(.+?)\s*>"), dna_pb2.ALLELE_OPERATOR_ABOVE),
    (re.compile(r"([^.,]+)[.,][Xx]"), dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT),
    (re.compile(r"(.+)"), dna_pb2.ALLELE_OPERATOR_EQUAL),
)
_SEX: Final = frozenset({"X", "Y"})
_SEQUENCE: Final = re.compile(r"[0-9]{1,2}(\.[1-4])?(_[0-9]{1,2}(\.[1-4])?){1,12}")
_LONGEST: Final = 64
"""The most characters of an allele. A longer text is not an allele, and is not matched with a pattern."""
AMELOGENIN: Final = "Amelogenin"
UNNAMED: Final = ""
"""A locus that is known only by a number. It may be any locus, so it may have any locus's alleles."""
_PENTANUCLEOTIDE: Final = frozenset({"Penta D", "Penta E", "CD4", UNNAMED})

CODIS_20: Final = (
    "CSF1PO",
    "D1S1656",
    "D2S441",
    "D2S1338",
    "D3S1358",
    "D5S818",
    "D7S820",
    "D8S1179",
    "D10S1248",
    "D12S391",
    "D13S317",
    "D16S539",
    "D18S51",
    "D19S433",
    "D21S11",
    "D22S1045",
    "FGA",
    "TH01",
    "TPOX",
    "vWA",
)
CHINESE_KITS: Final = ("D6S1043", "Penta D", "Penta E", "Yindel")
OTHERS: Final = ("SE33", "D1S1677", "D2S1360", "D4S2408", "D6S474", "D9S1122", "D17S1301", "F13A01", "F13B", "FESFPS")
OTHERS_2: Final = ("LPL", "CD4", "CYAR04", "D14S1434", "D20S482", "D3S4529", "D11S4463", "D9S2157", "D10S2325")
Y_LOCI: Final = (
    "DYS19",
    "DYS385",
    "DYS389I",
    "DYS389II",
    "DYS390",
    "DYS391",
    "DYS392",
    "DYS393",
    "DYS437",
    "DYS438",
    "DYS439",
    "DYS448",
    "DYS449",
    "DYS456",
    "DYS458",
    "DYS460",
    "DYS481",
    "DYS518",
    "DYS533",
    "DYS549",
    "DYS570",
    "DYS576",
    "DYS627",
    "DYS635",
    "DYS643",
    "DYF387S1",
    "Y GATA H4",
)
_ALIASES: Final = {
    "AMEL": AMELOGENIN,
    "DYS385A/B": "DYS385",
    "F13A1": "F13A01",
    "FES/FPS": "FESFPS",
    "THO1": "TH01",
    "TP0X": "TPOX",
    "YGATAH4": "Y GATA H4",
}
_WORDS: Final = {dna_pb2.ALLELE_OPERATOR_OFF_LADDER: "OL", dna_pb2.ALLELE_OPERATOR_WILDCARD: "*"}
_MARKS: Final = {
    dna_pb2.ALLELE_OPERATOR_BELOW: ("<", ""),
    dna_pb2.ALLELE_OPERATOR_ABOVE: (">", ""),
    dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT: ("", ".X"),
    dna_pb2.ALLELE_OPERATOR_RANGE: ("", "-"),
}
_ORDER: Final = {
    dna_pb2.ALLELE_OPERATOR_BELOW: 0,
    dna_pb2.ALLELE_OPERATOR_EQUAL: 1,
    dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT: 1,
    dna_pb2.ALLELE_OPERATOR_RANGE: 1,
    dna_pb2.ALLELE_OPERATOR_ABOVE: 2,
    dna_pb2.ALLELE_OPERATOR_SEQUENCE: 3,
    dna_pb2.ALLELE_OPERATOR_OFF_LADDER: 4,
    dna_pb2.ALLELE_OPERATOR_WILDCARD: 5,
}
_USUAL: Final = frozenset({AMELOGENIN, *CODIS_20, *CHINESE_KITS, *OTHERS, *OTHERS_2, *Y_LOCI})
_BY_SPELLING: Final = {re.sub(r"[\s_-]", "", name).upper(): name for name in _USUAL} | _ALIASES


class ParsedAllele(NamedTuple):
    """An allele in canonical form."""

    value: str
    operator: dna_pb2.AlleleOperator.ValueType


def canonical_locus(name: str) -> str | None:
    """The usual name of a locus in any spelling, or None if the locus is not known here."""
    if name in _USUAL:
        return name
    return _BY_SPELLING.get(re.sub(r"[\s_-]", "", name).upper())


def parse_allele(locus: str, text: str) -> ParsedAllele | None:
    """Read an allele as a source wrote it. None if it is not an allele of this locus."""
    text = text.strip()
    return None if len(text) > _LONGEST else _parse(locus, text)


# The loci of a file have the same few hundred texts again and again.
@lru_cache(maxsize=8192)
def _parse(locus: str, text: str) -> ParsedAllele | None:
    if locus in {AMELOGENIN, UNNAMED} and text.upper() in _SEX:
        return ParsedAllele(text.upper(), dna_pb2.ALLELE_OPERATOR_EQUAL)
    if locus == AMELOGENIN:
        return None
    for operator, word in _WORDS.items():
        if text.upper() == word:
            return ParsedAllele("", operator)
    for pattern, operator in _OPERATORS:
        match = pattern.fullmatch(text)
        if match is not None:
            value = _canonical_number(locus, match[1])
            return None if value is None else ParsedAllele(value, operator)
    return None


def parse_range(locus: str, low: str, high: str) -> tuple[str, str] | None:
    """The two ends of a range in canonical form. None if they are not numbers, or not in order."""
    ends = [_canonical_number(locus, text) for text in (low, high) if len(text) <= _LONGEST]
    if len(ends) != len((low, high)) or ends[0] is None or ends[1] is None:
        return None
    return (ends[0], ends[1]) if _number(ends[0]) < _number(ends[1]) else None


def allele_order(allele: dna_pb2.Allele) -> tuple[int, tuple[int, int], int, str]:
    """A key that sorts the alleles of a locus: ``<n``, numbers and X and Y, ``>n``, sequences, ``OL``, ``*``."""
    return (
        _ORDER.get(allele.operator, len(_ORDER)),
        _number(allele.value),
        allele.operator,
        f"{allele.value} {allele.value_to}",
    )


def parse_sequenced_allele(locus: str, text: str) -> ParsedAllele | None:
    """Read an allele from a source that may write sequenced alleles. These stay as they are written."""
    text = text.strip()
    if locus != AMELOGENIN and _SEQUENCE.fullmatch(text) is not None:
        return ParsedAllele(text, dna_pb2.ALLELE_OPERATOR_SEQUENCE)
    return parse_allele(locus, text)


def is_canonical(locus: str, allele: dna_pb2.Allele) -> bool:
    """Whether the readers could have made an allele with this value and operator."""
    if allele.operator == dna_pb2.ALLELE_OPERATOR_RANGE:
        return parse_range(locus, allele.value, allele.value_to) == (allele.value, allele.value_to)
    return not allele.value_to and _is_canonical_value(locus, allele)


def _is_canonical_value(locus: str, allele: dna_pb2.Allele) -> bool:
    match allele.operator:
        case dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT:
            return parse_allele(locus, f"{allele.value}.X") == (allele.value, allele.operator)
        case dna_pb2.ALLELE_OPERATOR_OFF_LADDER | dna_pb2.ALLELE_OPERATOR_WILDCARD:
            return not allele.value
        case dna_pb2.ALLELE_OPERATOR_SEQUENCE:
            parsed = parse_sequenced_allele(locus, allele.value)
            return parsed == (allele.value, dna_pb2.ALLELE_OPERATOR_SEQUENCE)
        case dna_pb2.ALLELE_OPERATOR_EQUAL | dna_pb2.ALLELE_OPERATOR_BELOW | dna_pb2.ALLELE_OPERATOR_ABOVE:
            parsed = parse_allele(locus, allele.value)
            return parsed == (allele.value, dna_pb2.ALLELE_OPERATOR_EQUAL)
    return False


def allele_text(allele: dna_pb2.Allele) -> str:
    """An allele as CODIS writes it: ``9.3``, ``<6``, ``>15``, ``OL``, ``*``. A sequenced allele is not changed.

    CODIS has no notation for some alleles. They are written for people to read: ``12.X``, ``12-14``.
    """
    if allele.operator in _WORDS:
        return _WORDS[allele.operator]
    before, after = _MARKS.get(allele.operator, ("", ""))
    return f"{before}{allele.value}{after}{allele.value_to}"


def _number(value: str) -> tuple[int, int]:
    """Whole repeats and bases of a canonical number, for comparison; zeros if it is not a number."""
    match = _NUMBER.fullmatch(value)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)


def _canonical_number(locus: str, text: str) -> str | None:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    whole, part = match.groups()
    # Four bases are a whole repeat, except where repeats have five bases. In some exports zero means "no allele".
    if (part == "4" and locus not in _PENTANUCLEOTIDE) or not int(whole):
        return None
    return f"{int(whole)}.{part}" if part else str(int(whole))
