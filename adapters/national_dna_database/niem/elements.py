"""Makes elements of a NIEM DNA transaction."""

from __future__ import annotations

from lxml import etree

from adapters.national_dna_database.niem.codes import BIOMETRICS, CORE


def add(parent: etree._Element, name: str, text: str = "", space: str = BIOMETRICS) -> etree._Element:
    """Append a child with a text that XML can hold. Without ``space``, it is in the biometrics domain."""
    child = etree.SubElement(parent, etree.QName(space, name))
    child.text = text or None
    return child


def add_identification(
    parent: etree._Element, name: str, number: str, kind: str, *, described: bool = True
) -> etree._Element:
    """Append a number and its kind. ``described``: the kind is given in words, or as a category."""
    space = CORE if name.startswith("Person") else BIOMETRICS
    element = add(parent, name, space=space)
    add(element, "IdentificationID", number, CORE)
    add(element, "IdentificationCategoryDescriptionText" if described else "IdentificationCategoryText", kind, CORE)
    return element
