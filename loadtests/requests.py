"""The requests that are sent: no two of a run are the same, and both sides get requests of the same size and kind."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

IMAGE_SIZE = 224  # pixels a side
_PATH = "/v1/chat/completions"


class Workload(StrEnum):
    """What a request carries."""

    TEXT = "text"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Shape:
    """What all requests of a run have in common.

    Attributes:
        tokens: output tokens, exactly: the end-of-sequence token is ignored.
        images: how many distinct images there are, sent in rotation; 0: each request has a new one.
    """

    model: str
    tokens: int
    images: int = 0


class Requests:
    """Builds requests, each with a serial number that no other one of the run has.

    The number stands at the beginning of the prompt, so that no prefix cache has more of one request than of another,
    and in the first pixels of the image. Without that the caches of one side would be measured: vLLM keeps processed
    images, and the gateway decodes a data URL that it has seen before only once.
    """

    def __init__(self, shape: Shape):
        self._shape = shape
        self._serials = count(1)
        self._picture = _picture()
        self._rotation = [self._data_url(-1 - i) for i in range(shape.images)]

    def build(self, workload: Workload, host: str, number: int) -> list[bytes]:
        """Requests as they go on the wire.

        Args:
            host: the ``Host`` header.
        """
        content: Callable[[int], Any] = self._text if workload is Workload.TEXT else self._text_and_image
        return list(self._encoded(content, host, number))

    def _encoded(self, content: Callable[[int], Any], host: str, number: int) -> Iterator[bytes]:
        for _ in range(number):
            body = orjson.dumps(
                {
                    "model": self._shape.model,
                    "messages": [{"role": "user", "content": content(next(self._serials))}],
                    "max_tokens": self._shape.tokens,
                    "ignore_eos": True,
                    "temperature": 0,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }
            )
            head = f"POST {_PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    @staticmethod
    def _text(serial: int) -> str:
        # Of fixed width: the same number of bytes for everybody.
        return f"{serial:08d} Describe what you can see, hear and read, in a few plain words."

    def _text_and_image(self, serial: int) -> list[dict[str, Any]]:
        url = self._rotation[serial % len(self._rotation)] if self._rotation else self._data_url(serial)
        image = {"type": "image_url", "image_url": {"url": url}}
        return [{"type": "text", "text": self._text(serial)}, image]

    def _data_url(self, serial: int) -> str:
        pixels = self._picture.copy()
        pixels[0, :8] = np.frombuffer(serial.to_bytes(8, "big", signed=True), np.uint8)[:, None]
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _picture() -> NDArray[np.uint8]:
    """RGB of shape (224, 224, 3): gradients with some grain, which compresses about as well as a photograph."""
    x, y = np.meshgrid(np.linspace(0, 1, IMAGE_SIZE), np.linspace(0, 1, IMAGE_SIZE))
    smooth = np.stack([x, y, (x + y) / 2], axis=-1) * 200
    grain = np.random.default_rng(0).integers(0, 24, smooth.shape)
    return (smooth + grain).astype(np.uint8)
