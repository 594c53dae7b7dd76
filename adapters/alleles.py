"""The grammar of alleles and the names of loci: one place for every format that carries STR profiles.

An allele is text: ``9.3`` is a name. Sources write the same thing in several ways: CODIS and NIEM put the operator of
an off-ladder allele before the number, GENis after it; Prüm writes a wild card. Alleles that were sequenced are counted
strand by strand (``15_14_1_0``); they are names, never numbers, and only the readers that expect them take them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from caseexchange.records.v1 import dna_pb2

_NUMBER: Final = re.compile(r"(\d{1,2})(?:[.,]([1-4]))?")
_OPERATORS: Final = (
    (re.compile(r"<\s*(.+)"), dna_pb2.ALLELE_OPERATOR_BELOW),
    (re.compile(r">\s*(.+)"), dna_pb2.ALLELE_OPERATOR_ABOVE),
    (re.compile(r"(.+?)\s*<"), dna_pb2.ALLELE_OPERATOR_BELOW),
    (re.compile(r"(.+?)\s*>"), dna_pb2.ALLELE_OPERATOR_ABOVE),
)
_OFF_LADDER: Final = frozenset({"OL"})
_WILDCARD: Final = frozenset({"*"})
_SEX: Final = frozenset({"X", "Y"})
_SEQUENCE: Final = re.compile(r"[0-9]{1,2}(\.[1-4])?(_[0-9]{1,2}(\.[1-4])?){1,12}")
_LONGEST: Final = 64
"""Characters of an allele: what is longer is none, and is not worth a pattern's time."""
AMELOGENIN: Final = "Amelogenin"
_PENTANUCLEOTIDE: Final = frozenset({"Penta D", "Penta E", "CD4"})

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
_USUAL: Final = frozenset({AMELOGENIN, *CODIS_20, *CHINESE_KITS, *OTHERS, *OTHERS_2, *Y_LOCI})
_BY_SPELLING: Final = {re.sub(r"[\s_-]", "", name).upper(): name for name in _USUAL} | _ALIASES


class ParsedAllele(NamedTuple):
    """An allele in canonical form."""

    value: str
    operator: dna_pb2.AlleleOperator.ValueType


def canonical_locus(name: str) -> str | None:
    """The usual name of a locus, whatever its spelling, or None where it is no locus known here."""
    if name in _USUAL:
        return name
    return _BY_SPELLING.get(re.sub(r"[\s_-]", "", name).upper())


def parse_allele(locus: str, text: str) -> ParsedAllele | None:
    """Read an allele as a source wrote it, or None where it is none of this locus."""
    text = text.strip()
    return None if len(text) > _LONGEST else _parse(locus, text)


# A file says the same few hundred things of its loci again and again.
@lru_cache(maxsize=8192)
def _parse(locus: str, text: str) -> ParsedAllele | None:
    if locus == AMELOGENIN:
        return ParsedAllele(text.upper(), dna_pb2.ALLELE_OPERATOR_EQUAL) if text.upper() in _SEX else None
    if text.upper() in _OFF_LADDER:
        return ParsedAllele("", dna_pb2.ALLELE_OPERATOR_OFF_LADDER)
    if text in _WILDCARD:
        return ParsedAllele("", dna_pb2.ALLELE_OPERATOR_WILDCARD)
    for pattern, operator in _OPERATORS:
        match = pattern.fullmatch(text)
        if match is not None:
            value = _canonical_number(locus, match[1])
            return None if value is None else ParsedAllele(value, operator)
    value = _canonical_number(locus, text)
    return None if value is None else ParsedAllele(value, dna_pb2.ALLELE_OPERATOR_EQUAL)


def parse_sequenced_allele(locus: str, text: str) -> ParsedAllele | None:
    """Read an allele of a source that may also write sequenced ones, which stay as they are written."""
    text = text.strip()
    if locus != AMELOGENIN and _SEQUENCE.fullmatch(text) is not None:
        return ParsedAllele(text, dna_pb2.ALLELE_OPERATOR_SEQUENCE)
    return parse_allele(locus, text)


def is_canonical(locus: str, allele: dna_pb2.Allele) -> bool:
    """Whether an allele's value and operator are such as the readers make."""
    match allele.operator:
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
    """An allele as CODIS writes it: ``9.3``, ``<6``, ``>15``, ``OL``, ``*``; a sequenced one as it is."""
    match allele.operator:
        case dna_pb2.ALLELE_OPERATOR_BELOW:
            return f"<{allele.value}"
        case dna_pb2.ALLELE_OPERATOR_ABOVE:
            return f">{allele.value}"
        case dna_pb2.ALLELE_OPERATOR_OFF_LADDER:
            return "OL"
        case dna_pb2.ALLELE_OPERATOR_WILDCARD:
            return "*"
    return allele.value


def _canonical_number(locus: str, text: str) -> str | None:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    whole, part = match.groups()
    # Four bases are a whole repeat, but for repeats of five. Nought stands for "none" in some exports; it is no allele.
    if (part == "4" and locus not in _PENTANUCLEOTIDE) or not int(whole):
        return None
    return f"{int(whole)}.{part}" if part else str(int(whole))
