"""HTML as a tree. It is escaped once, when it is written. No page is made of pieces of text.

A tree cannot contain a script, a style or an event handler, so the policy that forbids them does not affect the pages.
"""

from __future__ import annotations

import html
import re
from typing import Final, NamedTuple, TypeAlias

_VOID: Final = frozenset({"br", "hr", "img", "link", "meta"})
_BLOCK: Final = frozenset({"html", "head", "body", "main", "header", "footer", "nav", "section", "article", "ul", "ol"})
_TAG: Final = re.compile(r"[a-z][a-z0-9]*")
_ATTRIBUTE: Final = re.compile(r"[a-z][a-z-]*")
_FORBIDDEN: Final = frozenset({"script", "style", "iframe", "object", "embed", "base", "template", "svg", "math"})
_ADDRESSES: Final = frozenset({"href", "src"})
_SCHEMES: Final = ("tel:", "mailto:", "https://", "http://")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, and those that change the direction of writing: a stranger's text must not reorder the page."""

Child: TypeAlias = "Node | str | None"


class Node(NamedTuple):
    """An element. Only ``tag`` makes one."""

    name: str
    attributes: tuple[tuple[str, str], ...]
    children: tuple[Child, ...]


def tag(name: str, /, *children: Child, **attributes: str | None) -> Node:
    """An element. ``class_`` is class and ``aria_label`` is aria-label. An attribute of None is left out.

    Raises:
        ValueError: a page may not contain this element or attribute. Never because of a text's content.
    """
    if not _TAG.fullmatch(name) or name in _FORBIDDEN:
        message = f"a page must not contain a {name} element"
        raise ValueError(message)
    kept: list[tuple[str, str]] = []
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if not _ATTRIBUTE.fullmatch(attribute) or attribute.startswith("on") or attribute == "style":
            message = f"a page must not contain an attribute {attribute}"
            raise ValueError(message)
        if value is None:
            continue
        if attribute in _ADDRESSES and _SCHEME.match(value.strip()) and not value.startswith(_SCHEMES):
            message = "a page must not contain an address with this scheme"
            raise ValueError(message)
        kept.append((attribute, value))
    return Node(name, tuple(kept), children)


def page(root: Node) -> bytes:
    """A document."""
    return f"<!DOCTYPE html>\n{_written(root)}\n".encode()


def plain(text: str) -> str:
    """A text without characters that only disturb."""
    return _CONTROL.sub("", text)


def _written(node: Node) -> str:
    attributes = "".join(f' {name}="{html.escape(plain(value))}"' for name, value in node.attributes)
    opening = f"<{node.name}{attributes}>"
    if node.name in _VOID:
        return opening
    line = "\n" if node.name in _BLOCK else ""
    inner = (
        _written(child) if isinstance(child, Node) else html.escape(plain(child))
        for child in node.children
        if child is not None
    )
    return f"{opening}{line}{line.join(inner)}{line}</{node.name}>"
