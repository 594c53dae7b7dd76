"""NIEM JSON: bytes to the neutral tree, and back.

A key is ``prefix:Name``, and ``@context`` says what the prefix means. An element is an object, a list of objects, or a
plain value. If an object has content, ``@id`` is its identity; if not, it is a reference. A number stays text, so 62.50
does not become 62.5. A context is never fetched. Sources: NIEM JSON Specification 5.0; JSON-LD 1.1; RFC 8259.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from adapters.provincial_police.niem.names import CONVENTIONAL, WRITTEN, namespace_of
from adapters.provincial_police.niem.tree import Document, Node
from adapters.syntax import hardened_json
from adapters.syntax.hardened_xml import writable
from broker.core.strict import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapters.base import IssueList, Limits

_VALUES: Final = 2_000_000
"""The limit for brackets and commas in a document. Each value costs memory, even a small one."""
_CODES: Final = {Fault.ENCODING: "JSON_ENCODING", Fault.REPEATED: "JSON_KEY_REPEATED", Fault.DEEP: "JSON_TOO_DEEP"}
_DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?")


def read_json(content: bytes, limits: Limits, issues: IssueList) -> Document | None:
    """The tree of a JSON document. None: the reason is among the issues.

    Codes: FILE_TOO_LARGE, JSON_ENCODING, JSON_TOO_MANY_VALUES, JSON_KEY_REPEATED, JSON_TOO_DEEP, JSON_MALFORMED. With a
    document: CONTEXT_MISSING, CHARACTER_NOT_READ.
    """
    value = hardened_json.read_json(content, limits, issues, values=_VALUES, whole=str, decimal=str, codes=_CODES)
    if not isinstance(value, dict):
        if not issues.refuses_file:
            issues.reject_file("JSON_MALFORMED", "file", "not a JSON object")
        return None
    builder = _Builder(issues)
    root = Node("", "", where="file")
    builder.fill(root, value, {})
    return Document(root, len(content), frozenset(builder.versions))


def write_json(root: Node) -> bytes:
    """A JSON document of NIEM 6.0."""
    context = {prefix: f"{uri}#" for prefix, uri in WRITTEN.items()}
    document = {"@context": context, root.key: _value(root)}
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


class _Builder:
    """Turns values into nodes."""

    def __init__(self, issues: IssueList) -> None:
        self.versions: set[str] = set()
        self._issues = issues
        self._warned: set[str] = set()
        self._number = 0

    def fill(self, node: Node, value: Mapping[str, Any], outer: Mapping[str, str]) -> None:
        """Put an object's content into a node."""
        context = {**outer, **_context(value.get("@context"))}
        for key, item in value.items():
            if key in {"@id", "@uri"} and isinstance(item, str):
                node.identity = node.identity or item.strip().removeprefix("#")
            elif key in {"rdf:value", "@value"} and not isinstance(item, dict | list):
                node.text = self._text(item)
            elif key not in {"@context", "@type"}:
                self._add(node, key, item, context)
        if node.identity and not node.text and not node.children:
            node.reference = node.identity

    def _add(self, node: Node, key: str, item: Any, context: Mapping[str, str]) -> None:
        family, name = self._name(key, context)
        for value in _flat(item):
            self._number += 1
            child = Node(family, name, where=f"element {self._number}")
            if isinstance(value, dict):
                self.fill(child, value, context)
            else:
                child.text = self._text(value)
            if not self._link(node, child):
                node.children.append(child)

    def _link(self, node: Node, child: Node) -> bool:
        """Whether a child is an attribute of the structures namespace. If so, it is added to the node."""
        match child.family, child.name:
            case "structures", "id" | "uri":
                node.identity = node.identity or child.text.removeprefix("#")
            case "structures", "ref":
                node.reference = child.text.removeprefix("#")
            case ("structures", "metadata") | ("nc", "metadataRef"):
                links = child.text or child.reference
                node.metadata += tuple(link.removeprefix("#") for link in links.split())
            case _:
                return False
        return True

    def _name(self, key: str, context: Mapping[str, str]) -> tuple[str, str]:
        """Family and local name of a key: ``nc:PersonName``, a term of the context, or a whole IRI."""
        term = context.get(key, key)
        prefix, colon, name = term.partition(":")
        if "#" in term:
            uri, _, name = term.rpartition("#")
        elif colon and prefix in context:
            uri = context[prefix]
        elif colon and prefix in CONVENTIONAL:
            self._warn("CONTEXT_MISSING", "a prefix has no context in the document; it is taken as NIEM's own")
            return prefix, writable(name)
        else:
            return "", writable(name if colon else term)
        family, version = namespace_of(uri)
        if family == "nc":
            self.versions.add(version)
        return family, writable(name)

    def _text(self, value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        text = str(value)
        kept = writable(text)
        if kept != text:
            self._warn("CHARACTER_NOT_READ", "control characters, or halves of characters, are left out")
        return kept.strip()

    def _warn(self, code: str, message: str) -> None:
        if code not in self._warned:
            self._warned.add(code)
            self._issues.warn(code, "file", message)


def _flat(item: Any) -> Iterator[Any]:
    """The values of an element: one, several, or none if it is null. A list within a list is read too."""
    stack = [item]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(reversed(value))
        elif value is not None:
            yield value


def _context(value: Any) -> dict[str, str]:
    """The prefixes and terms of a context. The address of a context says nothing here."""
    found: dict[str, str] = {}
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, dict):
            for name, meaning in part.items():
                target = meaning.get("@id") if isinstance(meaning, dict) else meaning
                if isinstance(target, str):
                    found[name] = target
    return found


def _value(node: Node) -> Any:
    if not node.children:
        return _plain(node)
    value: dict[str, Any] = {}
    for child in node.children:
        item = _value(child)
        before = value.get(child.key)
        if before is None:
            value[child.key] = item
        elif isinstance(before, list):
            before.append(item)
        else:
            value[child.key] = [before, item]
    return value


def _plain(node: Node) -> bool | int | float | str:
    """A text as the type that NIEM gives this element, if the same text can be made from that value again."""
    if node.name.endswith("Indicator") and node.text in {"true", "false"}:
        return node.text == "true"
    if node.name.endswith("Value") and _DECIMAL.fullmatch(node.text):
        number = float(node.text) if "." in node.text else int(node.text)
        return number if json.dumps(number) == node.text else node.text
    return node.text
