"""What ``openapi.yaml`` says of values that were told one way and treated another, and what vLLM makes of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.description import BODIES, GENERATING, allowed
from tests.stack import RunningStack, request

pytestmark = pytest.mark.e2e
CHAT, COMPLETION = GENERATING
VALUES: dict[str, tuple[dict[str, Any], str | None]] = {
    "a number as a string": ({"max_tokens": "5"}, "max_tokens"),
    "a boolean as a number": ({"n": True}, "n"),
    "no stream": ({"stream": None}, None),
    "nothing to choose from": ({"top_p": 0}, "top_p"),
    "too hot": ({"temperature": 3}, "temperature"),
    "an empty stop": ({"stop": ""}, "stop"),
    "an empty stop among others": ({"stop": ["a", ""]}, "stop"),
    "no stop": ({"stop": []}, None),
    "options of no stream": ({"stream_options": {"include_usage": True}}, "stream_options"),
    "no options of no stream": ({"stream_options": {}}, None),
    "options of a stream": ({"stream": True, "stream_options": {"include_usage": None}}, None),
    "a seed of 64 bits": ({"seed": 2**63 - 1}, None),
    "a seed of more": ({"seed": 2**63}, "seed"),
    "whole numbers with a point": ({"max_tokens": 2.0, "n": 1.0, "seed": 3.0}, None),
    "a field that nobody knows": ({"xyz": {"a": [1]}}, None),
    **{f"no {name}": ({name: None}, None) for name in ("max_tokens", "temperature", "top_p", "seed", "stop")},
    **{f"no {name}": ({name: None}, None) for name in ("frequency_penalty", "presence_penalty", "stream_options")},
}


def body_for(path: str, **fields: Any) -> dict[str, Any]:
    prompt = {"messages": [{"role": "user", "content": "Hello"}]} if path == CHAT else {"prompt": "Hello"}
    return {"model": "tessera-nano", "max_tokens": 2, **prompt, **fields}


def check(stack: RunningStack, path: str, body: dict[str, Any], param: str | None) -> None:
    """That description and server agree on whether the body is wrong, and on where."""
    assert BODIES[path].is_valid(body) is (param is None)
    status, _, content = request(stack.url + path, body)
    assert status == (200 if param is None else 400), content
    if param is not None:
        assert json.loads(content)["error"]["param"] == param


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("name", VALUES)
def test_a_value(stack: RunningStack, path: str, name: str) -> None:
    fields, param = VALUES[name]
    check(stack, path, body_for(path, **fields), param)


def test_a_role_that_nobody_knows(stack: RunningStack) -> None:
    check(stack, CHAT, body_for(CHAT, messages=[{"role": "banana", "content": "x"}]), "messages[0].role")


def test_n_may_be_null_where_vllm_takes_it(stack: RunningStack) -> None:
    check(stack, CHAT, body_for(CHAT, n=None), None)
    check(stack, COMPLETION, body_for(COMPLETION, n=None), "n")


def short(body: dict[str, Any]) -> dict[str, Any]:
    """The body, asking for little."""
    prompt = {"prompt": body["prompt"][:4]} if isinstance(body.get("prompt"), list) else {}
    n = {"n": min(body["n"], 4)} if body.get("n") else {}
    return body | {"model": "tessera-nano", "max_tokens": 2} | prompt | n


@pytest.mark.parametrize("path", GENERATING)
@given(data=st.data())
@settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_nothing_that_is_allowed_makes_vllm_fail(stack: RunningStack, path: str, data: st.DataObject) -> None:
    status, _, content = request(stack.url + path, short(data.draw(allowed(path))))
    assert status < 500, content
