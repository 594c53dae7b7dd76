"""Links within a NIEM document: references, uris, metadata; circles, and large objects that are named often.

All data are synthetic.
"""

from __future__ import annotations

import pytest

from tests.support.niem import (
    NUMBER,
    cases,
    codes,
    decode,
    document,
    missing,
    name,
    unmapped,
)


@pytest.mark.parametrize(
    ("role", "person"),
    [
        ('<nc:RoleOfPerson s:ref="P1" xsi:nil="true"/>', 's:id="P1"'),
        ('<nc:RoleOfPerson s:uri="#P1" xsi:nil="true"/>', 's:id="P1"'),
        ('<nc:RoleOfPerson s:metadata="P1"/>', 's:id="P1"'),
        ('<nc:RoleOfPerson s:uri="urn:x:1"/>', 's:uri="urn:x:1"'),
    ],
)
def test_a_role_s_person_is_found_by_every_kind_of_link(role: str, person: str) -> None:
    child = f"<j:MissingPerson>{role}{NUMBER}</j:MissingPerson>"
    found = decode(document(child, f"<nc:Person {person}>{name('DOE,JOHN')}</nc:Person>"))
    assert codes(found) == []
    (record,) = cases(found)
    assert record.names[0].full == "DOE,JOHN"
    assert not record.provenance.unmapped


def test_persons_of_one_uri_are_one_person_as_6_0_says() -> None:
    child = f'<j:MissingPerson s:uri="urn:x:1">{NUMBER}</j:MissingPerson>'
    person = f'<nc:Person s:uri="urn:x:1">{name("DOE,JOHN")}</nc:Person>'
    other = f'<nc:Person s:uri="urn:x:2">{name("OTHER,PERSON")}</nc:Person>'
    (record,) = cases(decode(document(child, person, other, version="6.0")))
    assert [item.full for item in record.names] == ["DOE,JOHN"]
    assert "OTHER,PERSON" in unmapped(record).values()


def test_metadata_that_are_linked_are_kept_with_the_person_and_not_read_as_one() -> None:
    child = f'<j:MissingPerson s:metadata="M1"><nc:RoleOfPerson/>{NUMBER}</j:MissingPerson>'
    metadata = '<j:JusticeMetadata s:id="M1"><j:CriminalInformationIndicator>true</j:CriminalInformationIndicator>'
    (record,) = cases(decode(document(child, f"{metadata}</j:JusticeMetadata>")))
    assert unmapped(record)["MissingPerson/@metadata/JusticeMetadata/CriminalInformationIndicator"] == "true"


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        (['<nc:RoleOfPerson s:ref="nobody"/>'], "REFERENCE_UNKNOWN"),
        (['<nc:RoleOfPerson s:ref="M1"/>'], "REFERENCE_CYCLE"),
    ],
)
def test_a_link_to_nothing_or_in_a_circle_is_a_warning(elements: list[str], code: str) -> None:
    child = f'<j:MissingPerson s:id="M1">{"".join(elements)}{NUMBER}</j:MissingPerson>'
    found = decode(document(child))
    assert codes(found) == [code]
    assert len(found.records) == 1


def test_links_that_go_round_tell_nothing_twice() -> None:
    first = f'<nc:Person s:id="P1">{name("DOE,JOHN")}<nc:RoleOfPerson s:ref="P2"/></nc:Person>'
    second = '<nc:Person s:id="P2"><nc:RoleOfPerson s:ref="P1"/></nc:Person>'
    child = f'<j:MissingPerson><nc:RoleOfPerson s:ref="P1"/>{NUMBER}</j:MissingPerson>'
    (record,) = cases(decode(document(first, second, child)))
    assert [item.full for item in record.names] == ["DOE,JOHN"]


def test_one_large_object_cannot_be_told_a_thousand_times() -> None:
    text = f"<nc:PersonDescriptionText>{'x' * 10_000}</nc:PersonDescriptionText>"
    person = f'<nc:Person s:id="P1">{text * 20}</nc:Person>'
    child = '<j:MissingPerson><nc:RoleOfPerson s:ref="P1"/>{}</j:MissingPerson>'
    children = [child.format(NUMBER.replace("SYN-1", f"SYN-{number}")) for number in range(1000)]
    found = decode(document(person, *children))
    assert codes(found) == ["REFERENCES_TOO_LARGE"]
    assert 0 < len(found.records) < 20


def test_what_stands_beside_a_thousand_persons_is_not_kept_a_thousand_times() -> None:
    beside = f"<nc:CommentText>{'x' * 10_000}</nc:CommentText>"
    children = [missing(number=NUMBER.replace("SYN-1", f"SYN-{number}")) for number in range(1000)]
    content = document(beside, *children)
    found = decode(content)
    assert len(found.records) == 1000
    assert codes(found) == ["UNMAPPED_NOT_KEPT"]
    assert sum(record.ByteSize() for record in cases(found)) < 8 * len(content) + (1 << 20)
