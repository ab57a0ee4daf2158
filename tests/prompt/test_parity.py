"""Prompts have as many tokens as vLLM's own have: conversations of all kinds, through templates of all kinds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tessera.prompt import PromptCounter, PromptFiles, Uncountable, chat_of_messages, chat_of_response
from tests.prompt.conversations import PARTS, PLAIN, STRICT, conversation
from tests.prompt.other_apis import media_at, message, response
from tests.prompt.reference import picture

CONVERSATIONS = 60
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
# The model's own; then others, by what vLLM makes of them, and with tools that a request chose not to use.
TEMPLATES: list[tuple[str | None, str, bool]] = [
    (None, "auto", False),
    (PLAIN, "auto", True),
    (PARTS, "auto", False),
    (STRICT, "auto", False),
    (STRICT, "string", False),
]


def bodies() -> dict[str, list[dict[str, Any]]]:
    chance, image = random.Random(32), picture()
    medium = {"type": "image_url", "image_url": {"url": image}}
    return {
        CHAT: [conversation(chance, medium if number % 4 == 0 else None) for number in range(CONVERSATIONS)],
        MESSAGES: [message(chance, image) for _ in range(CONVERSATIONS)],
        RESPONSES: [response(chance, image) for _ in range(CONVERSATIONS)],
    }


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """Where vLLM's counts are."""
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "bodies.json").write_text(json.dumps(bodies()))
    (folder / "templates.json").write_text(json.dumps(TEMPLATES))
    argv = [sys.executable, "-m", "tests.prompt.reference", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, env=environment)
    assert not done.returncode, done.stderr[-4000:]
    return folder


def counted(counter: PromptCounter, path: str, body: dict[str, Any]) -> int:
    if path == CHAT:
        media = {
            (i, j): "image"
            for i, said in enumerate(body["messages"])
            for j, part in enumerate(said["content"] or [])
            if isinstance(part, dict) and part["type"] == "image_url"
        }
        return counter.chat(body, media).tokens
    if path == RESPONSES:
        made = chat_of_response(body, media_at(body), str)
    else:
        how = {"system_first": counter.system_first, "disabled_effort": counter.disabled_effort, "document": str}
        made = chat_of_messages(body, media_at(body), str, **how)
    return counter.chat(made.body, made.media, calls_as_made=made.calls_as_made).tokens


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
@pytest.mark.parametrize("number", range(len(TEMPLATES)))
def test_tokens_are_vllm_s(reference: Path, number: int, path: str) -> None:
    packed = (reference / f"{number}.prompts").read_bytes()
    counter = PromptCounter(PromptFiles.decode(packed))
    agreed = refused = 0
    counts = json.loads((reference / "counts.json").read_text())[number][path]
    for body, wanted in zip(bodies()[path], counts, strict=True):
        if wanted is None:
            with pytest.raises(Uncountable):
                counted(counter, path, body)
            refused += 1
        else:
            assert counted(counter, path, body) == wanted, body
            agreed += 1
    assert agreed > CONVERSATIONS / 10
    # Of Anthropic's blocks, some are for templates that know them alone.
    assert (refused > 0) == (TEMPLATES[number][0] == STRICT) or path == MESSAGES
