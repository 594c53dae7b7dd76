"""The site's icon: a house with an open door."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image, ImageDraw

_GROUND: Final = (18, 83, 91)
_HOUSE: Final = (250, 246, 238)
_LIGHT: Final = (232, 163, 61)


def icon() -> bytes:
    """A PNG of 96 pixels, drawn larger first so that its edges are smooth."""
    image = Image.new("RGB", (384, 384), _GROUND)
    draw = ImageDraw.Draw(image)
    draw.polygon([(192, 64), (336, 192), (296, 192), (296, 320), (88, 320), (88, 192), (48, 192)], fill=_HOUSE)
    draw.rectangle([160, 208, 224, 320], fill=_LIGHT)
    out = io.BytesIO()
    image.resize((96, 96), Image.Resampling.LANCZOS).save(out, "PNG", optimize=True)
    return out.getvalue()
