"""The frames of a video as images of their own."""

from __future__ import annotations

from tessera.media.decoder import Decoded
from tessera.media.item import Modality, describe, pack, unpack


def single_frames(payload: bytes | memoryview) -> list[Decoded]:
    """Each frame of a packed video, packed as an image.

    Raises:
        ValueError: it is no video.
    """
    header, frames = unpack(payload)
    if header.modality is not Modality.VIDEO:
        raise ValueError(f"not a video: {header.modality}")
    packed = [pack(frame, Modality.IMAGE, {}) for frame in frames]
    return [Decoded(describe(each), each) for each in packed]
