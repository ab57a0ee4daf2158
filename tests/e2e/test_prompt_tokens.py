"""``prompt_tokens`` is what was estimated, and what is too long is refused as vLLM would refuse it."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tessera.queue import ITEM_COUNT_PATH
from tests.e2e.media import audio_part, data_url, image_part, picture, video_part
from tests.e2e.test_plan import FILM
from tests.prompt.conversations import TOOL, conversation
from tests.prompt.other_apis import message, response
from tests.stack import RunningStack
from tests.stack import request as post

pytestmark = pytest.mark.e2e
REQUESTS, AT_ONCE = 100, 8
LENGTH = 8192


def mixed(chance: random.Random) -> dict[str, Any]:
    """A conversation with media of all kinds, tools and options."""
    image = image_part(picture("blue", (chance.randint(20, 900), chance.randint(20, 900))))
    medium, most = chance.choice([(image, 8), (audio_part(), 4), (video_part(), 2), (FILM, 2), (None, 0)])
    body = conversation(chance, medium) | {"model": "tessera-nano", "max_tokens": 1, "temperature": 0}
    if "tools" in body:
        body["tools"] = [TOOL]  # a strict one is a grammar, which is another matter
    if medium is FILM:
        body["mm_processor_kwargs"] = {"use_audio_in_video": True}
    for said in body["messages"]:
        parts = said["content"] if isinstance(said["content"], list) else []
        for part in [part for part in parts if part is medium]:
            most -= 1
            if most < 0:
                parts.remove(part)
    return body


def estimate(stack: RunningStack, body: dict[str, Any], query: str = "") -> dict[str, Any]:
    status, _, told = post(f"{stack.url}/v1/estimate{query}", body)
    assert status == 200, told
    found: dict[str, Any] = json.loads(told)
    return found


def usage_of(answer: bytes, *, stream: bool) -> dict[str, Any]:
    if stream:
        *_, answer = (line[6:] for line in answer.splitlines() if line.startswith(b"data: {"))
    usage: dict[str, Any] = json.loads(answer)["usage"]
    return usage


def test_mixed_requests_are_as_long_as_estimated(stack: RunningStack) -> None:
    chance = random.Random(2026)
    bodies = [mixed(chance) for _ in range(REQUESTS)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        compared = list(threads.map(lambda number: is_as_estimated(stack, bodies[number], number), range(REQUESTS)))
    assert sum(compared) > REQUESTS * 0.9


def is_as_estimated(stack: RunningStack, body: dict[str, Any], number: int) -> bool:
    """Whether an answer's usage is what was estimated; False: the template refuses the request."""
    found = estimate(stack, body)
    stream = number % 2 == 0
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    status, _, answer = post(f"{stack.url}/v1/chat/completions", body | options | {"usage_by_part": True})
    if not found["text"]["exact"]:
        assert status == 400, (body, found, answer)  # vLLM refuses it, too
        return False
    assert status == 200, (body, answer)
    usage = usage_of(answer, stream=stream)
    assert found["exact"]
    assert usage["prompt_tokens"] == found["prompt_tokens"], body
    details = usage["prompt_tokens_details"]
    kinds = {name: details[f"{name}_tokens"] for name in ("text", "image", "video", "audio")}
    assert sum(kinds.values()) == usage["prompt_tokens"]
    assert kinds == {"text": found["text"]["tokens"], "image": 0, "video": 0, "audio": 0} | found["media_tokens"]
    parts = [(part["path"], part["modality"], part["tokens"]) for part in found["parts"]]
    assert [(part["path"], part["modality"], part["tokens"]) for part in details.get("parts", [])] == parts
    return True


def test_random_conversations_are_as_vllm_s_own_endpoint_counts_them(stack: RunningStack) -> None:
    chance = random.Random(7)
    bodies = [conversation(chance) | {"model": "tessera-nano"} for _ in range(REQUESTS)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        compared = list(threads.map(lambda body: is_as_tokenized(stack, body), bodies))
    assert sum(compared) > REQUESTS * 0.9


def is_as_tokenized(stack: RunningStack, body: dict[str, Any]) -> bool:
    """The same by vLLM's `/tokenize`. It knows no options of templates but these."""
    found = estimate(stack, body)
    known = ("model", "messages", "tools", "add_generation_prompt", "continue_final_message", "add_special_tokens")
    body = {name: value for name, value in body.items() if name in (*known, "chat_template_kwargs")}
    status, _, answer = post(f"{stack.direct_url}/tokenize", body)
    assert (status == 200) == found["text"]["exact"], (body, found, answer)
    assert status != 200 or json.loads(answer)["count"] == found["prompt_tokens"], body
    return status == 200


def test_completions_are_as_long_as_estimated(stack: RunningStack) -> None:
    for prompt in ("Once upon a time", ["The cat", "東京 😀 <|im_end|>"], [5, 6, 7], [[5], [6, 7]]):
        body = {"model": "tessera-nano", "prompt": prompt, "max_tokens": 1}
        found = estimate(stack, body)
        for stream in (False, True):
            options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
            status, _, answer = post(f"{stack.url}/v1/completions", body | options)
            assert status == 200, answer
            usage = usage_of(answer, stream=stream)
            assert found["exact"]
            assert usage["prompt_tokens"] == found["prompt_tokens"]
            assert usage["prompt_tokens_details"]["text_tokens"] == usage["prompt_tokens"]


def test_the_limit_is_vllm_s_to_the_token(stack: RunningStack) -> None:
    body = {"model": "tessera-nano", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}
    body["messages"][0]["content"] = "a" + " a" * (LENGTH - estimate(stack, body)["prompt_tokens"])  # type: ignore[index]
    assert estimate(stack, body)["prompt_tokens"] == LENGTH
    body["messages"][0]["content"] += " a"  # type: ignore[index]
    ours = post(f"{stack.url}/v1/chat/completions", body)
    theirs = post(f"{stack.direct_url}/v1/chat/completions", body)
    assert ours[0] == theirs[0] == 400
    told, error = json.loads(ours[2])["error"], json.loads(theirs[2])["error"]
    assert (told["code"], told["param"], told["type"]) == (
        "context_length_exceeded",
        "messages",
        "invalid_request_error",
    )
    alike = f"This model's maximum context length is {LENGTH} tokens. However, your prompt contains "
    assert told["message"].startswith(f"{alike}{LENGTH + 1} input tokens")
    assert error["message"].startswith(alike)


def test_media_and_text_that_are_too_much_together(stack: RunningStack) -> None:
    url = data_url("image/png", picture("green", (640, 480)))
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "a" + " a" * (LENGTH - 100)}]
    body = {"model": "tessera-nano", "max_tokens": 1, "messages": [{"role": "user", "content": parts}]}
    found = estimate(stack, body)
    assert found["fits"] is False
    status, _, answer = post(f"{stack.url}/v1/chat/completions", body)
    error = json.loads(answer)["error"]
    assert (status, error["code"]) == (400, "context_length_exceeded")
    assert f"contains {found['prompt_tokens']} input tokens" in error["message"]
    assert f"{found['parts'][0]['tokens']} of `messages[0].content[0]` (image)" in error["message"]


def test_the_model_s_own_processor_counts_the_same(stack: RunningStack) -> None:
    [model] = json.loads(stack.get("/v1/models")[1])["data"]
    assert (model["media_counted_by"], model["text_counted_by"]) == ("rules", "tokenizer")
    media = [image_part(picture("blue", (640, 333))), video_part(), audio_part()]
    found = estimate(stack, {"model": "tessera-nano", "messages": [{"role": "user", "content": media}]})
    for part in found["parts"]:
        asked = {"modality": part["modality"], "url": f"tessera-media:{part['digest']}", "mm_processor_kwargs": {}}
        status, _, answer = post(f"{stack.direct_url}{ITEM_COUNT_PATH}", asked)
        assert (status, json.loads(answer)) == (200, {"tokens": part["tokens"]}), part
    status, _, answer = post(f"{stack.direct_url}{ITEM_COUNT_PATH}", asked | {"url": "https://example.com/x.wav"})
    assert (status, json.loads(answer)["error"]["code"]) == (400, "invalid_media")


def test_responses_and_messages_are_as_long_as_estimated(stack: RunningStack) -> None:
    chance, compared = random.Random(7), 0
    url = data_url("image/png", picture("blue", (640, 333)))
    for number in range(24):
        make, path = ((message, "/v1/messages"), (response, "/v1/responses"))[number % 2]
        body = make(chance, url) | {"model": "tessera-nano"}
        # A strict one is a grammar, which is another matter; and who thinks needs room for it.
        for name in ("tools", "tool_choice", "thinking"):
            body.pop(name, None)
        body |= {"max_tokens": 1} if path == "/v1/messages" else {"max_output_tokens": 1, "store": False}
        found = estimate(stack, body, f"?endpoint={path}")
        status, _, answer = post(f"{stack.url}{path}", body)
        assert (status == 200) == found["text"]["exact"], (body, found, answer)
        if status == 200:
            usage = json.loads(answer)["usage"]
            cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
            assert usage["input_tokens"] + cached == found["prompt_tokens"], body
            assert found["exact"]
            compared += 1
    assert compared > 12
