"""Images to RGB pixels, equal to what vLLM's own loader makes of the same file."""

from __future__ import annotations

import contextlib
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media.limits import media_errors
from tessera.media.sniff import Kind
from tessera.settings import Settings

_BACKGROUND = (255, 255, 255)
_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
}


def count_pixels(data: bytes, kind: Kind, settings: Settings) -> int:
    """Width times height, from the header.

    Raises:
        InvalidMedia: unreadable.
        MediaTooLarge: more than ``media_max_image_pixels``.
    """
    with media_errors("image"), _open(data, kind, settings) as image:
        return image.width * image.height


def decode(data: bytes, kind: Kind, settings: Settings) -> tuple[npt.NDArray[np.uint8], dict[str, Any]]:
    """Decode an image, or the first frame of an animation.

    The steps are those of vLLM 0.32 (``vllm/multimodal/media/image.py``): turn by the EXIF orientation, then
    lay what is transparent over white, then convert to RGB. Greedy answers depend on every pixel.

    Args:
        data: encoded image.
        kind: its format; no other is tried.
        settings: limits.

    Returns:
        Pixels ``[height, width, 3]`` uint8 RGB, and empty metadata.

    Raises:
        InvalidMedia: damaged, cut short, or of a format that is not read.
        MediaTooLarge: more than ``media_max_image_pixels``.
    """
    with media_errors("image"), _open(data, kind, settings) as opened:
        image: Image.Image = opened
        # Broken EXIF data leaves the image as it is; broken pixels are raised again by load.
        with contextlib.suppress(Exception):
            image = ImageOps.exif_transpose(image)
        image.load()
        return np.asarray(_to_rgb(image)), {}


def _open(data: bytes, kind: Kind, settings: Settings) -> Image.Image:
    name = _FORMATS.get(kind.mime)
    if name is None:
        raise InvalidMedia(f"Images of type {kind.mime} are not supported; send JPEG, PNG or WebP.")
    limit = settings.media_max_image_pixels
    try:
        image = Image.open(BytesIO(data), formats=[name])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaTooLarge(f"The image has more than the {limit} pixels that are allowed.") from error
    if image.width * image.height > limit:
        image.close()
        message = f"The image has {image.width}x{image.height} pixels; at most {limit} pixels are allowed."
        raise MediaTooLarge(message)
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        # Also with a transparent colour (PNG tRNS): vLLM does not look for one in an image that is RGB already.
        return image
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image if image.mode == "RGBA" else image.convert("RGBA")
        flat = Image.new("RGB", layered.size, _BACKGROUND)
        flat.paste(layered, mask=layered.split()[3])
        return flat
    return image.convert("RGB")
