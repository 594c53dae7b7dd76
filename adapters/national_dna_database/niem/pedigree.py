"""Reads pedigrees of a NIEM DNA transaction: the role of each profile in the family that is searched for.

A pedigree has one search target (status S), known members (K) and unknown members (U). If the target has parents in it,
the target is the child. If it is a parent, its children are. Without a target, the child is the one member who has
parents and is not a parent. Nothing else is concluded.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lxml import etree

from adapters.national_dna_database.niem import codes as names
from adapters.national_dna_database.niem.read import read_identification
from adapters.national_dna_database.xml_fields import Fields
from adapters.syntax.hardened_xml import children, where
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.base import IssueList

_FATHER: Final = "PedigreeFatherIdentification"
_MOTHER: Final = "PedigreeMotherIdentification"
_REFERENCES: Final = ("ref", "metadata", "uri", "relationshipMetadata")
"""Attributes that refer to members. The published sample has ``metadata`` instead of ``ref``."""
_NEGATED: Final = "Negated"
_SEX_OF: Final = {dna_pb2.SAMPLE_ROLE_FATHER: "female", dna_pb2.SAMPLE_ROLE_MOTHER: "male"}
"""The sex that contradicts a parent's role."""


@dataclass(slots=True)
class _Member:
    place: int
    status: str
    sex: str
    numbers: list[tuple[str, str]] = field(default_factory=list)
    parents: dict[dna_pb2.SampleRole.ValueType, str] = field(default_factory=dict)


def read_roles(root: etree._Element, profiles: Sequence[dna_pb2.StrProfile], issues: IssueList) -> None:
    """Give each profile the role that the pedigrees state, and keep what else they state."""
    stated: dict[int, set[dna_pb2.SampleRole.ValueType]] = {}
    known = _by_number(profiles)
    for pedigree in children(root, "Pedigree"):
        fields, locator = Fields(pedigree), where(pedigree)
        members = _members(fields, issues)
        status = fields.text("PedigreeStatusCode")
        roles = {} if status == _NEGATED else _roles(members, locator, issues)
        if status == _NEGATED:
            issues.warn("PEDIGREE_NEGATED", locator, "the pedigree was refuted, so it gives no roles")
        # Its other facts go into the first profile only. In every profile, they would grow with the square.
        rest = deque(fields.rest())
        for key, member in members.items():
            found = {place for number in member.numbers for place in known.get(number, ())}
            if not found and member.numbers:
                issues.info("PEDIGREE_MEMBER_WITHOUT_PROFILE", locator, "a member's profile is not in the file")
            for place in sorted(found):
                unmapped = profiles[place].provenance.unmapped
                unmapped.add(path="Pedigree/PedigreeStatusCode", value=status)
                while rest:
                    path, value = rest.popleft()
                    unmapped.add(path=path, value=value)
                if roles.get(key):
                    stated.setdefault(place, set()).add(roles[key])
    for place, stated_roles in stated.items():
        if len(stated_roles) > 1:
            issues.warn("ROLE_CONTRADICTION", where(root), "pedigrees give one profile two roles, so it gets none")
        profiles[place].role = stated_roles.pop() if len(stated_roles) == 1 else dna_pb2.SAMPLE_ROLE_UNSPECIFIED


def _by_number(profiles: Sequence[dna_pb2.StrProfile]) -> dict[tuple[str, str], list[int]]:
    """Indexes of profiles by their numbers, each with and without its kind."""
    known: dict[tuple[str, str], list[int]] = {}
    for place, profile in enumerate(profiles):
        numbers = [(profile.barcode, names.SAMPLE), *((code.value, code.system) for code in profile.other_numbers)]
        for number, kind in numbers:
            known.setdefault((number, kind.lower()), []).append(place)
            known.setdefault((number, ""), []).append(place)
    return known


def _members(fields: Fields, issues: IssueList) -> dict[str, _Member]:
    members: dict[str, _Member] = {}
    elements = fields.elements("PedigreeMember")
    ids = [_id(element) for element in elements]
    times = Counter(ids)
    for place, (element, own) in enumerate(zip(elements, ids, strict=True)):
        # If two members have the same id, it is not known who is meant. So it means nobody.
        key = own if own and times[own] == 1 else f"#{place}"
        sex = fields.text("PersonSexText", within=element) or fields.text("PersonSexCode", within=element)
        member = _Member(place, fields.text("PedigreeMemberStatusCode", within=element), sex.lower())
        for number in fields.elements("PedigreeMemberIdentification", within=element):
            text, kind = read_identification(fields, number)
            member.numbers.append((text, kind.lower()))
        for role, name in ((dna_pb2.SAMPLE_ROLE_FATHER, _FATHER), (dna_pb2.SAMPLE_ROLE_MOTHER, _MOTHER)):
            for reference in fields.elements(name, within=element):
                found = _attributes(reference)
                target = next((found[attribute] for attribute in _REFERENCES if attribute in found), "")
                member.parents[role] = target.split()[0].lstrip("#") if target.split() else ""
                fields.take(reference)
        fields.take(element)
        members[key] = member
    for key, member in members.items():
        broken = {role for role, target in member.parents.items() if target not in members or target == key}
        for role in broken:
            issues.warn(
                "PEDIGREE_REFERENCE",
                where(fields.element),
                "a link to a parent leads to no member, or to two",
            )
            del member.parents[role]
    return members


def _id(element: etree._Element) -> str:
    attributes = _attributes(element)
    return attributes.get("id") or attributes.get("uri", "").lstrip("#")


def _attributes(element: etree._Element) -> dict[str, str]:
    return {etree.QName(str(name)).localname: str(value).strip() for name, value in element.attrib.items()}


def _roles(members: dict[str, _Member], locator: str, issues: IssueList) -> dict[str, dna_pb2.SampleRole.ValueType]:
    sought = _children_sought(members)
    if not sought:
        issues.warn("PEDIGREE_AMBIGUOUS", locator, "the pedigree does not show who is the child, so it gives no roles")
        return {}
    roles: dict[str, dna_pb2.SampleRole.ValueType] = dict.fromkeys(members, dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE)
    parents = {parent for child in sought for parent in members[child].parents.values()}
    for key, member in members.items():
        if parents & set(member.parents.values()):
            roles[key] = dna_pb2.SAMPLE_ROLE_SIBLING
    for child in sought:
        for role, parent in members[child].parents.items():
            contradicted = members[parent].sex[:1] == _SEX_OF[role][:1]
            if contradicted:
                issues.warn("PEDIGREE_SEX_CONTRADICTION", locator, "the sex of a parent contradicts the link to it")
            roles[parent] = dna_pb2.SAMPLE_ROLE_UNSPECIFIED if contradicted else role
    return roles | dict.fromkeys(sought, dna_pb2.SAMPLE_ROLE_CHILD)


def _children_sought(members: dict[str, _Member]) -> list[str]:
    targets = [key for key, member in members.items() if member.status == "S"]
    if len(targets) > 1:
        return []
    if targets:
        target = targets[0]
        if members[target].parents:
            return [target]
        found = [key for key, member in members.items() if target in member.parents.values()]
        return found or [target]
    everybody = {parent for member in members.values() for parent in member.parents.values()}
    found = [key for key, member in members.items() if member.parents and key not in everybody]
    return found if len(found) == 1 else []
