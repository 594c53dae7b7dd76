from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from adapters.public_notice.picture import MAX_SIDE, Picture, clean_picture
from adapters.records.validate import MAX_PHOTO_BYTES

SECRET = b"SECRET"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def picture(content: bytes) -> Picture:
    found = clean_picture(content)
    assert isinstance(found, Picture), found
    return found


def jpeg_with_everything() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "SECRET description"
    exif[0x8298] = "SECRET holder"
    exif.get_ifd(0x8825)[29] = "SECRET"  # where it was taken
    return encoded(
        Image.new("RGB", (30, 40), "red"), "JPEG", exif=exif, comment="SECRET", icc_profile=b"SECRET", xmp=b"SECRET"
    )


def png_with_everything() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "SECRET")
    info.add_itxt("XML:com.adobe.xmp", "SECRET")
    return encoded(Image.new("RGBA", (30, 40), (0, 0, 0, 0)), "PNG", pnginfo=info) + SECRET


def segments(jpeg: bytes) -> set[int]:
    """The markers of a JPEG's segments before its first scan."""
    found, at = set[int](), 2
    while jpeg[at + 1] != 0xDA:
        found.add(jpeg[at + 1])
        at += 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    return found


@pytest.mark.parametrize("content", [jpeg_with_everything(), png_with_everything()], ids=["jpeg", "png"])
def test_nothing_but_pixels_is_carried_over(content: bytes) -> None:
    assert SECRET in content
    found = picture(content)
    assert SECRET not in found.content
    # JFIF's own header is the only application segment; there is no comment.
    assert {marker for marker in segments(found.content) if 0xE0 <= marker <= 0xEF or marker == 0xFE} == {0xE0}
    with Image.open(io.BytesIO(found.content)) as image:
        assert (image.format, image.size) == ("JPEG", (30, 40))
        assert not image.getexif()


def test_a_picture_that_its_camera_held_sideways_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = picture(encoded(Image.new("RGB", (30, 40)), "JPEG", exif=exif))
    assert (found.width, found.height) == (40, 30)


def test_what_is_transparent_becomes_paper_not_black() -> None:
    with Image.open(io.BytesIO(picture(png_with_everything()).content)) as image:
        assert min(image.convert("L").tobytes()) > 200


def test_a_large_picture_is_made_smaller_and_a_small_one_is_not_made_larger() -> None:
    found = picture(encoded(Image.new("RGB", (3000, 1500)), "JPEG"))
    assert (found.width, found.height) == (MAX_SIDE, MAX_SIDE // 2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_pixel_is_read(mode: str) -> None:
    assert picture(encoded(Image.new(mode, (8, 8)), "PNG")).width == 8


def png_of(width: int, height: int) -> bytes:
    """A PNG that states this size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (png_of(6000, 6000), "PICTURE_TOO_LARGE"),
        (png_of(12_000, 12_000), "PICTURE_TOO_LARGE"),
        (png_of(60_000, 60_000), "PICTURE_TOO_LARGE"),
        (b"\xff\xd8\xff" + bytes(MAX_PHOTO_BYTES), "PICTURE_TOO_LARGE"),
        (b"GIF89a" + bytes(100), "PICTURE_TYPE"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "PICTURE_TYPE"),
        (b"", "PICTURE_TYPE"),
        (b"\xff\xd8\xff", "PICTURE_BROKEN"),
        (png_of(100, 100), "PICTURE_BROKEN"),
        (jpeg_with_everything()[:-60], "PICTURE_BROKEN"),
    ],
)
def test_what_is_no_picture_or_too_much_of_one_is_refused_by_a_code(content: bytes, code: str) -> None:
    assert clean_picture(content) == code


@given(st.sampled_from([jpeg_with_everything(), png_with_everything()]), st.integers(0, 600), st.binary(max_size=8))
def test_no_bytes_make_it_raise(content: bytes, at: int, change: bytes) -> None:
    found = clean_picture(content[:at] + change + content[at + len(change) :])
    assert isinstance(found, Picture | str)
    if isinstance(found, Picture):
        assert SECRET not in found.content
