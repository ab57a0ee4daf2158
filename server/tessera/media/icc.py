"""Colours as the profile in an image file means them (ICC), in sRGB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from tessera.media.png import MAX_PROFILE_BYTES

# Profiles that change no value by more than this are sRGB itself, of which there are dozens of versions. Their pixels
# stay as they are.
_SAME_LEVELS = 3
_PROBE_STEPS = 9
# Of a process: the pages of a document have one profile.
_PROFILES = 4
# Of images that have channels for what the profile is about; grey stays grey.
_SPACES = {"RGB": "RGB", "CMYK": "CMYK"}


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """A picture in mode RGB or CMYK as RGB in sRGB; itself where it has no profile that can be used.

    LittleCMS computes it, with the profile's perceptual table, or by its primaries where it has none.
    """
    if not profile or len(profile) > MAX_PROFILE_BYTES or picture.mode not in _SPACES:
        return picture
    transform = _transform(profile, picture.mode)
    return picture if transform is None else transform.apply(picture)


@lru_cache(_PROFILES)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None where it changes nothing, does not fit the picture, or is damaged: browsers show the picture then too."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        transform = ImageCms.ImageCmsTransform(source, _srgb(), mode, "RGB")
        if mode == "RGB" and _changes_nothing(transform):
            return None
    except (OSError, ValueError):
        return None
    return transform


@lru_cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = np.linspace(0, 255, _PROBE_STEPS).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    changed = np.asarray(transform.apply(Image.fromarray(colours)), np.int16)
    return bool(np.abs(changed - colours).max() <= _SAME_LEVELS)
