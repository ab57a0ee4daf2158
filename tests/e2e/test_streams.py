"""A stream through the gateway is, event by event, the one that vLLM sends for the same request."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.e2e.media import text_part, user
from tests.stack import RunningStack, request

pytestmark = pytest.mark.e2e
CHAT = ("/v1/chat/completions", {"messages": user(text_part("Hello"))})
ATTEMPTS = 10
BY_MODALITY = re.compile(r',"text_tokens":\d+,"image_tokens":\d+,"video_tokens":\d+,"audio_tokens":\d+')
COMPLETION = ("/v1/completions", {"prompt": "Hello"})
OPTIONS: list[dict[str, Any]] = [
    {},
    {"stream_options": {"include_usage": True}},
    {"stream_options": {"include_usage": False}},
    {"stream_options": {"continuous_usage_stats": True}},
    {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    {"n": 2, "temperature": 1, "seed": 1},
    {"return_token_ids": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=json.dumps)
@pytest.mark.parametrize("endpoint", [CHAT, COMPLETION], ids=["chat", "completion"])
def test_a_stream_is_vllms_own(
    stack: RunningStack, endpoint: tuple[str, dict[str, Any]], options: dict[str, Any]
) -> None:
    path, prompt = endpoint
    body = {"model": "tessera-nano", "max_tokens": 6, "temperature": 0, "stream": True, **prompt, **options}
    # vLLM joins the pieces of several tokens where its front end is late, which no two requests are alike.
    for _ in range(ATTEMPTS):
        through, direct = (_comparable(request(url + path, body)[2]) for url in (stack.url, stack.direct_url))
        if through == direct:
            break
    assert through == direct
    assert through[-2:] == ["data: [DONE]", ""]


def _comparable(stream: bytes) -> list[str]:
    """Its events without what differs between any two requests, in an order that does not depend on timing."""
    text = re.sub(r'"id":"[^"]*"', '"id":""', stream.decode())
    text = BY_MODALITY.sub("", text)  # which this server says beyond it
    text = re.sub(r'"(created|cached_tokens|created_cache_tokens)":\d+', r'"\1":0', text)
    *chunks, done, end = [event for event in text.split("\n\n") if not event.startswith(":")]
    return [*sorted(chunks, key=lambda chunk: re.findall(r'"index":\d+', chunk)), done, end]
