"""NIEM XML: from bytes to the neutral tree, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxml import etree

from adapters.provincial_police.niem.names import WRITTEN, namespace_of
from adapters.provincial_police.niem.tree import Document, Node
from adapters.syntax.hardened_xml import local_name, namespace, parse_xml, serialise, where

if TYPE_CHECKING:
    from adapters.base import IssueList, Limits

_NODES: Final = 2_000_000
"""The most elements and attributes that are read. A node takes three times the memory of the parser's own node."""
_INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"


def read_xml(content: bytes, limits: Limits, issues: IssueList) -> Document | None:
    """The tree of an XML document. None if it is refused; an issue then says why (codes of ``parse_xml``)."""
    root = parse_xml(content, limits, issues)
    if root is None:
        return None
    if sum(1 + len(element.attrib) for element in root.iter()) > _NODES:
        issues.reject_file("XML_TOO_MANY_ELEMENTS", "file", "more elements and attributes than a document may have")
        return None
    versions: set[str] = set()
    return Document(_node(root, versions), len(content), frozenset(versions))


def write_xml(root: Node) -> bytes:
    """An XML document of NIEM 6.0."""
    element = etree.Element(etree.QName(WRITTEN[root.family], root.name), nsmap=dict(WRITTEN))
    _fill(element, root)
    return serialise(element)


def _node(element: etree._Element, versions: set[str]) -> Node:
    """The node of an element. The parser has limited the depth."""
    family, version = namespace_of(namespace(element))
    if family == "nc":
        versions.add(version)
    node = Node(family, local_name(element), _text(element), where(element))
    node.children = [_node(child, versions) for child in element]
    content = bool(node.text or node.children)
    for name, value in element.attrib.items():
        _attribute(node, etree.QName(str(name)), str(value).strip(), content=content)
    return node


def _attribute(node: Node, name: etree.QName, value: str, *, content: bool) -> None:
    """Structures become links. Any other attribute is kept as a child with the name ``@name``."""
    uri = name.namespace or ""
    if uri == _INSTANCE:
        return
    family = namespace_of(uri).family
    match family, name.localname:
        case "structures", "id":
            node.identity = value
        case "structures", "ref":
            node.reference = value
        case "structures", "uri":
            # A uri that is a fragment refers to the element with this id in the file.
            node.identity = node.identity or value.removeprefix("#")
            if not content:
                node.reference = node.reference or value.removeprefix("#")
        case ("structures", "metadata") | ("nc", "metadataRef"):
            node.metadata += tuple(value.split())
        case _:
            node.children.append(Node(family, f"@{name.localname}", value, node.where))


def _text(element: etree._Element) -> str:
    if not len(element):
        return (element.text or "").strip()
    parts = [element.text or "", *(child.tail or "" for child in element)]
    return " ".join(part.strip() for part in parts if part.strip())


def _fill(element: etree._Element, node: Node) -> None:
    element.text = node.text or None
    for child in node.children:
        _fill(etree.SubElement(element, etree.QName(WRITTEN[child.family], child.name)), child)
