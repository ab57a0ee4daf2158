"""Items made smaller once they are decoded: other pixels, fewer frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from tessera.media.item import MediaItem, Modality, pack, unpack


@dataclass(frozen=True, slots=True)
class Reduction:
    """What is to become of an image or a video.

    Args:
        size: width and height in pixels; None: they stay.
        frames: numbers of a video's frames that are kept, ascending; None: all.
    """

    size: tuple[int, int] | None = None
    frames: tuple[int, ...] | None = None

    def apply(self, payload: bytes | memoryview) -> bytes:
        """The packed item, reduced.

        Args:
            payload: a packed image or video (``item.pack``).

        Raises:
            ValueError: it is none.
        """
        header, array = unpack(payload)
        if header.modality is Modality.IMAGE:
            return pack(self._resized(array), Modality.IMAGE, header.metadata)
        metadata = header.metadata
        if self.frames is not None:
            array = array[list(self.frames)]
            indices = metadata["frames_indices"]
            metadata = {**metadata, "frames_indices": [indices[i] for i in self.frames]}
        if self.size is not None:
            array = np.stack([self._resized(frame) for frame in array])
        # A processor must not choose among them once more.
        return pack(array, Modality.VIDEO, {**metadata, "do_sample_frames": False})

    def _resized(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if self.size is None or self.size == (pixels.shape[1], pixels.shape[0]):
            return pixels
        return np.asarray(Image.fromarray(pixels).resize(self.size, Image.Resampling.BICUBIC))


class Fit(Protocol):
    """Says of an item, once it is decoded, how much smaller it is to be. Equal ones say the same."""

    def __call__(self, item: MediaItem) -> Reduction | None:
        """None: it stays. Errors of its own end the preparation."""
        ...

    def __hash__(self) -> int: ...
