"""Pictures for the public: decoded, checked, and encoded again from their pixels, so that nothing else is in the file.

A photo's file says more than the photo: where it was taken, with which telephone. Sometimes it has a whole second
picture (the Exif thumbnail shows what was cut away). Nothing is filtered; only pixels are copied.
"""

from __future__ import annotations

import io
import warnings
from typing import Final, NamedTuple

from PIL import Image, ImageOps

from adapters.records.validate import MAX_PHOTO_BYTES
from adapters.values.pictures import media_type_of

MEDIA_TYPE: Final = "image/jpeg"
MAX_PIXELS: Final = 25_000_000
"""The limit for a picture that is decoded, because a small file can contain a very large picture."""
MAX_SIDE: Final = 1080
"""The limit for a picture that is written."""
_QUALITY: Final = 85
_PAPER: Final = (238, 236, 231)
"""The colour behind a transparent picture."""
_OPAQUE: Final = frozenset({"RGB", "L", "CMYK"})
_SCALED_AS_THEY_ARE: Final = _OPAQUE | {"RGBA"}
"""Palettes and single bits become colours before scaling, because there is nothing between two palette entries."""
_FORMATS: Final = ("JPEG", "PNG")


class Picture(NamedTuple):
    """A JPEG without metadata, and its size in pixels."""

    content: bytes
    width: int
    height: int


def clean_picture(content: bytes) -> Picture | str:
    """A picture's pixels, upright and within the limits, as a new JPEG; or the code of why it is refused.

    Codes: PICTURE_TOO_LARGE (bytes or pixels), PICTURE_TYPE (not JPEG or PNG), PICTURE_BROKEN.
    """
    if len(content) > MAX_PHOTO_BYTES:
        return "PICTURE_TOO_LARGE"
    if media_type_of(content) is None:
        return "PICTURE_TYPE"
    try:
        with warnings.catch_warnings():
            # The library warns of odd metadata, which is dropped, and of sizes above ours, which are refused.
            warnings.simplefilter("ignore")
            return _decode(content)
    except Image.DecompressionBombError:
        return "PICTURE_TOO_LARGE"
    except Exception:  # noqa: BLE001 - the decoders raise what they like on files that are not what they seem
        return "PICTURE_BROKEN"


def _decode(content: bytes) -> Picture | str:
    with Image.open(io.BytesIO(content), formats=_FORMATS) as source:
        # The header states the size, so it is known before any pixel is decoded.
        if source.width * source.height > MAX_PIXELS:
            return "PICTURE_TOO_LARGE"
        return _encode(_flat(source))


def _flat(source: Image.Image) -> Image.Image:
    """A new image with only the pixels, because the library copies metadata from image to image."""
    if source.mode not in _SCALED_AS_THEY_ARE:
        source = source.convert("RGBA")
    # On the file itself, because a JPEG's decoder can leave out at once what is too fine.
    source.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    upright = ImageOps.exif_transpose(source)
    flat = Image.new("RGB", upright.size, _PAPER)
    if upright.mode in _OPAQUE:
        flat.paste(upright.convert("RGB"))
    else:
        upright = upright.convert("RGBA")
        flat.paste(upright, mask=upright.getchannel("A"))
    return flat


def _encode(image: Image.Image) -> Picture:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True, progressive=True)
    return Picture(out.getvalue(), image.width, image.height)
