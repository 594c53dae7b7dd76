"""Writes pedigrees that state the roles of profiles: one for each case number.

If the child's sample is not among the profiles, the child is the search target. Every child has two parents, known or
unknown. So a reader that knows no roles, only parents, finds the same roles again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxml import etree

from adapters.national_dna_database.niem import codes as names
from adapters.national_dna_database.niem.elements import add, add_identification
from adapters.syntax.hardened_xml import writable
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapters.base import IssueList

_CHILD: Final = dna_pb2.SAMPLE_ROLE_CHILD
_FATHER: Final = dna_pb2.SAMPLE_ROLE_FATHER
_MOTHER: Final = dna_pb2.SAMPLE_ROLE_MOTHER
_SIBLING: Final = dna_pb2.SAMPLE_ROLE_SIBLING
_RELATIVE: Final = dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE
_ONE: Final = (_CHILD, _FATHER, _MOTHER)
_SEX: Final = {_FATHER: "Male", _MOTHER: "Female"}
_Named = tuple[str, dna_pb2.StrProfile]


def write_pedigrees(root: etree._Element, profiles: Sequence[_Named], issues: IssueList) -> None:
    """Append a pedigree for each family. Roles that no pedigree can state are reported."""
    families: dict[str, list[_Named]] = {}
    for where, profile in profiles:
        if not profile.role and profile.category.value == names.UNACCOMPANIED_MINOR:
            issues.warn("FIELD_NOT_CARRIED", f"{where}.role", "the category means that this is the child")
        if profile.role:
            families.setdefault(profile.case_number, []).append((where, profile))
    ids = (f"ID-{number}" for number in range(1, 2 * len(profiles) + 3 * len(families) + 1))
    for case_number, family in families.items():
        stated = _statable(case_number, family)
        places = {where for where, _ in stated}
        for where, profile in family:
            if where not in places and not _by_category(profile):
                issues.warn("FIELD_NOT_CARRIED", f"{where}.role", "a pedigree cannot state this role in this family")
        if stated and any(not _by_category(profile) for _, profile in stated):
            issues.warn("DEFAULT_WRITTEN", f"{stated[0][0]}.role", "the format needs a status: Claimed is written")
            _pedigree(root, case_number, stated, ids)


def _by_category(profile: dna_pb2.StrProfile) -> bool:
    return profile.role == _CHILD and profile.category.value == names.UNACCOMPANIED_MINOR


def _statable(case_number: str, family: list[_Named]) -> list[_Named]:
    """The profiles with roles that one pedigree can state."""
    roles = [profile.role for _, profile in family]
    if not case_number or writable(case_number).strip() != case_number or any(roles.count(role) > 1 for role in _ONE):
        return []
    # If the child's own sample is there, there is no search target. Then a sibling would look like the child.
    return [item for item in family if item[1].role in _ONE or _CHILD not in roles]


def _pedigree(root: etree._Element, case_number: str, family: list[_Named], ids: Iterator[str]) -> None:
    pedigree = add(root, "Pedigree")
    add_identification(pedigree, "PedigreeIdentification", case_number, names.CASE)
    add(pedigree, "PedigreeStatusCode", "Claimed")
    by_role = {profile.role: profile for _, profile in family if profile.role in _ONE}
    parents = {role: next(ids) for role in (_FATHER, _MOTHER)}
    for role, key in parents.items():
        _member(pedigree, key, by_role.get(role), "U", sex=_SEX[role])
    _member(pedigree, next(ids), by_role.get(_CHILD), "S", parents=parents)
    for _, profile in family:
        if profile.role in {_SIBLING, _RELATIVE}:
            _member(pedigree, next(ids), profile, "K", parents=parents if profile.role == _SIBLING else {})


def _member(
    pedigree: etree._Element,
    key: str,
    profile: dna_pb2.StrProfile | None,
    untyped: str,
    *,
    sex: str = "",
    parents: dict[dna_pb2.SampleRole.ValueType, str] | None = None,
) -> None:
    member = add(pedigree, "PedigreeMember")
    member.set(etree.QName(names.STRUCTURES, "id"), key)
    if profile is not None:
        add_identification(member, "PedigreeMemberIdentification", profile.barcode, names.SAMPLE)
    if sex:
        add(member, "PersonSexText", sex, names.CORE)
    add(member, "PedigreeMemberStatusCode", untyped if profile is None else "K")
    for role, name in ((_FATHER, "PedigreeFatherIdentification"), (_MOTHER, "PedigreeMotherIdentification")):
        if parents:
            # The published sample refers to members in this way.
            add(member, name).set(etree.QName(names.STRUCTURES, "metadata"), parents[role])
