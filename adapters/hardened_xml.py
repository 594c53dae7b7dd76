"""XML from strangers: no DTD, no entities, no network, bounded in size and depth.

A document type declaration is refused before the parser sees one, because internal entities alone can grow a file a
millionfold; what is left to the parser is UTF-8 text without declarations of any kind.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Final

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapters.base import IssueList, Limits

_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
_ENCODING: Final = re.compile(rb"""^<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def parse_xml(content: bytes, limits: Limits, issues: IssueList) -> etree._Element | None:
    """The root element of a document, or None, with the reason among the issues.

    Codes: FILE_TOO_LARGE, XML_ENCODING, XML_DTD_REFUSED, XML_MALFORMED, XML_TOO_DEEP.
    """
    if len(content) > limits.bytes:
        issues.reject_file("FILE_TOO_LARGE", "file", f"larger than {limits.bytes} bytes")
        return None
    text = _text(content)
    if text is None:
        issues.reject_file("XML_ENCODING", "line 1", "not text in the encoding that it states")
        return None
    # Wherever it stands: within a comment it would be harmless, and nobody writes one there.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        line = text[: text.index("<!")].count("\n") + 1
        issues.reject_file("XML_DTD_REFUSED", f"line {line}", "a document type declaration is not accepted")
        return None
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(_DECLARATION.sub("", text, count=1).encode(), parser)
    except etree.XMLSyntaxError as error:
        # The library's own message may quote the text that it choked on.
        line = error.lineno or 1
        issues.reject_file("XML_MALFORMED", f"line {line}", "not well-formed XML")
        return None
    if _deeper_than(root, limits.depth):
        issues.reject_file("XML_TOO_DEEP", "file", f"elements are nested deeper than {limits.depth}")
        return None
    return root


def local_name(element: etree._Element) -> str:
    """An element's name without its namespace."""
    return etree.QName(element).localname


def namespace(element: etree._Element) -> str:
    """An element's namespace, or an empty text."""
    return etree.QName(element).namespace or ""


def children(element: etree._Element, name: str) -> list[etree._Element]:
    """The child elements of this local name, in order."""
    return [child for child in element if local_name(child) == name]


def child_text(element: etree._Element, name: str) -> str:
    """The text of the first child of this local name, without the blanks around it; empty where there is none."""
    return next((text_of(child) for child in children(element, name)), "")


def text_of(element: etree._Element) -> str:
    """An element's own text, without the blanks around it."""
    return (element.text or "").strip()


def where(element: etree._Element) -> str:
    """Where an element stands, for an issue."""
    return f"line {element.sourceline}"


def new_root(namespace: str, name: str) -> etree._Element:
    """A root element whose namespace is the document's default."""
    # The stubs do not know that None stands for the default namespace.
    nsmap: dict[str, str] = {None: namespace}  # type: ignore[dict-item]
    return etree.Element(etree.QName(namespace, name), nsmap=nsmap)


def add(parent: etree._Element, name: str, text: str) -> etree._Element:
    """Append a child in the parent's namespace. Characters that XML cannot hold are left out."""
    child = etree.SubElement(parent, etree.QName(namespace(parent) or None, name))
    child.text = "".join(filter(_is_xml, text))
    return child


def serialise(root: etree._Element) -> bytes:
    """A document: UTF-8, with its declaration, indented."""
    etree.indent(root)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8") + b"\n"


def _text(content: bytes) -> str | None:
    for bom, encoding in _BOMS:
        if content.startswith(bom):
            return _decode(content[len(bom) :], encoding)
    stated = _ENCODING.match(content.lstrip()[:200])
    return _decode(content, stated[1].decode("ascii") if stated else "utf-8")


def _decode(content: bytes, encoding: str) -> str | None:
    try:
        text = content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None
    return None if "\0" in text else text


def _deeper_than(root: etree._Element, depth: int) -> bool:
    level: Iterable[etree._Element] = [root]
    for _ in range(depth):
        level = [child for element in level for child in element]
        if not level:
            return False
    return True


def _is_xml(character: str) -> bool:
    return (
        character in "\t\n\r"
        or (character >= " " and not "\ud800" <= character <= "\udfff" and character < "\ufffe")
        or character > "\uffff"
    )
