"""XML from strangers: no DTD, no entities, no network. Size, depth and number of elements are limited.

A document type declaration is refused before the parser sees it, because internal entities alone can make a file a
million times larger. The parser gets only UTF-8 text without declarations.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from adapters.base import IssueList, Limits

_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
_ENCODING: Final = re.compile(rb"""^<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_ENCODINGS: Final = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252", "gb18030", "gbk", "gb2312"})
"""The encodings that a declaration may state, by Python's names. Other codecs include escapes, or are quadratic."""
DTD: Final = re.compile(r"<!(?:DOCTYPE|ENTITY)")
"""Refused anywhere. In a comment it would be harmless, but nobody writes it there."""
MAX_TAGS: Final = 4_000_000
"""The most ``<`` and ``=`` in a document. A tree takes about 200 bytes of memory for each element or attribute."""
_CHUNK: Final = 1 << 16
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


def parse_xml(content: bytes, limits: Limits, issues: IssueList) -> etree._Element | None:
    """The root element of a document. None if the file is refused; an issue then says why.

    Codes: FILE_TOO_LARGE, XML_ENCODING, XML_TOO_MANY_ELEMENTS, XML_DTD_REFUSED, XML_TOO_DEEP, XML_MALFORMED.
    """
    if len(content) > limits.bytes:
        issues.reject_file("FILE_TOO_LARGE", "file", f"larger than {limits.bytes} bytes")
        return None
    text = _text(content)
    if text is None:
        issues.reject_file("XML_ENCODING", "line 1", "not text in the stated encoding, or an encoding not read here")
        return None
    if text.count("<") + text.count("=") > MAX_TAGS:
        issues.reject_file("XML_TOO_MANY_ELEMENTS", "file", "more elements and attributes than a document may have")
        return None
    declaration = DTD.search(text)
    if declaration is not None:
        line = text.count("\n", 0, declaration.start()) + 1
        issues.reject_file("XML_DTD_REFUSED", f"line {line}", "a document type declaration is not accepted")
        return None
    return _tree(text, limits, issues)


def local_name(element: etree._Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def namespace(element: etree._Element) -> str:
    """An element's namespace, or "" if it has none."""
    return etree.QName(element).namespace or ""


def unread(element: etree._Element, known: Container[str]) -> Iterator[tuple[str, str]]:
    """The path and text of each attribute and child element that is not in ``known``: what the reader does not map."""
    for name, value in element.attrib.items():
        local = etree.QName(str(name)).localname
        if local not in known:
            yield f"{local_name(element)}/@{local}", str(value)
    for child in element:
        if local_name(child) not in known:
            yield f"{local_name(element)}/{local_name(child)}", "".join(str(part) for part in child.itertext()).strip()


def longer_than(element: etree._Element, characters: int) -> bool:
    """Whether a text or an attribute in an element has more characters than this."""
    # Fast: the whole text of most elements, with markup, is shorter.
    return (
        len(etree.tostring(element, encoding="UTF-8", with_tail=False)) > characters and longest(element) > characters
    )


def longest(element: etree._Element) -> int:
    """The length of the longest text or attribute in an element, in characters."""
    return max(max(len(item.text or ""), *(len(value) for value in item.attrib.values()), 0) for item in element.iter())


def children(element: etree._Element, name: str) -> list[etree._Element]:
    """The child elements with this local name, in order."""
    return [child for child in element if local_name(child) == name]


def child_text(element: etree._Element, name: str) -> str:
    """The text of the first child with this local name, without the blanks around it; "" if there is no such child."""
    return next((text_of(child) for child in children(element, name)), "")


def by_name(element: etree._Element) -> dict[str, list[etree._Element]]:
    """The child elements by local name, in order. Fast, for readers that need all of them."""
    found: dict[str, list[etree._Element]] = {}
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name in found:
            found[name].append(child)
        else:
            found[name] = [child]
    return found


def text_of(element: etree._Element) -> str:
    """An element's own text, without the blanks around it."""
    return (element.text or "").strip()


def where(element: etree._Element) -> str:
    """The place of an element, for an issue."""
    return f"line {element.sourceline}"


def new_root(namespace: str, name: str) -> etree._Element:
    """A root element. Its namespace, if it has one, is the document's default."""
    if not namespace:
        return etree.Element(name)
    # The stubs do not know that None means the default namespace.
    nsmap: dict[str, str] = {None: namespace}  # type: ignore[dict-item]
    return etree.Element(etree.QName(namespace, name), nsmap=nsmap)


def add(parent: etree._Element, name: str, text: str = "") -> etree._Element:
    """Append a child in the parent's namespace, with the ``writable`` part of the text. Without text it stays empty."""
    child = etree.SubElement(parent, etree.QName(namespace(parent) or None, name))
    child.text = writable(text) or None
    return child


def writable(text: str) -> str:
    """A text without the characters that XML cannot hold (most control characters, lone surrogates)."""
    return "".join(filter(_is_xml, text))


def is_name(text: str) -> bool:
    """Whether a text can be the name of an element. It may come from a record."""
    return _NAME.fullmatch(text) is not None


def serialise(root: etree._Element) -> bytes:
    """A document as UTF-8, with its declaration, indented."""
    etree.indent(root)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8") + b"\n"


def _tree(text: str, limits: Limits, issues: IssueList) -> etree._Element | None:
    # A pull parser: a document that is too deep is refused before its whole tree exists.
    parser = pull_parser()
    document = without_declaration(text).encode()
    height = _Height(limits.depth)
    root: etree._Element | None = None
    try:
        for start in range(0, len(document), _CHUNK):
            parser.feed(document[start : start + _CHUNK])
            if height.exceeds(parser, issues):
                return None
        root = parser.close()
    except etree.XMLSyntaxError as error:
        # The library has a depth limit too. Its message is not used, because it may quote the document.
        if not height.exceeds(parser, issues):
            issues.reject_file("XML_MALFORMED", f"line {error.lineno or 1}", "not well-formed XML")
    return root


class _Height:
    """The parser's current depth."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._height = 0

    def exceeds(self, parser: etree.XMLPullParser, issues: IssueList) -> bool:
        """Whether the parser was too deep since the last call. If so, an issue is added."""
        with suppress(etree.XMLSyntaxError):
            for event, element in parser.read_events():
                self._height += 1 if event == "start" else -1
                if self._height > self._limit:
                    line = where(element)  # type: ignore[arg-type] # the events asked for are of elements
                    issues.reject_file("XML_TOO_DEEP", line, f"nested deeper than {self._limit} elements")
                    return True
        return False


def pull_parser(tag: str | None = None) -> etree.XMLPullParser:
    """The parser for all XML from strangers. It reports the start and the end of elements (only of this tag)."""
    return etree.XMLPullParser(
        ("start", "end"),
        tag=tag,
        collect_ids=False,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def without_declaration(text: str) -> str:
    """The beginning of a document without its declaration, which describes bytes that are already decoded.

    Line breaks stay, so that lines keep their numbers.
    """
    return _DECLARATION.sub(lambda found: "\n" * found[0].count("\n"), text, count=1)


def encoding_of(head: bytes) -> tuple[str | None, int]:
    """The encoding of a document with this beginning (None if it is not read here), and the length of its BOM."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding, len(bom)
    stated = _ENCODING.match(head.lstrip()[:200])
    return (_known(stated[1].decode("ascii")) if stated else "utf-8"), 0


def _text(content: bytes) -> str | None:
    encoding, mark = encoding_of(content)
    return _decode(content[mark:], encoding)


def _known(encoding: str) -> str | None:
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        return None
    return name if name in _ENCODINGS else None


def _decode(content: bytes, encoding: str | None) -> str | None:
    if encoding is None:
        return None
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _is_xml(character: str) -> bool:
    return (
        character in "\t\n\r"
        or (character >= " " and not "\ud800" <= character <= "\udfff" and character < "\ufffe")
        or character > "\uffff"
    )
