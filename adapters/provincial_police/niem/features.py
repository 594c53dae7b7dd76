"""The features by which a person can be recognised, read from NIEM and written to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.provincial_police.niem.names import DESCRIPTIONS, LABELLED
from caseexchange.records.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from adapters.provincial_police.niem.person import PersonView
    from adapters.provincial_police.niem.tree import Node
    from caseexchange.records.v1 import case_pb2

_BODY: Final = common_pb2.FEATURE_KIND_BODY
_BELONGINGS: Final = common_pb2.FEATURE_KIND_BELONGINGS
_PHYSICAL: Final = (
    "nc:PhysicalFeatureCategoryText",
    "nc:PhysicalFeatureCategoryCode",
    "j:PhysicalFeatureCategoryCode",
    "nc:PhysicalFeatureLocationText",
    "nc:PhysicalFeatureDescriptionText",
)
_CLOTHING: Final = ("j:ClothingColorText", "j:ClothingCategoryText", "j:ClothingDescriptionText")
_COMPOSED: Final = (
    ("nc:PersonPhysicalFeature", _BODY, _PHYSICAL),
    ("nc:PersonMedicalCondition", common_pb2.FEATURE_KIND_HEALTH, ("nc:MedicalConditionText",)),
    ("j:PersonClothing", _BELONGINGS, _CLOTHING),
    ("nlets:PersonJewelry", _BELONGINGS, ("nc:ItemDescriptionText",)),
)
"""Elements with parts that together are one feature."""


def add_features(record: case_pb2.CaseRecord, view: PersonView) -> None:
    """Read the features, the blood group and the ethnicity of a person."""
    texts = [(_BODY, f"{label}: {text}") for label, key, others in LABELLED for text in _texts(view, key, *others)]
    texts += [(kind, text) for kind, keys in DESCRIPTIONS for text in _texts(view, *keys)]
    texts += [(kind, text) for key, kind, parts in _COMPOSED for text in _composed(view, key, parts)]
    for kind, text in texts:
        record.features.add(kind=kind, text=text)
    record.blood_group = view.text(
        view.first("nc:PersonBloodTypeText", "nc:PersonBloodTypeCode", "j:PersonBloodTypeCode")
    )
    ethnicity = view.text(view.first("nc:PersonEthnicityText"))
    if ethnicity:
        record.ethnicity.display = ethnicity


def _texts(view: PersonView, *keys: str) -> list[str]:
    return [text for node in view.all(*keys) if (text := view.text(node))]


def _composed(view: PersonView, key: str, parts: Sequence[str]) -> Iterator[str]:
    for node in view.all(key):
        texts = [view.text(item) for part in parts for item in view.within(node, part)]
        text = ", ".join(filter(None, texts)) or view.text(node)
        if text:
            yield text


def write_labelled(node: Node, features: Iterable[common_pb2.Feature], key: str) -> None:
    """Write the features with the label of this element."""
    label = next(label for label, written, _ in LABELLED if written == key)
    for feature in features:
        if feature.kind == _BODY and feature.text.startswith(f"{label}: "):
            node.add_text(key, feature.text.removeprefix(f"{label}: "))


def write_described(
    node: Node, features: Iterable[common_pb2.Feature], kind: common_pb2.FeatureKind.ValueType, key: str
) -> None:
    """Write the features of a kind that need no label."""
    for feature in features:
        if feature.kind == kind:
            node.add_text(key, feature.text)


def write_physical(node: Node, features: Iterable[common_pb2.Feature]) -> None:
    """Write the features of the body that have no element of their own."""
    labels = tuple(f"{label}: " for label, _, _ in LABELLED)
    for feature in features:
        if feature.kind == _BODY and feature.text and not feature.text.startswith(labels):
            node.add("nc:PersonPhysicalFeature").add("nc:PhysicalFeatureDescriptionText", feature.text)


def write_clothing(node: Node, features: Iterable[common_pb2.Feature]) -> None:
    """Write clothing and belongings."""
    for feature in features:
        if feature.kind == _BELONGINGS and feature.text:
            node.add("j:PersonClothing").add("j:ClothingDescriptionText", feature.text)
