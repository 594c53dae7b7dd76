"""The neutral tree of a NIEM document. XML and JSON are both read into it and written from it.

A node is (family, local name, text, children). A document can contain something once and refer to it (structures:ref,
structures:uri, structures:metadata, @id). References are looked up here; the targets are never copied. A budget limits
the look-ups, because a file of a few megabytes could refer to one large object many thousand times.
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
"""The most roles that are remembered for a person. The role of a subject is always remembered."""


@dataclass(slots=True, eq=False)
class Node:
    """One element. A plain value in JSON is an element with a text.

    Attributes:
        family: of its namespace; "" if the namespace is not known here.
        name: without a prefix.
        text: without the blanks around it.
        where: its place, for issues. It contains nothing of the content.
        identity: other elements refer to it with this.
        reference: the identity that it refers to, if it has no content of its own.
        metadata: the identities of its metadata.
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
        """Append a child by its key, with the text: without blanks around it and without what XML cannot hold."""
        family, _, name = key.partition(":")
        child = Node(family, name, writable(text).strip())
        self.children.append(child)
        return child

    def add_text(self, key: str, text: str) -> None:
        """Append a child with a text, unless the text is empty."""
        if text:
            self.add(key, text)

    def below(self) -> Iterator[Node]:
        """The node and everything in it, without following references."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))


def new_message() -> Node:
    """The root of a message to be written."""
    return Node(ROOT_FAMILY, ROOT_NAME)


class Budget:
    """How much of a file's content may still be repeated, in characters."""

    def __init__(self, size: int) -> None:
        self._left = max(_LEAST_BUDGET, _BUDGET * size)
        self.exhausted = False

    def spend(self, nodes: int, characters: int) -> bool:
        """Whether this much may still be repeated. After the first refusal, everything is refused."""
        self._left -= _NODE_COST * nodes + characters
        self.exhausted = self.exhausted or self._left < 0
        return not self.exhausted


class Document:
    """A tree with its references.

    Attributes:
        root: the root element.
        versions: the versions of niem-core in the file's namespaces.
        roles: the roles of each person by identity, as the local names of the role elements.
        size: of the file in bytes.
        budget: for references. When it is used up, no reference is followed.
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
        """The nodes with content and this identity, without metadata, up to the budget."""
        return self._affordable(self._content.get(identity, []))

    def metadata(self, identity: str) -> Iterator[Node]:
        """The metadata with this identity, up to the budget."""
        return self._affordable(self._metadata.get(identity, []))

    def targets(self, node: Node) -> list[Node]:
        """The targets of a reference: nodes with content, over any number of references, each once."""
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
        """Whether a node may be read once more. It is charged to the budget."""
        if id(node) not in self._sizes:
            texts = [len(item.text) for item in node.below()]
            self._sizes[id(node)] = len(texts), sum(texts)
        return self.budget.spend(*self._sizes[id(node)])

    def _reference(self, node: Node) -> str:
        if node.reference or node.text or node.children:
            return node.reference
        # Some files use structures:metadata to link to something that is not metadata.
        return next((link for link in node.metadata if link in self._content), "")


def is_metadata(node: Node) -> bool:
    """Whether a node describes data, not a person."""
    return node.name.endswith(("Metadata", "MetadataAugmentation"))
