"""Media for the end-to-end tests, as data URLs."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from tessera.local import samples


def data_url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def picture(colour: str = "red", size: tuple[int, int] = (112, 112), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def image_part(data: bytes | None = None) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url("image/png", data or samples.image())}}


def video_part() -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": data_url("video/mp4", samples.video())}}


def audio_part() -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": data_url("audio/wav", samples.audio())}}


def input_audio_part() -> dict[str, Any]:
    return {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(samples.audio()).decode(), "format": "wav"},
    }


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]
