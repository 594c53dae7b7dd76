"""Pictures in NIEM: base64 in the file, a file beside it, or an address, which is never fetched."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final

from adapters.provincial_police.niem.names import BASE64
from adapters.records.validate import MAX_PHOTO_BYTES, MAX_PHOTOS
from adapters.values.pictures import media_type_of, photo_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapters.provincial_police.niem.person import PersonView
    from adapters.provincial_police.niem.tree import Node
    from caseexchange.records.v1 import case_pb2, common_pb2

_IMAGES: Final = ("nc:PersonDigitalImage", "nc:PersonImage")
_URIS: Final = ("nc:BinaryURI", "nc:BinaryLocationURI")
_FORMATS: Final = ("nc:BinaryFormatText", "nc:BinaryFormatStandardName", "nc:BinaryFormatCode")
_LONGEST: Final = MAX_PHOTO_BYTES * 2
"""The most characters of base64 for a picture of the greatest size, with its line breaks."""
_TOO_LARGE: Final = f"a photo has at most {MAX_PHOTO_BYTES} bytes; it is left out"


def add_photos(record: case_pb2.CaseRecord, view: PersonView, attachments: Mapping[str, bytes]) -> None:
    """Read the pictures of a person. Codes: PHOTO_TYPE, PHOTO_TOO_LARGE, PHOTO_NOT_READ, PHOTOS_TOO_MANY."""
    for node in view.all(*_IMAGES):
        if len(record.photos) == MAX_PHOTOS:
            view.issues.warn("PHOTOS_TOO_MANY", node.where, f"a record carries at most {MAX_PHOTOS} photos")
            for item in view.all(*_IMAGES):
                view.mark(item)
            return
        content = _content(view, node)
        for item in view.within(node, *_URIS):
            if content is None and item.text in attachments:
                content = attachments[view.text(item)]
            elif content is None and item.text:
                record.photos.add(url=view.text(item))
                break
        if content is not None:
            _add(record, view, node, content)


def write_photos(node: Node, photos: Iterable[common_pb2.Photo]) -> None:
    """Write pictures in the form in which they are carried."""
    for photo in photos:
        image = node.add("nc:PersonDigitalImage")
        if photo.content:
            image.add("nc:BinaryBase64Object", base64.b64encode(photo.content).decode("ascii"))
            image.add_text("nc:BinaryFormatText", photo.media_type)
        image.add_text("nc:BinaryURI", photo.url)


def _content(view: PersonView, node: Node) -> bytes | None:
    """The bytes in the file, if they can be read."""
    for item in view.within(node, *(f"nc:{name}" for name in BASE64)):
        text = view.text(item)
        if len(text) > _LONGEST:
            view.issues.warn("PHOTO_TOO_LARGE", item.where, _TOO_LARGE)
            continue
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except binascii.Error:
            view.issues.warn("PHOTO_NOT_READ", item.where, "the photo is not base64 and is left out")
    return None


def _add(record: case_pb2.CaseRecord, view: PersonView, node: Node, content: bytes) -> None:
    # The picture's type in the file is not trusted.
    for item in view.within(node, *_FORMATS):
        view.text(item)
    media_type = media_type_of(content)
    if media_type is None:
        view.issues.warn("PHOTO_TYPE", node.where, "the photo is neither JPEG nor PNG and is left out")
    elif len(content) > MAX_PHOTO_BYTES:
        view.issues.warn("PHOTO_TOO_LARGE", node.where, _TOO_LARGE)
    else:
        sha256 = hashlib.sha256(content).digest()
        record.photos.add(
            content=content, media_type=media_type, sha256=sha256, reference=photo_name(content, media_type)
        )
