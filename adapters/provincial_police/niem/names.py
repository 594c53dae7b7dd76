"""Namespaces of NIEM by family, and the tables of names that the police's NIEM formats read and write.

Every release of NIEM has new namespaces, and files mix them: an Nlets alert has niem-core 2.0 and 3.0 beside jxdm 5.0.
So an element is identified by its local name and the family of its namespace, never by a prefix or an exact version. A
key here is ``family:Name``. Sources: niemopen/niem-model (NIEM 6.0: niem-core.xsd, justice.xsd, context.json); the NIEM
releases' namespaces of 2.0 to 5.2; Nlets wiki, section 34 (AMBER alert).
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

_BASES: Final = (
    r"http://niem\.gov/niem",
    r"http://release\.niem\.gov/niem",
    r"https://docs\.oasis-open\.org/niemopen/ns/model",
)
_FAMILIES: Final = (
    ("nc", "niem-core"),
    ("j", "domains/jxdm"),
    ("j", "domains/justice"),
    ("hs", "domains/humanServices"),
    ("structures", "structures"),
    ("unece", "codes/unece_rec20"),
    ("iso", "codes/iso_3166-1"),
)
"""Families, and their paths after one of the bases. A version follows, and in JSON perhaps a ``#``."""
_NLETS: Final = re.compile(r"http://www\.nlets\.org/niem/(?:[a-z-]+/)?([0-9.]+)/?#?")
_PATTERN: Final = re.compile(
    rf"(?:{'|'.join(_BASES)})/({'|'.join(path for _, path in _FAMILIES)})/([0-9]+(?:\.[0-9]+)*)/?#?"
)
_OF_PATH: Final = {path: family for family, path in _FAMILIES}

_MODEL: Final = "https://docs.oasis-open.org/niemopen/ns/model"
ROOT_FAMILY: Final = "cx"
ROOT_NAME: Final = "MissingPersonMessage"
WRITTEN: Final[Mapping[str, str]] = MappingProxyType(
    {
        ROOT_FAMILY: "urn:case-exchange:niem-missing-person:1",
        "nc": f"{_MODEL}/niem-core/6.0/",
        "j": f"{_MODEL}/domains/justice/6.0/",
    }
)
"""Prefix and namespace of what is written. The root is this project's own, because NIEM leaves it to the exchange."""
CONVENTIONAL: Final = frozenset({"nc", "j", "hs", "structures"})
"""Prefixes that mean their family if a JSON document has no context for them."""

MISSING_PERSON: Final = "j:MissingPerson"
ALERT: Final = "AmberAlert"
SUSPECTS: Final = frozenset({"Subject", "Suspect", "IncidentSubject", "ArrestSubject", "WarrantSubject"})
"""Roles of a person whom the police look for because of what the person did."""
BASE64: Final = frozenset({"BinaryBase64Object", "Base64BinaryObject", "BinaryObject"})


class Namespace(NamedTuple):
    """The family of a namespace and its version. Both are empty if the namespace has no family here."""

    family: str
    version: str


def namespace_of(uri: str) -> Namespace:
    """The family of a namespace."""
    if found := _PATTERN.fullmatch(uri):
        return Namespace(_OF_PATH[found[1]], found[2])
    if found := _NLETS.fullmatch(uri):
        return Namespace("nlets", found[1])
    return Namespace("", "")


SEX_OF: Final = {
    "m": common_pb2.SEX_MALE,
    "male": common_pb2.SEX_MALE,
    "男": common_pb2.SEX_MALE,
    "1": common_pb2.SEX_MALE,
    "f": common_pb2.SEX_FEMALE,
    "female": common_pb2.SEX_FEMALE,
    "女": common_pb2.SEX_FEMALE,
    "2": common_pb2.SEX_FEMALE,
    "x": common_pb2.SEX_OTHER,
    "other": common_pb2.SEX_OTHER,
    "u": common_pb2.SEX_UNSPECIFIED,
    "unknown": common_pb2.SEX_UNSPECIFIED,
    "": common_pb2.SEX_UNSPECIFIED,
}
"""Codes of NCIC (M, F, U, X) and AAMVA D20 (1, 2), and words."""
SEX_TEXT: Final = {common_pb2.SEX_MALE: "Male", common_pb2.SEX_FEMALE: "Female", common_pb2.SEX_OTHER: "Other"}

EVENT_OF: Final = {
    "r": case_pb2.EVENT_KIND_RAN_AWAY,
    "a": case_pb2.EVENT_KIND_ABDUCTED,
    "n": case_pb2.EVENT_KIND_ABDUCTED,
    "runaway": case_pb2.EVENT_KIND_RAN_AWAY,
    "runaway juvenile": case_pb2.EVENT_KIND_RAN_AWAY,
    "ran away": case_pb2.EVENT_KIND_RAN_AWAY,
    "abducted": case_pb2.EVENT_KIND_ABDUCTED,
    "abducted by non-custodial parent": case_pb2.EVENT_KIND_ABDUCTED,
    "abducted by stranger": case_pb2.EVENT_KIND_ABDUCTED,
    "strayed": case_pb2.EVENT_KIND_STRAYED,
    "abandoned": case_pb2.EVENT_KIND_ABANDONED,
    "given away": case_pb2.EVENT_KIND_GIVEN_AWAY,
}
"""NCIC's circumstances (field MPC: R runaway, A non-custodial parent, N stranger), and words. Whole texts only."""
EVENT_TEXT: Final = {
    case_pb2.EVENT_KIND_ABDUCTED: "Abducted",
    case_pb2.EVENT_KIND_STRAYED: "Strayed",
    case_pb2.EVENT_KIND_ABANDONED: "Abandoned",
    case_pb2.EVENT_KIND_GIVEN_AWAY: "Given away",
    case_pb2.EVENT_KIND_RAN_AWAY: "Ran away",
}
NCIC_KEYS: Final = frozenset({"EMD", "EME", "EMI", "EMJ", "EMV", "EMO"})
"""NCIC's message keys of missing persons: disability, endangered, involuntary, juvenile, catastrophe, other."""

STATUS_OF: Final = {
    "open": case_pb2.CASE_STATUS_OPEN,
    "active": case_pb2.CASE_STATUS_OPEN,
    "activate": case_pb2.CASE_STATUS_OPEN,
    "closed": case_pb2.CASE_STATUS_CLOSED,
    "believed alive": case_pb2.CASE_STATUS_BELIEVED_ALIVE,
    "believed missing": case_pb2.CASE_STATUS_BELIEVED_MISSING,
    "believed dead": case_pb2.CASE_STATUS_BELIEVED_DEAD,
}
"""Words for a status. Activate is an alert's. A cancelled alert does not close a case, so that word is not here."""
STATUS_TEXT: Final = {
    case_pb2.CASE_STATUS_OPEN: "Open",
    case_pb2.CASE_STATUS_CLOSED: "Closed",
    case_pb2.CASE_STATUS_BELIEVED_ALIVE: "Believed alive",
    case_pb2.CASE_STATUS_BELIEVED_MISSING: "Believed missing",
    case_pb2.CASE_STATUS_BELIEVED_DEAD: "Believed dead",
}

NAME_KIND_OF: Final = {
    "legal": common_pb2.NAME_KIND_LEGAL,
    "alternate": common_pb2.NAME_KIND_ALIAS,
    "alias": common_pb2.NAME_KIND_ALIAS,
    "former": common_pb2.NAME_KIND_FORMER,
}
NAME_KIND_TEXT: Final = {
    common_pb2.NAME_KIND_LEGAL: "Legal",
    common_pb2.NAME_KIND_ALIAS: "Alternate",
    common_pb2.NAME_KIND_FORMER: "Former",
}
NAME_CATEGORY: Final = ("nc:PersonNameCategoryCode", "nc:PersonNameCategoryText")

LABELLED: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("Complexion", "nc:PersonComplexionText", ("nc:PersonComplexionCode",)),
    ("Build", "nc:PersonBuildText", ("nc:PersonBuildCode", "j:PersonBuildCode")),
    ("Eye color", "nc:PersonEyeColorText", ("nc:PersonEyeColorCode", "j:PersonEyeColorCode")),
    ("Eyewear", "nc:PersonEyewearText", ("nc:PersonEyewearCode",)),
    ("Facial hair", "nc:PersonFacialHairText", ("nc:PersonFacialHairCode",)),
    ("Hair color", "nc:PersonHairColorText", ("nc:PersonHairColorCode", "j:PersonHairColorCode")),
    ("Hair length", "nc:PersonHairLengthText", ("nc:PersonHairLengthCode",)),
    ("Hair style", "nc:PersonHairStyleText", ("nc:PersonHairStyleCode",)),
    ("Skin tone", "nc:PersonSkinToneText", ("nc:PersonSkinToneCode", "j:PersonSkinToneCode")),
)
"""Features with a text that needs a label: the label, the element that is written, others that are read."""
DESCRIPTIONS: Final = (
    (common_pb2.FEATURE_KIND_UNSPECIFIED, ("nc:PersonDescriptionText", "nc:PersonGeneralAppearanceDescriptionText")),
    (common_pb2.FEATURE_KIND_SPEECH, ("nc:PersonSpeechDescriptionText", "nc:PersonAccentText")),
    (
        common_pb2.FEATURE_KIND_HEALTH,
        (
            "nc:PersonMedicalDescriptionText",
            "nc:PersonMedicalConditionText",
            "nc:PersonMedicationRequiredText",
            "nc:PersonMentalStateText",
            "nc:PersonPhysicalDisabilityText",
        ),
    ),
    (common_pb2.FEATURE_KIND_BELONGINGS, ("nc:PersonJewelryDescriptionText",)),
)
"""Features that need no label. The first element of each is written. Belongings are written as clothing."""

IDENTIFICATIONS: Final = (
    "j:PersonNCICIdentification",
    "j:PersonFBIIdentification",
    "j:PersonStateFingerprintIdentification",
    "nc:PersonNationalIdentification",
    "nc:PersonOtherIdentification",
    "nc:PersonPassportIdentification",
    "nc:PersonSSNIdentification",
    "nc:PersonStateIdentification",
)
"""Numbers of a person that become documents, each with the type that it states (NIEM, local name) or the table's."""
NIEM: Final = "NIEM"
RESIDENT_ID: Final = "GB 11643"

KEPT: Final = {
    "MissingPerson/MissingPersonDisappearanceCategoryText": "j:MissingPersonDisappearanceCategoryText",
    "MissingPerson/MissingPersonFoundIndicator": "j:MissingPersonFoundIndicator",
    "MissingPerson/MissingPersonInterestIndicator": "j:MissingPersonInterestIndicator",
    "MissingPerson/PersonRaceText": "nc:PersonRaceText",
}
"""What has no place in a record: it is kept as unmapped with this path, and written again from there."""
