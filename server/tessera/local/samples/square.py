"""The sample image."""

import io

from PIL import Image, ImageDraw

SIZE = 224  # pixels a side
RED = (220, 30, 30)
WHITE = (255, 255, 255)


def image() -> bytes:
    """Return a PNG, 224 by 224 pixels, of a red square in the middle of a white background."""
    picture = Image.new("RGB", (SIZE, SIZE), WHITE)
    ImageDraw.Draw(picture).rectangle((SIZE // 4, SIZE // 4, SIZE * 3 // 4 - 1, SIZE * 3 // 4 - 1), fill=RED)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
