"""XML from strangers that is larger than memory: yields the children of the root, one after the other.

The guarantees are those of ``adapters/syntax/hardened_xml.py``: encodings, no DTD, no entities, no network, limited
depth. The document's size is not limited to fit memory. Instead, two things are limited that memory grows with: the
size of a child of the root, and the number of different names, because the parser keeps every name that it has seen.
Line numbers are exact up to 65,535. Beyond, they may be one off.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, BinaryIO, Final

from lxml import etree

from adapters.syntax.hardened_xml import DTD, encoding_of, local_name, pull_parser, where, without_declaration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from adapters.base import IssueList, Limits

MAX_CHILD_CHARACTERS: Final = 8 * 1024 * 1024
"""The limit for one child of the root with everything in it. A child may exceed it by one piece."""
MAX_CHILD_TAGS: Final = 100_000
"""The most ``<`` in one child of the root. A child may exceed it by one piece."""
MAX_NAMES: Final = 10_000
"""The most different names in a document: of elements and attributes, prefixes and namespaces."""
_PIECE: Final = 1 << 16
_OVERLAP: Final = len("<!DOCTYPE") - 1
_TAG: Final = re.compile(r"<([^\s/>!?]+)")
_ATTRIBUTE: Final = re.compile(r"\s([^\s<>=\"'/]+)\s*=\s*[\"']")
_NAMESPACE: Final = re.compile(r"xmlns[^=<>]{0,200}=\s*[\"']([^\"']*)")
_DEPTH: Final = "Excessive depth"
"""The beginning of the library's message about its own depth limit."""


class XmlStream:
    """A document that is read once, from the beginning of a file.

    Attributes:
        root: the root element with its attributes, once it was read. Its children come and go.
    """

    def __init__(self, file: BinaryIO, record: str, limits: Limits, issues: IssueList, *, again: bool = False) -> None:
        """Prepare to read.

        Args:
            file: it is read from its beginning.
            record: the local name of those children of the root that may occur any number of times.
            limits: ``streamed_bytes`` and ``depth`` apply here.
            issues: if the document is refused, the issue is added here.
            again: the document was read before, so its names are not counted again.
        """
        self.root: etree._Element | None = None
        self._file = file
        self._record = record
        self._limits = limits
        self._issues = issues
        self._parser = pull_parser("{*}" + record)
        # Matches a child of the root that contains an element below the greatest depth.
        self._too_deep = etree.XPath("boolean(" + "/".join("*" * max(limits.depth - 1, 1)) + ")")
        self._names: set[str] | None = None if again else set()
        self._line = 1
        self._refused = False

    def children(self, seen: Callable[[bytes], object] = len) -> Iterator[etree._Element]:
        """Yield the children of the root, in order. Each child is whole until the next one is taken.

        If the document is refused, the children end and an issue says why. Codes: FILE_TOO_LARGE, XML_ENCODING,
        XML_DTD_REFUSED, XML_TOO_DEEP, XML_RECORD_TOO_LARGE, XML_TOO_MANY_NAMES, XML_MALFORMED.

        Args:
            seen: called with every piece of the file as it is read, for a digest.
        """
        characters = tags = 0
        try:
            for text in self._pieces(seen):
                self._parser.feed(text.encode())
                ended = False
                for child in self._ended():
                    ended = True
                    yield from self._checked(child)
                characters, tags = (0, 0) if ended else (characters + len(text), tags + text.count("<"))
                if characters > MAX_CHILD_CHARACTERS or tags > MAX_CHILD_TAGS:
                    self._refuse("XML_RECORD_TOO_LARGE", f"line {self._line}", "a child of the root is too large")
                if self._refused:
                    return
                self._line += text.count("\n")
            if self._refused:
                return
            self.root = self._parser.close()
            for child in self._ended():
                yield from self._checked(child)
            for child in self._others():
                yield from self._checked(child)
        except etree.XMLSyntaxError as error:
            # The library's own message may quote the document.
            if (error.msg or "").startswith(_DEPTH):
                self._refuse("XML_TOO_DEEP", f"line {error.lineno or 1}", self._nested())
            else:
                self._refuse("XML_MALFORMED", f"line {error.lineno or 1}", "not well-formed XML")

    def _ended(self) -> Iterator[etree._Element]:
        """The children of the root up to the last record that has ended. Each is emptied after it was yielded."""
        for event, element in self._parser.read_events():
            parent: etree._Element | None = element.getparent()  # type: ignore[union-attr] # events of elements only
            if event == "start" or parent is None or parent.getparent() is not None:
                continue
            self.root = parent
            while (child := parent[0]) is not element:
                if local_name(child) != self._record:
                    yield child
                if child.getparent() is parent:
                    parent.remove(child)
            yield element
            # Emptied at once, so that the next one reuses its memory. The tail stays: the parser may be writing it.
            element.clear(keep_tail=True)  # type: ignore[call-arg] # the stubs know it without

    def _others(self) -> list[etree._Element]:
        """The children of the root after the last record."""
        return [] if self.root is None else [item for item in self.root if local_name(item) != self._record]

    def _checked(self, child: etree._Element) -> Iterator[etree._Element]:
        if self._refused:
            return
        if self._too_deep(child):
            self._refuse("XML_TOO_DEEP", where(child), self._nested())
            return
        yield child

    def _nested(self) -> str:
        return f"nested deeper than {self._limits.depth} elements"

    def _pieces(self, seen: Callable[[bytes], object]) -> Iterator[str]:
        """Yield the document as text without its declaration. If it is refused, the pieces end."""
        size = 0
        before = ""
        decoder: codecs.IncrementalDecoder | None = None
        self._file.seek(0)
        while True:
            piece = self._file.read(_PIECE)
            seen(piece)
            size += len(piece)
            if size > self._limits.streamed_bytes:
                self._refuse("FILE_TOO_LARGE", "file", f"larger than {self._limits.streamed_bytes} bytes")
                return
            first = decoder is None
            if decoder is None:
                encoding, mark = encoding_of(piece)
                if encoding is None:
                    self._refuse_encoding()
                    return
                decoder, piece = codecs.getincrementaldecoder(encoding)(), piece[mark:]
            text = self._decoded(decoder, piece)
            if text is None or self._declares(before, text) or self._too_many_names(text):
                return
            if text:
                yield without_declaration(text) if first else text
            if not piece and not first:
                return
            before = text[-_OVERLAP:]

    def _decoded(self, decoder: codecs.IncrementalDecoder, piece: bytes) -> str | None:
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            self._refuse_encoding()
            return None
        return text

    def _declares(self, before: str, text: str) -> bool:
        found = DTD.search(before + text)
        if found is None:
            return False
        line = self._line + (before + text).count("\n", len(before), found.start())
        self._refuse("XML_DTD_REFUSED", f"line {line}", "a document type declaration is not accepted")
        return True

    def _too_many_names(self, text: str) -> bool:
        if self._names is None:
            return False
        # A name that is cut in two counts as two. That does not matter, because documents have few names.
        self._names.update(_TAG.findall(text), _ATTRIBUTE.findall(text))
        if "xmlns" in text:
            self._names.update(_NAMESPACE.findall(text))
        if len(self._names) <= MAX_NAMES:
            return False
        self._refuse("XML_TOO_MANY_NAMES", f"line {self._line}", f"more than {MAX_NAMES} different names")
        return True

    def _refuse_encoding(self) -> None:
        self._refuse("XML_ENCODING", "line 1", "not text in the stated encoding, or an encoding not read here")

    def _refuse(self, code: str, locator: str, message: str) -> None:
        self._refused = True
        self._issues.reject_file(code, locator, message)
