from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import RECORD_TYPES
from adapters.records.sections import SECTIONS, join, split
from broker.core.errors import EnvelopeMalformed
from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2


@pytest.mark.parametrize("kind", sorted(RECORD_TYPES))
def test_every_field_of_a_kind_belongs_to_exactly_one_section(kind: str) -> None:
    named = [name for names in SECTIONS[kind].values() for name in names]
    assert len(named) == len(set(named))
    fields = {name for name in RECORD_TYPES[kind].DESCRIPTOR.fields_by_name if name != "replacement"}
    if kind == "Correction":
        fields |= {f"replacement.{name}" for name in case_pb2.CaseRecord.DESCRIPTOR.fields_by_name}
    assert set(named) == fields


def test_section_names_are_ones_that_a_body_may_carry() -> None:
    names = {section for sections in SECTIONS.values() for section in sections}
    assert all(re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name) for name in names)


def full_case() -> case_pb2.CaseRecord:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_RESCUED_CHILD, local_id="SYN-1", blood_sampled=True)
    record.names.add(kind=common_pb2.NAME_KIND_LEGAL, full="测试儿童甲")
    record.birth.year = 2018
    record.features.add(kind=common_pb2.FEATURE_KIND_BODY, text="synthetic")
    record.narrative = "tells names in words"
    record.contacts.add(name="sample officer")
    record.provenance.source_format = "test"
    return record


def test_a_record_is_whole_again_from_all_of_its_sections() -> None:
    record = full_case()
    assert join("CaseRecord", split(record)) == record


def test_a_correction_is_cut_like_the_case_that_it_replaces() -> None:
    correction = case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_AMEND, reason="test", replacement=full_case())
    sections = split(correction)
    assert set(sections) == {"correction", "case", "description", "identity", "contact", "provenance"}
    assert join("Correction", sections) == correction
    for name, content in sections.items():
        assert ("测试儿童甲".encode() in content) == (name == "identity")


@given(st.sets(st.sampled_from(["case", "description", "identity", "contact", "provenance"])))
def test_what_is_withheld_is_missing_and_nothing_else(withheld: set[str]) -> None:
    sections = split(full_case())
    record = join("CaseRecord", {name: content for name, content in sections.items() if name not in withheld})
    assert isinstance(record, case_pb2.CaseRecord)
    assert bool(record.names) == ("identity" not in withheld)
    assert split(record).keys() == sections.keys() - withheld


def test_a_field_outside_of_its_section_is_refused() -> None:
    smuggled = dna_pb2.SampleRequest(barcode="SYN-1")
    smuggled.provenance.source_format = "test"
    with pytest.raises(EnvelopeMalformed):
        join("SampleRequest", {"sample": smuggled.SerializeToString()})


@pytest.mark.parametrize(
    ("kind", "sections"),
    [
        ("Gossip", {}),
        ("SampleRequest", {"sample": b"\xff"}),
        ("SampleRequest", {"identity": split(full_case())["identity"]}),
    ],
    ids=["kind", "bytes", "section"],
)
def test_what_is_no_record_is_refused(kind: str, sections: dict[str, bytes]) -> None:
    with pytest.raises(EnvelopeMalformed):
        join(kind, sections)
