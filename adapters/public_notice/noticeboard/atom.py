"""Atom feeds (RFC 4287). An entry that is gone leaves a tombstone (RFC 6721), so that readers delete their copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from lxml import etree

from adapters.syntax.hardened_xml import add, new_root, serialise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

NAMESPACE: Final = "http://www.w3.org/2005/Atom"
TOMBSTONES: Final = "http://purl.org/atompub/tombstones/1.0"
MEDIA_TYPE: Final = "application/atom+xml"


class Link(NamedTuple):
    """A link of an entry: its relation, its media type and its address."""

    relation: str
    media_type: str
    target: str


class FeedEntry(NamedTuple):
    """One entry. ``key`` names its subject, and is the same for every version."""

    key: str
    title: str
    summary: str
    published: datetime
    updated: datetime
    links: tuple[Link, ...]


class Feed(NamedTuple):
    """The facts about a feed."""

    key: str
    title: str
    language: str
    own: str
    author: str
    updated: datetime


def atom_feed(feed: Feed, entries: Sequence[FeedEntry], gone: Sequence[tuple[str, datetime]]) -> bytes:
    """A feed. ``gone``: the keys of the entries that were here, and when they were removed."""
    root = new_root(NAMESPACE, "feed")
    root.set("{http://www.w3.org/XML/1998/namespace}lang", feed.language)
    add(root, "id", entry_id(feed.key))
    add(root, "title", feed.title)
    add(root, "updated", _stamp(feed.updated))
    add(add(root, "author"), "name", feed.author)
    _link(root, Link("self", MEDIA_TYPE, feed.own))
    for item in entries:
        entry = add(root, "entry")
        add(entry, "id", entry_id(item.key))
        add(entry, "title", item.title)
        add(entry, "published", _stamp(item.published))
        add(entry, "updated", _stamp(item.updated))
        add(entry, "summary", item.summary)
        for link in item.links:
            _link(entry, link)
    for key, when in gone:
        attributes = {"ref": entry_id(key), "when": _stamp(when)}
        etree.SubElement(root, etree.QName(TOMBSTONES, "deleted-entry"), attributes, nsmap={"at": TOMBSTONES})
    return serialise(root)


def entry_id(key: str) -> str:
    """The permanent id of an entry, at any address of the feed."""
    return uuid5(NAMESPACE_URL, f"case-exchange:{key}").urn


def _link(parent: etree._Element, link: Link) -> None:
    element = add(parent, "link")
    element.set("rel", link.relation)
    element.set("type", link.media_type)
    element.set("href", link.target)


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
