"""What vLLM refuses only when it has begun: OpenAI's client sees status, type, code and field, streamed or not."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.media import text_part, user
from tests.stack import RunningStack, metric

pytestmark = pytest.mark.e2e
MODEL = "tessera-nano"
HELLO = user(text_part("Hello"))
UNKNOWN_TYPE = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "banana"}}}

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "logit_bias": ({"logit_bias": {"99999999": 5}}, "logit_bias", "out-of-vocab"),
    "stop_token_ids": ({"extra_body": {"stop_token_ids": [99999999]}}, "stop_token_ids", "out-of-vocab"),
    "schema": ({"response_format": UNKNOWN_TYPE}, "response_format", "banana"),
    "grammar": ({"extra_body": {"structured_outputs": {"grammar": "root ::= ("}}}, "structured_outputs", "grammar"),
    "top_logprobs": ({"logprobs": True, "top_logprobs": 1000}, "logprobs", "1000"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_of_the_engine(client: openai.OpenAI, stack: RunningStack, name: str, stream: bool) -> None:
    fields, param, mentioned = REFUSED[name]
    counted = _answered_with_400(stack)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, stream=stream, **fields)
    error = refused.value
    assert (error.status_code, error.type, error.code) == (400, "invalid_request_error", "invalid_value")
    assert error.param == param
    assert mentioned in error.message
    assert "parameter=" not in error.message
    assert error.response.headers["content-type"] == "application/json"
    assert _answered_with_400(stack) == counted + 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_of_a_completion(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=MODEL, prompt="Hello", max_tokens=4, stream=stream, logprobs=1000)
    assert (refused.value.code, refused.value.param) == ("invalid_value", "logprobs")


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=MODEL, prompt="word " * 9000, max_tokens=4, stream=stream)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "prompt")
    assert "8192" in refused.value.message


def _answered_with_400(stack: RunningStack) -> float:
    lines = stack.get("/metrics")[1].decode().splitlines()
    refused = [line for line in lines if 'status="400"' in line and 'code="invalid_value"' in line]
    return metric("\n".join(refused), "tessera_requests_total")
