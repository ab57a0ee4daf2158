"""Images to RGB pixels."""

from __future__ import annotations

import logging
import warnings
from io import BytesIO

import numpy as np
import pi_heif
from PIL import Image, ImageFile

from tessera.errors import MediaDecodeFailed, MediaTooLarge
from tessera.media import code_points, exif, icc, ico, jpeg, png, tiff
from tessera.media.colour import to_rgb
from tessera.media.limits import Deadline, media_errors
from tessera.media.rendering import Rendering
from tessera.media.resize import ImageResize
from tessera.media.sniff import Kind
from tessera.settings import Settings

_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
    "image/heic": "HEIF",
    "image/x-icon": "ICO",
}
# Beginnings of the modes that have no colour.
_GREY = ("1", "L", "I", "F")
# Pillow's decoders get 64 KiB at a time, and between two the deadline is checked. Of a progressive JPEG that can be
# thousands of passes over all pixels.
_PROGRESSIVE_BLOCK_BYTES = 4096

# The photographs of phones; Pillow itself does not read them. Turned by the library, as the file says.
pi_heif.register_heif_opener(thumbnails=False)

# What Pillow remarks on in clients' files.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def count_pixels(data: bytes, kind: Kind, settings: Settings, deadline: Deadline) -> int:
    """Width times height, from the header.

    Raises:
        MediaDecodeFailed: unreadable.
        MediaTooLarge: more than ``media_max_image_pixels``.
    """
    with media_errors("image"):
        match kind.mime:
            case "image/png":
                size = png.size(data)
            case "image/jpeg":
                size = jpeg.size(data, deadline)
            case "image/x-icon":
                picture = ico.largest(data, deadline)
                size = picture.width, picture.height
            case _:
                with _open(data, kind, settings, deadline) as image:
                    size = image.size
        _check_size(*size, settings)
        return size[0] * size[1]


def decode(
    data: bytes, kind: Kind, settings: Settings, deadline: Deadline, resize: ImageResize | None = None
) -> Image.Image:
    """Decode an image, or the first frame of an animation: upright by its EXIF data, in RGB on white.

    The pixels are those of vLLM 0.32 (``vllm/multimodal/media/image.py``) for the same file, but for the forms of
    which vLLM shows something else than the file holds; see ``colour``, ``icc`` and ``rendering``.

    Args:
        data: encoded image.
        kind: its format; no other is tried.
        settings: limits.
        deadline: checked for every 64 KiB of the data, or more often.
        resize: how the model's processor is going to resize it.

    Returns:
        The picture, in mode RGB.

    Raises:
        MediaDecodeFailed: damaged, cut short, or of a format that is not read.
        MediaTooLarge: more than ``media_max_image_pixels``, or in more parts than an image needs.
        MediaDecodeTimeout: too slow to decode.
    """
    with media_errors("image"), _open(data, kind, settings, deadline) as image:
        if not isinstance(image, ImageFile.ImageFile):
            picture = to_rgb(image, deadline)
            return picture if resize is None else resize.apply(picture)
        # Before anything else touches it: whoever calls `load` a second time gets the pixels of a failed one.
        image.load()
        turn = exif.turn(image)
        profile = image.info.get("icc_profile")
        picture = to_rgb(icc.to_srgb(image, profile) if image.mode == "CMYK" else image, deadline)
        if turn is not None:
            picture = picture.transpose(turn)
        if resize is not None:
            deadline.check()
            picture = resize.apply(picture)
        # Last, when there are the fewest pixels.
        points = code_points.find(data, kind.mime, deadline)
        rendering = Rendering.of(points)
        if rendering is not None:
            return Image.fromarray(rendering.apply(np.asarray(picture), deadline))
        # Of a PNG's two, the profile is the one for programs that do not know the other.
        profiled = points is None or kind.mime != "image/png"
        if profiled and not image.mode.startswith(_GREY):
            picture = icc.to_srgb(picture, profile)
        return picture


class _WatchedFile(BytesIO):
    """The data, for as long as the deadline has not passed."""

    def __init__(self, data: bytes, deadline: Deadline):
        super().__init__(data)
        self._deadline = deadline

    def read(self, size: int | None = -1, /) -> bytes:
        self._deadline.check()
        return super().read(size)


def _open(data: bytes, kind: Kind, settings: Settings, deadline: Deadline) -> Image.Image:
    """A file of Pillow's; any other image is decoded, and there is nothing to know of it but its pixels."""
    name = _FORMATS.get(kind.mime)
    if name == "ICO":
        picture = ico.largest(data, deadline)
        # Here, since Pillow decodes an icon as it opens it.
        _check_size(picture.width, picture.height, settings)
        name, data = ("PNG", picture.content) if picture.is_png else (name, picture.file())
    match name:
        case None:
            raise MediaDecodeFailed(f"Images of type {kind.mime} are not supported; send JPEG, PNG or WebP.")
        case "PNG":
            _check_size(*png.size(data), settings)
            reduced = png.reduce(data, deadline)
            if (decoded := reduced.picture()) is not None:
                return decoded
            data = reduced.file()
        case "JPEG":
            jpeg.check(data, deadline)
        case "TIFF":
            tiff.check(data, deadline)
    try:
        image = Image.open(_WatchedFile(data, deadline), formats=[name])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = settings.media_max_image_pixels
        raise MediaTooLarge(f"The image has more than the {limit} pixels that are allowed.") from error
    try:
        _check_size(*image.size, settings)
    except MediaTooLarge:
        image.close()
        raise
    if "progressive" in image.info:
        image.decodermaxblock = _PROGRESSIVE_BLOCK_BYTES
    return image


def _check_size(width: int, height: int, settings: Settings) -> None:
    limit = settings.media_max_image_pixels
    if width * height > limit:
        raise MediaTooLarge(f"The image has {width}x{height} pixels; at most {limit} pixels are allowed.")
