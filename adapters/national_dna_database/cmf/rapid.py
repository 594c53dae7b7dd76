"""Rapid Import CMF, as instruments in booking stations write it, changed into the form of CMF 3.2.

Its header is a separate element with other names. Kit and batch are elements of a locus. Nobody has read the loci.
Its specimens are of arrestees and convicts, some of them juveniles. Source: CODIS Rapid Import CMF Interface
Specification R16. Read only, because only the instrument writes such a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.syntax.hardened_xml import child_text, children, local_name, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lxml import etree

RAPID_NAMESPACE: Final = "urn:CODISRapidImportFile-schema"
RAPID_ROOT: Final = "CODISRapidImportFile"
_MESSAGE_TYPES: Final = {"Rapid Import": "Import"}
_HEADER: Final = {
    "MESSAGEVERSION": "HEADERVERSION",
    "MSGCREATORUSERID": "SUBMITBYUSERID",
    "MESSAGEDATETIME": "SUBMITDATETIME",
    "SOURCEORI": "SOURCELAB",
}
"""The names of the header's fields in 3.2. The other fields keep their names, and so do those of the device."""
_BLOCKS: Final = ("HEADER", "DEVICE")
_OF_LOCUS: Final = ("KIT", "BATCHID")


def reshape_header(root: etree._Element) -> str:
    """Change the root of a Rapid document, with everything but the specimens, to 3.2. Returns the stated version.

    What is there twice is not changed, so that it is refused as in 3.2.
    """
    version = next((child_text(header, "MESSAGEVERSION") for header in children(root, "HEADER")), "")
    for name in _BLOCKS:
        for block in children(root, name):
            _unpack(block, root, _HEADER)
    for message_type in children(root, "MESSAGETYPE"):
        message_type.text = _MESSAGE_TYPES.get(text_of(message_type), f"Rapid {text_of(message_type)}")
    root.tag = "CODISImportFile"
    return f"Rapid {version}".strip()


def reshape_specimen(specimen: etree._Element) -> None:
    """Change a specimen of a Rapid document into one of 3.2."""
    for locus in children(specimen, "LOCUS"):
        for name in _OF_LOCUS:
            _to_attribute(locus, name)


def _unpack(block: etree._Element, root: etree._Element, names: Mapping[str, str]) -> None:
    for child in list(block):
        child.tag = names.get(local_name(child), local_name(child))
        root.append(child)
    root.remove(block)


def _to_attribute(locus: etree._Element, name: str) -> None:
    found = children(locus, name)
    if len(found) == 1 and name not in locus.attrib:
        locus.set(name, text_of(found[0]))
        locus.remove(found[0])
