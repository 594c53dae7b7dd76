"""Reads elements by their path, and remembers what was read, so that the rest can be kept as unmapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxml import etree

from adapters.syntax.hardened_xml import children, local_name, text_of, where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapters.base import IssueList

_BINARIES: Final = ("BinaryObject", "BinaryBase64Object", "Base64Object")


class Fields:
    """An element with fields that are read one by one. Paths have local names, because namespaces differ by version."""

    def __init__(self, element: etree._Element) -> None:
        self.element = element
        self.repeated = False
        """Whether a field that was read as the only one is there twice: two readers could read different things."""
        self._taken: set[etree._Element] = set()

    def elements(self, *path: str, within: etree._Element | None = None) -> list[etree._Element]:
        """The elements at a path, in the document's order."""
        found = [self.element if within is None else within]
        for name in path:
            found = [child for element in found for child in children(element, name)]
        return found

    def text(self, *path: str, within: etree._Element | None = None) -> str:
        """The text of the one element at a path, "" if there is none."""
        found = self.elements(*path, within=within)
        self.repeated |= len(found) > 1
        return self.take(found[0]) if found else ""

    def take(self, element: etree._Element) -> str:
        """An element's own text. It then counts as read."""
        self._taken.add(element)
        return text_of(element)

    def leave(self, element: etree._Element) -> None:
        """Count an element and everything in it as read."""
        self._taken.update(element.iter())

    def rest(self) -> Iterator[tuple[str, str]]:
        """The path and value of each text and attribute that was not read."""
        for element in self.element.iter():
            if element in self._taken:
                continue
            path = self._path(element)
            yield from (
                (f"{path}/@{etree.QName(str(name)).localname}", str(value)) for name, value in element.attrib.items()
            )
            if text_of(element):
                yield path, text_of(element)

    def _path(self, element: etree._Element) -> str:
        names = [local_name(element)]
        for parent in element.iterancestors():
            if element is self.element:
                break
            names.append(local_name(parent))
            if parent is self.element:
                break
        return "/".join(reversed(names))


def drop_binaries(root: etree._Element, issues: IssueList) -> None:
    """Remove files in base64 (traces, electropherograms, pictures) from a document, with a code for each."""
    found = [element for element in root.iter() if local_name(element).endswith(_BINARIES)]
    for element in found:
        issues.info("BINARY_NOT_CARRIED", where(element), "a file in the document is not part of a profile")
        parent = element.getparent()
        if parent is not None:
            parent.remove(element)
