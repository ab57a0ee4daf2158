"""What is asked: requests of all kinds, each of which has one right answer."""

from __future__ import annotations

import base64
import io
import random
from dataclasses import dataclass
from typing import Any

from PIL import Image

from tessera.settings import SIMULATED, VLLM, Settings

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
IMAGE_PIXELS = 64
# Of an answer, tokens.
SHORTEST, LONGEST = 20, 120

_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
_NUMBERS = {"type": "array", "items": {"type": "integer"}, "minItems": 30, "maxItems": 30}
_SCHEMA = {"type": "object", "properties": {"n": _NUMBERS}, "required": ["n"], "additionalProperties": False}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "numbers", "schema": _SCHEMA}}
_COUNT = {"type": "function", "function": {"name": "count", "parameters": _SCHEMA}}
# All that has a form of its own ends by itself, so that it is complete.
_WHOLE = {"ignore_eos": False, "max_tokens": 400}


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


def questions(number: int, chance: random.Random, engine: str = SIMULATED) -> list[Question]:
    """So many questions; no two of them have the same answer of simulated engines."""
    kinds, model = list(_KINDS[engine]), Settings(engine=engine).resolved_model_name()
    return [_question(engine, model, kinds[i % len(kinds)], i, chance) for i in range(number)]


def _question(engine: str, model: str, kind: str, number: int, chance: random.Random) -> Question:
    path, fields = _KINDS[engine][kind]
    text = f"Question {number}: " + "why? " * chance.randrange(40)
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    tokens = chance.randint(SHORTEST, LONGEST)
    body: dict[str, Any] = {"model": model, "ignore_eos": True, "max_tokens": tokens, **stream, **fields}
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


_Kinds = dict[str, tuple[str, dict[str, Any]]]
_SIMULATED: _Kinds = {
    "plain": (CHAT, {}),
    "three choices": (CHAT, {"n": 3}),
    "log-probabilities": (CHAT, {"logprobs": True, "top_logprobs": 2}),
    "tools": (CHAT, {"tools": [_TOOL], "tool_choice": "required", **_WHOLE}),
    "an image": (CHAT, {}),
    "a stop string": (CHAT, {"stop": ["never said", ".17 "]}),
    "two prompts": (COMPLETIONS, {}),
    "echo": (COMPLETIONS, {"echo": True, "logprobs": 1}),
    "in one piece": (CHAT, {"stream": False, "n": 2}),
}
_GREEDY = {"temperature": 0}
# Several choices want a temperature; of one token to choose from, that is greedy as well.
_SEVERAL = {"temperature": 0.7, "top_k": 1}
_REAL: _Kinds = {
    **{kind: (path, {**_GREEDY, **fields}) for kind, (path, fields) in _SIMULATED.items()},
    "three choices": (CHAT, {"n": 3, **_SEVERAL}),
    "penalties": (CHAT, {**_GREEDY, "frequency_penalty": 0.6, "presence_penalty": 0.4, "repetition_penalty": 1.1}),
    "tools": (CHAT, {**_GREEDY, "tools": [_COUNT], "tool_choice": "required", **_WHOLE}),
    "a JSON schema": (CHAT, {**_GREEDY, "response_format": _FORMAT, **_WHOLE}),
    "in one piece": (CHAT, {"stream": False, "n": 2, **_SEVERAL}),
}
_KINDS = {SIMULATED: _SIMULATED, VLLM: _REAL}
