"""Examples as transformers' own processor encodes them."""

from __future__ import annotations

from typing import Any

import torch

from models.nano.example import Clip, Example, Picture, Question, Sound

_TYPES = {Picture: "image", Clip: "video", Sound: "audio"}


def processed(processor: Any, example: Example, question: Question) -> Any:
    """The inputs for the model of the example's message, ready for an answer."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": _TYPES[type(part)]}
        for part in example.content(question)
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if example.system:
        messages.insert(0, {"role": "system", "content": example.system})
    return processor(
        text=processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True),
        images=[m.pixels for m in example.media if isinstance(m, Picture)] or None,
        videos=[torch.from_numpy(m.frames).permute(0, 3, 1, 2) for m in example.media if isinstance(m, Clip)] or None,
        audio=[m.samples for m in example.media if isinstance(m, Sound)] or None,
        return_tensors="pt",
    )
