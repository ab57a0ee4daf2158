"""JSON Schema that several endpoints have in common."""

from __future__ import annotations

from typing import Any

from tessera.gateway.media_options import MOST_FPS
from tessera.media import MOST_FRAMES

TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
OBJECTS = {"type": "array", "items": {"type": "object"}}

BUDGET = {
    "type": ["integer", "null"],
    "minimum": 1,
    "description": "Most tokens of all images and videos together, which are made smaller for it.",
}

# Nothing else may be set, unless to null.
_CLOSED = {"additionalProperties": {"type": "null"}}
_RATE = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": MOST_FPS}
_SAMPLING = {
    "fps": {**_RATE, "description": "Frames for each second of a video; not with `num_frames` for all models."},
    "num_frames": {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_FRAMES},
}
_PIXELS = {"type": ["integer", "null"], "minimum": 1, "description": "At most the model's own; not for all models."}
MEDIA_OPTIONS: dict[str, Any] = {
    "media_io_kwargs": {
        "type": ["object", "null"],
        "properties": {"video": {"type": ["object", "null"], "properties": _SAMPLING, **_CLOSED}},
        **_CLOSED,
        "description": "How videos are sampled. Where vLLM trusts requests, anything.",
    },
    "mm_processor_kwargs": {
        "type": ["object", "null"],
        "properties": {
            **_SAMPLING,
            "use_audio_in_video": {"type": ["boolean", "null"]},
            "min_pixels": _PIXELS,
            "max_pixels": _PIXELS,
        },
        **_CLOSED,
        "description": "How the model's processor prepares media. Where vLLM trusts requests, anything.",
    },
}
