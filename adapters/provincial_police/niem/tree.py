"""The neutral tree of a NIEM document: what its XML and its JSON both are read into and written from.

A node is (family, local name, text, children). What stands once and is referred to (structures:ref, structures:uri,
structures:metadata, @id) is looked up here, never copied, and only as far as a budget allows: a file of a few megabytes
could otherwise name one large object many thousand times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from adapters.provincial_police.niem.names import ROOT_FAMILY, ROOT_NAME, SUSPECTS
from adapters.syntax.hardened_xml import writable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LEAST_BUDGET: Final = 1 << 20
_BUDGET: Final = 4
"""How many times the file's own size may be read again through references, or copied beside each record."""
_NODE_COST: Final = 32
_MOST_ROLES: Final = 16
"""Roles of one person that are remembered; a subject's is always."""


@dataclass(slots=True, eq=False)
class Node:
    """One element. A plain value in JSON is an element with a text.

    Attributes:
        family: of its namespace, or empty for a namespace that is not known here.
        name: without a prefix.
        text: without the blanks around it.
        where: for issues; it holds nothing of the content.
        identity: by which others refer to it.
        reference: the identity that it stands for, where it has no content of its own.
        metadata: identities of what its metadata are.
    """

    family: str
    name: str
    text: str = ""
    where: str = ""
    children: list[Node] = field(default_factory=list)
    identity: str = ""
    reference: str = ""
    metadata: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """``family:Name``."""
        return f"{self.family}:{self.name}"

    def add(self, key: str, text: str = "") -> Node:
        """Append a child by its key, with what of the text can be written in XML and is no blank around it."""
        family, _, name = key.partition(":")
        child = Node(family, name, writable(text).strip())
        self.children.append(child)
        return child

    def add_text(self, key: str, text: str) -> None:
        """Append a child that is a text, unless the text is empty."""
        if text:
            self.add(key, text)

    def below(self) -> Iterator[Node]:
        """The node and all that stand in it, without following references."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))


def new_message() -> Node:
    """The root of a message to be written."""
    return Node(ROOT_FAMILY, ROOT_NAME)


class Budget:
    """How much more of a file's content may be told again, in characters."""

    def __init__(self, size: int) -> None:
        self._left = max(_LEAST_BUDGET, _BUDGET * size)
        self.exhausted = False

    def spend(self, nodes: int, characters: int) -> bool:
        """Whether so much may still be told; once something may not, nothing may."""
        self._left -= _NODE_COST * nodes + characters
        self.exhausted = self.exhausted or self._left < 0
        return not self.exhausted


class Document:
    """A tree with its references.

    Attributes:
        root: the root element.
        versions: of niem-core, as the file's namespaces state them.
        roles: in which roles the person of an identity stands, by the local names of the role elements.
        size: of the file in bytes.
        budget: for what is referred to; where it is exhausted, nothing further is followed.
    """

    def __init__(self, root: Node, size: int, versions: frozenset[str] = frozenset()) -> None:
        self.root = root
        self.versions = versions
        self.size = size
        self.budget = Budget(size)
        self.roles: dict[str, set[str]] = {}
        self._content: dict[str, list[Node]] = {}
        self._metadata: dict[str, list[Node]] = {}
        self._sizes: dict[int, tuple[int, int]] = {}
        for node in root.below():
            self._index(node)

    def _index(self, node: Node) -> None:
        for link in (node.identity, *(child.reference for child in node.children if child.name == "RoleOfPerson")):
            roles = self.roles.setdefault(link, set())
            if link and (len(roles) < _MOST_ROLES or node.name in SUSPECTS):
                roles.add(node.name)
        if node.identity and not node.reference:
            index = self._metadata if is_metadata(node) else self._content
            index.setdefault(node.identity, []).append(node)

    def content(self, identity: str) -> Iterator[Node]:
        """The nodes with content that have this identity, metadata aside, as far as the budget allows."""
        return self._affordable(self._content.get(identity, []))

    def metadata(self, identity: str) -> Iterator[Node]:
        """The metadata of this identity, as far as the budget allows."""
        return self._affordable(self._metadata.get(identity, []))

    def targets(self, node: Node) -> list[Node]:
        """What a reference stands for: nodes with content, reached over any number of references; each once."""
        found: list[Node] = []
        seen: set[str] = set()
        wanted = [self._reference(node)]
        while wanted:
            identity = wanted.pop()
            if identity and identity not in seen:
                seen.add(identity)
                for target in self.content(identity):
                    wanted.append(self._reference(target))
                    if target is not node and (target.text or target.children):
                        found.append(target)
        return found

    def _affordable(self, nodes: Iterable[Node]) -> Iterator[Node]:
        for node in nodes:
            if not self.afford(node):
                return
            yield node

    def afford(self, node: Node) -> bool:
        """Whether a node may be read once more; it is charged to the budget."""
        if id(node) not in self._sizes:
            texts = [len(item.text) for item in node.below()]
            self._sizes[id(node)] = len(texts), sum(texts)
        return self.budget.spend(*self._sizes[id(node)])

    def _reference(self, node: Node) -> str:
        if node.reference or node.text or node.children:
            return node.reference
        # Some files link with structures:metadata to what is no metadata.
        return next((link for link in node.metadata if link in self._content), "")


def is_metadata(node: Node) -> bool:
    """Whether a node says something about data rather than about a person."""
    return node.name.endswith(("Metadata", "MetadataAugmentation"))
