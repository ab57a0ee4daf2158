"""Random requests to ``/v1/messages`` and ``/v1/responses``, as the gateway lets them through."""

from __future__ import annotations

import random
from typing import Any

from tests.prompt.conversations import sentence

SCHEMA = {"properties": {"place": {"type": "string"}}, "required": ["place"]}
_BILLED = "x-anthropic-billing-header: cc_version=1; cch=0;"


def media_at(body: dict[str, Any]) -> dict[tuple[str | int, ...], str]:
    """Where a request has images."""
    found: dict[tuple[str | int, ...], str] = {}

    def walk(value: Any, at: tuple[str | int, ...]) -> None:
        if isinstance(value, dict):
            if value.get("type") in ("image", "input_image"):
                found[at] = "image"
                return
            for name, each in value.items():
                walk(each, (*at, name))
        elif isinstance(value, list):
            for i, each in enumerate(value):
                walk(each, (*at, i))

    walk(body, ())
    return found


def message(chance: random.Random, picture: str) -> dict[str, Any]:
    """The body of a request to ``/v1/messages``."""
    data = picture.partition(",")[2]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    messages: list[dict[str, Any]] = []
    for turn in range(chance.randint(1, 4)):
        if turn:
            messages.append({"role": "assistant", "content": _said(chance, turn)})
        if turn and chance.random() < 0.2:
            said = sentence(chance) if chance.random() < 0.5 else [_text(chance), {"type": "text", "text": _BILLED}]
            messages.append({"role": "system", "content": said})
        content: Any = [_text(chance) for _ in range(chance.randint(1, 3))]
        if turn and any(block["type"] == "tool_use" for block in messages[-1]["content"] if isinstance(block, dict)):
            content = [_result(chance, turn, image), *content[: chance.randint(0, 2)]]
        if chance.random() < 0.3:
            content.insert(chance.randint(0, len(content)), image)
        messages.append({"role": "user", "content": sentence(chance) if chance.random() < 0.3 else content})
    body: dict[str, Any] = {"model": "m", "max_tokens": 2048, "messages": messages}
    if chance.random() < 0.5:
        billed = [_text(chance), {"type": "text", "text": _BILLED}, _text(chance)]
        body["system"] = chance.choice([sentence(chance), billed])
    if chance.random() < 0.4:
        tools = [
            {"name": "weather", "description": "Tells the weather — anywhere.", "input_schema": SCHEMA, "cache": 1},
            {"name": "now", "input_schema": {"type": "object", "properties": {}}, "strict": True},
            {"name": "late", "input_schema": SCHEMA, "defer_loading": True},
        ]
        body["tools"] = chance.sample(tools, chance.randint(1, 3))
        if chance.random() < 0.5:
            body["tool_choice"] = {"type": chance.choice(["auto", "none", "any"])}
    match chance.randrange(6):
        case 0:
            body["thinking"] = {"type": "disabled"}
        case 1:
            body["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        case 2:
            body["output_config"] = {"effort": chance.choice(["low", "max"])}
        case 3:
            body["chat_template_kwargs"] = {"style": "terse", "unknown": 1}
    return body


def response(chance: random.Random, picture: str) -> dict[str, Any]:
    """The body of a request to ``/v1/responses``."""
    image = {"type": "input_image", "image_url": picture, "detail": "auto"}
    items: list[dict[str, Any]] = []
    for turn in range(chance.randint(1, 4)):
        items += _items(chance, turn) if turn else []
        parts = [{"type": "input_text", "text": sentence(chance)} for _ in range(chance.randint(1, 3))]
        if chance.random() < 0.3:
            parts.insert(chance.randint(0, len(parts)), image)
        asked = {"role": "user", "content": sentence(chance) if chance.random() < 0.3 else parts}
        items.append(asked | chance.choice([{}, {"type": "message"}]))
    if chance.random() < 0.2:
        items.insert(0, {"role": chance.choice(["system", "developer"]), "content": sentence(chance)})
    if chance.random() < 0.1:
        part = {"type": "output_text", "text": sentence(chance)}
        items.append({"type": "message", "role": "assistant", "status": "incomplete", "content": [part]})
    body: dict[str, Any] = {"model": "m", "input": sentence(chance) if chance.random() < 0.1 else items}
    if chance.random() < 0.4:
        body["instructions"] = sentence(chance)
    if chance.random() < 0.4:
        schema = {**SCHEMA, "type": "object"}
        weather = {"type": "function", "name": "weather", "description": "Tells it.", "parameters": schema}
        tools = [
            weather,
            {"type": "function", "name": "now", "parameters": schema, "strict": True},
            {"type": "custom", "name": "shell", "description": "Runs anything."},
            {"type": "namespace", "name": "far", "description": "Far away.", "tools": [weather]},
        ]
        body["tools"] = chance.sample(tools, chance.randint(1, 4))
        if chance.random() < 0.4:
            body["tool_choice"] = "none"
    match chance.randrange(6):
        case 0:
            body["reasoning"] = {"effort": chance.choice(["none", "low", "high"])}
        case 1:
            body["chat_template_kwargs"] = {"style": "terse", "unknown": 1}
        case 2:
            body["truncation"] = "disabled"
    return body


def _text(chance: random.Random) -> dict[str, Any]:
    return {"type": "text", "text": sentence(chance)}


def _said(chance: random.Random, turn: int) -> Any:
    if chance.random() < 0.3:
        return sentence(chance)
    blocks: list[dict[str, Any]] = []
    if chance.random() < 0.3:
        blocks.append({"type": "thinking", "thinking": sentence(chance), "signature": "s"})
    blocks += [_text(chance) for _ in range(chance.randint(0, 2))]
    if chance.random() < 0.5:
        called = {"place": sentence(chance), "n": 1.5, "deep": {"a": [1, None]}}
        blocks.append({"type": "tool_use", "id": f"call-{turn}", "name": "weather", "input": called})
    if chance.random() < 0.1:
        blocks.append({"type": "tool_result", "tool_use_id": "call-1", "content": [_text(chance)]})
    return blocks or sentence(chance)


def _result(chance: random.Random, turn: int, image: dict[str, Any]) -> dict[str, Any]:
    reference = {"type": "tool_reference", "tool_name": "late"}
    content = chance.choice([None, sentence(chance), [_text(chance), image, _text(chance)], [_text(chance), reference]])
    return {"type": "tool_result", "tool_use_id": f"call-{turn}", "content": content}


def _items(chance: random.Random, turn: int) -> list[dict[str, Any]]:
    """What the assistant said and did."""
    items: list[dict[str, Any]] = []
    call = f"call-{turn}"
    if chance.random() < 0.3:
        thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": sentence(chance)}]}
        items.append(thought | chance.choice([{}, {"content": [{"type": "reasoning_text", "text": sentence(chance)}]}]))
    if chance.random() < 0.7:
        parts = [{"type": "output_text", "text": sentence(chance)} for _ in range(chance.randint(1, 2))]
        said = {"type": "message", "role": "assistant", "content": parts}
        items.append(chance.choice([said, {"role": "assistant", "content": sentence(chance)}]))
    if chance.random() < 0.5:
        arguments = chance.choice(['{"place": "Århus"}', "", "no JSON"])
        made = {"type": "function_call", "call_id": call, "name": "weather", "arguments": arguments}
        items.append(made | chance.choice([{}, {"namespace": "far"}]))
        told = chance.choice([sentence(chance), [{"type": "input_text", "text": sentence(chance)}]])
        items.append({"type": "function_call_output", "call_id": call, "output": told})
    if chance.random() < 0.3:
        items.append({"type": "custom_tool_call", "call_id": "c", "name": "shell", "input": sentence(chance)})
        items.append({"type": "custom_tool_call_output", "call_id": "c", "output": sentence(chance)})
    return items
