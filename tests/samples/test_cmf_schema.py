"""A profile that is written as CMF is valid by the published XSDs, or is refused, or its lost loci are named."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from adapters.base import Limits, Severity
from adapters.national_dna_database.cmf.adapter import ADAPTER
from adapters.national_dna_database.codes import CATEGORIES, KITS, SYSTEM
from adapters.values.alleles import (
    AMELOGENIN,
    CHINESE_KITS,
    CODIS_20,
    OTHERS,
    OTHERS_2,
    Y_LOCI,
    allele_text,
    canonical_locus,
)
from caseexchange.records.v1 import common_pb2, dna_pb2

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples" / "codis-cmf"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the third-party samples are not beside the project")
LATEST: Final = "CMF-2017.xsd"
OF_3_2: Final = "CODIS-32.AppendixBexample.xsd"
XSD: Final = "{http://www.w3.org/2001/XMLSchema}"
ALL_LOCI: Final = (AMELOGENIN, *CODIS_20, *CHINESE_KITS, *OTHERS, *OTHERS_2, *Y_LOCI)
ALIASES: Final = {"AMEL": AMELOGENIN, "THO1": "TH01", "TP0X": "TPOX", "VWA": "vWA", "Penta_D": "Penta D",
                  "DYS389 I": "DYS389I", "DYS385 a/b": "DYS385"}  # fmt: skip
OPERATORS: Final = [value for value in dna_pb2.AlleleOperator.values() if value]
SOURCES: Final = [dna_pb2.PROFILE_SOURCE_UNSPECIFIED, dna_pb2.PROFILE_SOURCE_PERSON, dna_pb2.PROFILE_SOURCE_SINGLE] * 2
TEXTS = st.one_of(st.text(max_size=40), st.integers(9, 34).map("é".__mul__))
TIMES = st.one_of(TEXTS, st.datetimes().map(lambda time: time.isoformat(timespec="seconds")))


@cache
def schema(name: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(SAMPLES / name))


@cache
def names(file: str, kind: str) -> frozenset[str]:
    document = etree.parse(SAMPLES / file)
    (found,) = (item for item in document.iter(f"{XSD}simpleType") if item.get("name") == kind)
    return frozenset(str(item.get("value")) for item in found.iter(f"{XSD}enumeration"))


def found(content: bytes, name: str) -> list[etree._Element]:
    return [item for item in etree.fromstring(content).iter() if etree.QName(item).localname == name]


def put_allele(draw: st.DrawFn, call: dna_pb2.LocusCall) -> None:
    operator = dna_pb2.ALLELE_OPERATOR_EQUAL if call.locus == AMELOGENIN else draw(st.sampled_from(OPERATORS))
    allele = call.alleles.add(operator=operator, required=draw(st.booleans()), peak_height=draw(st.integers(0, 9000)))
    if call.locus == AMELOGENIN:
        allele.value = draw(st.sampled_from("XY"))
    elif operator == dna_pb2.ALLELE_OPERATOR_SEQUENCE:
        allele.value = "15_14_1_0"
    elif operator == dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT:
        allele.value = "12"
    elif operator not in {dna_pb2.ALLELE_OPERATOR_OFF_LADDER, dna_pb2.ALLELE_OPERATOR_WILDCARD}:
        allele.value = draw(st.sampled_from(["5", "9.3", "13.1", "31.2", "46"]))
        allele.value_to = "50" if operator == dna_pb2.ALLELE_OPERATOR_RANGE else ""
    allele.reported = draw(st.sampled_from(["", allele_text(allele), "other"]))


@st.composite
def any_profiles(draw: st.DrawFn, loci: tuple[str, ...] = ALL_LOCI) -> dna_pb2.StrProfile:
    """Valid profiles. For most of them, CMF can carry only a part."""
    profile = dna_pb2.StrProfile(
        barcode=draw(st.one_of(st.from_regex(r"SYN-[A-Z0-9]{1,20}", fullmatch=True), st.text(min_size=1, max_size=30))),
        role=draw(st.sampled_from(dna_pb2.SampleRole.values())),
        category=common_pb2.Code(system=draw(st.sampled_from(["", SYSTEM, "other"])),
                                 value=draw(st.one_of(st.sampled_from(["", *sorted(CATEGORIES)]), TEXTS))),
        kit=draw(st.one_of(st.sampled_from(["", *sorted(KITS)]), TEXTS)),
        laboratory=draw(TEXTS),
        destination=draw(TEXTS),
        submitted_by=draw(TEXTS),
        submitted_at=draw(TIMES),
        case_number=draw(TEXTS),
        source_id=draw(st.sampled_from(["", "Yes", "No", "N/A", "perhaps"])),
        partial=draw(st.booleans()),
        batch=draw(TEXTS),
        comment=draw(st.one_of(TEXTS, st.integers(250, 260).map("注".__mul__))),
        source=draw(st.sampled_from([*SOURCES, *dna_pb2.ProfileSource.values()])),
    )  # fmt: skip
    for name in draw(st.lists(st.sampled_from(loci), min_size=1, max_size=20, unique=True)):
        spellings = [name, "", *(alias for alias, locus in ALIASES.items() if locus == name)]
        call = profile.loci.add(
            locus=name,
            reported_locus=draw(st.sampled_from(spellings)),
            kit=draw(st.sampled_from(["", "PowerPlex 16", "Another"])),
            batch=draw(TEXTS),
            read_by=draw(TEXTS),
            read_at=draw(TIMES),
            quality=draw(st.sampled_from(dna_pb2.LocusQuality.values())),
        )
        for _ in range(draw(st.sampled_from([1, 1, 2, 2, 2, 3, 8, 8]))):
            put_allele(draw, call)
    return profile


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(any_profiles(), min_size=1, max_size=3))
def test_any_profiles_make_a_valid_file_or_none(profiles: list[dna_pb2.StrProfile]) -> None:
    written = ADAPTER.encode(profiles, Limits())
    refused = [issue for issue in written.issues if issue.severity is Severity.REJECT_RECORD]
    if not written.content:
        assert refused
        return
    schema(LATEST).assertValid(etree.fromstring(written.content))
    places = {issue.locator.partition("]")[0] for issue in refused}
    assert len(found(written.content, "SPECIMEN")) + len(places) == len(profiles)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(any_profiles())
def test_every_locus_is_in_the_file_or_named_as_left_out(profile: dna_pb2.StrProfile) -> None:
    written = ADAPTER.encode([profile], Limits())
    if not written.content:
        return
    left_out = {issue.locator for issue in written.issues if issue.code == "LOCUS_NOT_CARRIED"}
    told = {canonical_locus(item.text or "") for item in found(written.content, "LOCUSNAME")}
    for place, call in enumerate(profile.loci):
        assert (call.locus in told) != (f"records[0].loci[{place}]" in left_out)
    assert "D6S1043" not in told


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_profile_of_names_of_3_2_is_valid_by_the_schema_of_3_2_too(data: st.DataObject) -> None:
    known = {canonical_locus(name) for name in names(OF_3_2, "LocusNameType")} - {None}
    profile = data.draw(any_profiles(tuple(sorted(str(name) for name in known))))
    profile.category.value = data.draw(st.sampled_from(sorted(names(OF_3_2, "SpecimenCategoryType"))))
    profile.kit = data.draw(st.sampled_from(sorted(names(OF_3_2, "KitType"))))
    written = ADAPTER.encode([profile], Limits())
    if written.content:
        schema(OF_3_2).assertValid(etree.fromstring(written.content))
        schema(LATEST).assertValid(etree.fromstring(written.content))


def test_d6s1043_is_in_neither_list_and_so_is_dropped_with_its_warning() -> None:
    for file in (LATEST, OF_3_2):
        assert "D6S1043" not in {canonical_locus(name) for name in names(file, "LocusNameType")}
    profile = dna_pb2.StrProfile(barcode="SYN-1")
    for name in ("D6S1043", "TH01"):
        profile.loci.add(locus=name).alleles.add(value="11", operator=dna_pb2.ALLELE_OPERATOR_EQUAL)
    written = ADAPTER.encode([profile], Limits())
    assert [issue.locator for issue in written.issues if issue.code == "LOCUS_NOT_CARRIED"] == ["records[0].loci[0]"]
    for file in (LATEST, OF_3_2):
        schema(file).assertValid(etree.fromstring(written.content))
