"""What is asked: requests of all kinds, each of which has one right answer."""

from __future__ import annotations

import base64
import io
import random
from dataclasses import dataclass
from typing import Any

from PIL import Image

from tessera.settings import SIMULATED

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
IMAGE_PIXELS = 64
# Of an answer, tokens.
SHORTEST, LONGEST = 20, 120

_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@dataclass(frozen=True, slots=True)
class Question:
    """One request."""

    kind: str
    path: str
    body: dict[str, Any]

    @property
    def streamed(self) -> bool:
        """Whether its answer comes token by token."""
        return bool(self.body["stream"])


def questions(number: int, chance: random.Random) -> list[Question]:
    """So many questions, no two of which have the same answer."""
    kinds = list(_KINDS)
    return [_question(kinds[i % len(kinds)], i, chance) for i in range(number)]


def _question(kind: str, number: int, chance: random.Random) -> Question:
    path, fields = _KINDS[kind]
    text = f"Question {number}: " + "why? " * chance.randrange(40)
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    tokens = chance.randint(SHORTEST, LONGEST)
    body: dict[str, Any] = {"model": SIMULATED, "ignore_eos": True, "max_tokens": tokens, **stream, **fields}
    if not body["stream"]:
        del body["stream_options"]
    if path == COMPLETIONS:
        body["prompt"] = [text, text + "not? "] if kind == "two prompts" else text
    elif kind == "an image":
        part = {"type": "image_url", "image_url": {"url": _picture(chance)}}
        body["messages"] = [{"role": "user", "content": [part, {"type": "text", "text": text}]}]
    else:
        body["messages"] = [{"role": "user", "content": text}]
    return Question(kind, path, body)


def _picture(chance: random.Random) -> str:
    colour = tuple(chance.randrange(256) for _ in range(3))
    file = io.BytesIO()
    Image.new("RGB", (IMAGE_PIXELS, IMAGE_PIXELS), colour).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": (CHAT, {}),
    "three choices": (CHAT, {"n": 3}),
    "log-probabilities": (CHAT, {"logprobs": True, "top_logprobs": 2}),
    # It ends by itself, so that its arguments are complete.
    "tools": (CHAT, {"tools": [_TOOL], "tool_choice": "required", "ignore_eos": False, "max_tokens": 400}),
    "an image": (CHAT, {}),
    "a stop string": (CHAT, {"stop": ["never said", ".17 "]}),
    "two prompts": (COMPLETIONS, {}),
    "echo": (COMPLETIONS, {"echo": True, "logprobs": 1}),
    "in one piece": (CHAT, {"stream": False, "n": 2}),
}
