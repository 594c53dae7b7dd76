"""The parts of a document that describe one missing person, and the parts of them that have been read.

The person is the ``j:MissingPerson`` itself, the ``nc:RoleOfPerson`` in it and what that refers to (NIEM 2.0 to 5.2),
any ``nc:Person`` with the same ``structures:uri`` or ``@id`` (NIEM 6.0), and the augmentations of all these. A person
in any other role, such as a subject, is never one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.provincial_police.niem.names import BASE64

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from adapters.base import IssueList
    from adapters.provincial_police.niem.tree import Document, Node

_SEE_THROUGH: Final = ("nc:RoleOfPerson",)
_ENTRY: Final = "nlets:NCICEntry"
_NO_ROLES: Final = frozenset({"MissingPerson", "RoleOfPerson", "Person"})


def path_to(node: Node, above: str) -> str:
    """The path of an element in a person, without roles and augmentations, because these differ by version."""
    hidden = node.key in _SEE_THROUGH or node.name.endswith("Augmentation")
    return above if hidden else f"{above}/{node.name}"


class PersonView:
    """The elements of one missing person, by key. Remembers which texts were read.

    Attributes:
        node: the ``j:MissingPerson``.
        issues: the issues so far.
    """

    def __init__(self, document: Document, node: Node, issues: IssueList) -> None:
        self.node = node
        self.issues = issues
        self._document = document
        self._read: set[int] = set()
        self._entered: dict[int, list[Node]] = {}
        self._metadata: dict[int, list[Node]] = {}
        self._linked: set[str] = set()
        self._longest = 0
        self._facets = self._find_facets()
        self._by_key: dict[str, list[Node]] = {}
        seen: set[int] = set()
        for child in (child for facet in self._facets for child in self._children(facet)):
            # With circular links, the same element would come again.
            if id(child) not in seen:
                seen.add(id(child))
                self._by_key.setdefault(child.key, []).append(child)

    @property
    def where(self) -> str:
        """The person's place, for an issue."""
        return self.node.where

    def all(self, *keys: str) -> list[Node]:
        """The person's elements with these keys: key by key, each in the document's order."""
        return [node for key in keys for node in self._by_key.get(key, [])]

    def within(self, node: Node, *keys: str) -> list[Node]:
        """The elements with these keys in an element, or in what it refers to."""
        return [child for child in self._children(node) if child.key in keys]

    def first(self, *keys: str) -> Node | None:
        """The first element with these keys. Further ones are an issue, and are kept as unmapped."""
        return self._one(self.all(*keys))

    def first_within(self, node: Node, *keys: str) -> Node | None:
        """Like ``first``, in an element."""
        return self._one(self.within(node, *keys))

    def deep(self, node: Node, *keys: str) -> list[Node]:
        """Elements with these keys at any depth in an element and what it refers to, each once."""
        found: list[Node] = []
        seen: set[int] = set()
        stack = [node]
        while stack:
            item = stack.pop()
            if id(item) in seen:
                continue
            seen.add(id(item))
            if item.key in keys:
                found.append(item)
            stack.extend(reversed(self._children(item)))
        return found

    def text(self, node: Node | None) -> str:
        """An element's text. It then counts as read."""
        if node is None:
            return ""
        self._read.add(id(node))
        if node.name not in BASE64:
            self._longest = max(self._longest, len(node.text))
        return node.text

    def was_read(self, node: Node) -> bool:
        """Whether an element's text was read for this person."""
        return id(node) in self._read

    def mark(self, node: Node) -> None:
        """Count an element and everything in it as read, although no text of it was used."""
        for item in node.below():
            self._read.add(id(item))

    def unread(self) -> Iterator[tuple[str, Node]]:
        """Path and element of each text that was not read, in everything that was entered for this person.

        An empty element counts too: its presence may mean something.
        """
        seen = {id(self.node)}
        stack = self._below(self.node, self.node.name)
        while stack:
            node, above = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            # Siblings share their parent's path. Otherwise a million of them would fill the memory.
            path = path_to(node, above)
            below = self._below(node, path)
            if id(node) not in self._read and (node.text or not (below or path == above)):
                yield path, node
            stack += below

    def entered(self) -> set[int]:
        """The elements whose content is in this record."""
        found: set[int] = set()
        stack = [self.node, *self._facets]
        while stack:
            node = stack.pop()
            if id(node) not in found:
                found.add(id(node))
                stack.extend(child for child, _ in self._below(node, ""))
        return found

    def _below(self, node: Node, path: str) -> list[tuple[Node, str]]:
        """The children of an element, those of what it refers to (if that was looked at), and the metadata of both.

        Each comes with the path of its parent. The last comes first.
        """
        below = [(child, path) for child in (*node.children, *self._entered.get(id(node), []))]
        if id(node) not in self._metadata:
            self._link(node, node.metadata)
        below += [(item, f"{path}/@metadata") for item in self._metadata[id(node)]]
        return below[::-1]

    def _link(self, node: Node, links: Iterable[str]) -> None:
        """Remember an element's metadata. The same metadata are in a record once, at the first link to them."""
        new = [link for link in dict.fromkeys(links) if link not in self._linked]
        self._linked.update(new)
        self._metadata[id(node)] = [item for link in new for item in self._document.metadata(link)]

    def longest(self) -> int:
        """Characters of the longest text of the person, or read for it from elsewhere. Pictures do not count."""
        items = (item for node in self._by_key.values() for part in node for item in part.below())
        return max(self._longest, *(len(item.text) for item in items if item.name not in BASE64), 0)

    def other_roles(self) -> set[str]:
        """Local names of the other roles that the same person has in the document."""
        links = {self.node.identity, *(item.reference for item in self.all(*_SEE_THROUGH))}
        return {role for link in links if link for role in self._document.roles.get(link, ())} - _NO_ROLES

    def _children(self, node: Node) -> list[Node]:
        """An element's children. If it is a reference, also the children of its target."""
        if id(node) not in self._entered:
            targets = self._document.targets(node)
            if node.reference and not targets and not self._document.budget.exhausted:
                self.issues.warn("REFERENCE_UNKNOWN", node.where, "a link to something that is not in the document")
            self._entered[id(node)] = [child for target in targets for child in target.children]
            self._entered[id(node)] += [target for target in targets if target.text]
            self._link(node, (*node.metadata, *(link for target in targets for link in target.metadata)))
        return [*node.children, *self._entered[id(node)]]

    def _find_facets(self) -> list[Node]:
        facets = [self.node]
        if self.node.identity:
            facets += [item for item in self._document.content(self.node.identity) if item.key == "nc:Person"]
        seen = {id(item) for item in facets}
        for facet in facets:
            for child in self._children(facet):
                if child.key in _SEE_THROUGH or child.name.endswith("Augmentation") or child.key == _ENTRY:
                    if id(child) in seen:
                        self.issues.warn("REFERENCE_CYCLE", child.where, "a link that leads back to its own place")
                        continue
                    seen.add(id(child))
                    facets.append(child)
        return facets

    def _one(self, found: list[Node]) -> Node | None:
        if len(found) > 1:
            self.issues.warn("FIELD_REPEATED", found[1].where, "the field is there more than once; the first counts")
        return found[0] if found else None
