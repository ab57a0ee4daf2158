"""Messages as a chat template gets them.

After ``parse_chat_messages`` of ``vllm.renderers.chat_utils`` (0.32), for messages that the gateway has checked.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from tessera.prompt.files import OPENAI, PromptFiles, Uncountable

_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal", "thinking": "thinking"}
_REFERENCE = "tool_reference"
# Fields of parts that vLLM knows; of a text, it hands on the others.
_KNOWN = frozenset({
    "type", "text", "refusal", "thinking", "closed", "name", "uuid", "image_url", "video_url", "audio_url", "file",
    "input_audio", "input_image", "image_pil", "image_embeds", "audio_embeds", "video_embeds", "prompt_embeds", "data",
    "prompt_cache_breakpoint",
})  # fmt: skip
# A line that Claude Code puts in front of its system prompt, different each time; vLLM takes it out.
BILLING = "x-anthropic-billing-header"

Whole = Callable[[str], str]
# Modality of each part that is no text, by the numbers of message and part.
Media = Mapping[tuple[int, int], str]


def build_conversation(
    messages: Sequence[Mapping[str, Any]],
    files: PromptFiles,
    content_format: str,
    media: Media,
    whole: Whole = str,
    *,
    calls_as_made: bool = False,
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The messages as the template gets them, and how many items of each modality they hold.

    Args:
        media: its parts that are no text; nothing else of them is looked at.
        whole: gives the string for which one of a message stands.
        calls_as_made: calls of tools did not come through vLLM's request model of chats, which orders their fields.

    Raises:
        Uncountable: vLLM would refuse them, or does with them what nobody here follows.
    """
    building = _Building(files, content_format == OPENAI, media, whole, calls_as_made)
    built = [building.message(i, message) for i, message in enumerate(messages)]
    return built, building.items


class _Medium(NamedTuple):
    modality: str


class _Building:
    def __init__(self, files: PromptFiles, in_parts: bool, media: Media, whole: Whole, calls_as_made: bool):
        self.items: Counter[str] = Counter()
        self._files = files
        self._in_parts = in_parts
        self._media = media
        self._whole = whole
        self._calls_as_made = calls_as_made

    def message(self, number: int, message: Mapping[str, Any]) -> dict[str, Any]:
        role, content = message["role"], message.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        parts = [self._whole_part(part, self._media.get((number, j))) for j, part in enumerate(content or [])]
        if role == "system":
            parts = [kept for part in parts if (kept := _without_billing(part)) is not None]
        built: dict[str, Any] = {"role": role}
        built["content"] = [self._part(part) for part in parts] if self._in_parts else self._text(parts)
        if role == "assistant":
            self._add_assistant(built, message)
        elif role == "tool":
            _add_tool(built, message)
        for name in ("name", "task"):
            if isinstance(message.get(name), str):
                built[name] = self._whole(message[name])
        if role == "developer":
            built["tools"] = whole_value(message.get("tools"), self._whole)
        return built

    def _whole_part(self, part: Any, modality: str | None) -> Any:
        """A part with its whole text; of a medium, what it is."""
        if modality is not None:
            return _Medium(modality)
        if isinstance(part, str):
            return self._whole(part)
        kind = part.get("type") or "text"
        if kind not in _TEXTS and kind != _REFERENCE:
            raise Uncountable(f"parts of type {kind!r} are not counted")
        return whole_value({**part, "type": kind}, self._whole)

    def _part(self, part: Any) -> Any:
        if isinstance(part, _Medium):
            self.items[part.modality] += 1
            return {"type": part.modality}
        if isinstance(part, str):
            return {"type": "text", "text": part}
        kind = part["type"]
        if kind == _REFERENCE:
            return {"type": kind, "name": part["name"]}
        others = {name: value for name, value in part.items() if name not in _KNOWN}
        return {"type": "text", "text": part[_TEXTS[kind]], **others}

    def _text(self, parts: Sequence[Any]) -> str:
        """All of a message's parts in one string, with placeholders for what is no text."""
        texts: list[str] = []
        placeholders: defaultdict[str, list[str]] = defaultdict(list)
        for part in parts:
            if not isinstance(part, _Medium):
                texts.append(part if isinstance(part, str) else part[_TEXTS.get(part["type"], "name")])
            elif placeholder := self._placeholder(part.modality):
                placeholders[part.modality].append(placeholder)
                if self._files.interleaved:
                    texts.append(placeholder)
        text = "\n".join(texts)
        missing = Counter(chain.from_iterable(placeholders.values()))
        for placeholder in missing:
            missing[placeholder] -= text.count(placeholder)
            if missing[placeholder] < 0:
                raise Uncountable("the text has more placeholders of media than there is media")
        return "\n".join([*missing.elements(), *([text] if text else [])])

    def _placeholder(self, modality: str) -> str:
        self.items[modality] += 1
        if modality not in self._files.placeholders:
            raise Uncountable(f"what stands for {modality} in this model's prompts is not known")
        return (self._files.placeholders[modality] or "").replace("{}", str(self.items[modality]))

    def _add_assistant(self, built: dict[str, Any], message: Mapping[str, Any]) -> None:
        calls = message.get("tool_calls")
        if calls:
            if not isinstance(calls, list):
                raise Uncountable("tool calls must be an array")
            ordered = not self._calls_as_made
            built["tool_calls"] = [_call(whole_value(call, self._whole), ordered=ordered) for call in calls]
        reasoning = message.get("reasoning")
        if reasoning is None:
            reasoning = message.get("reasoning_content")
        if reasoning is not None:
            built["reasoning"] = built["reasoning_content"] = whole_value(reasoning, self._whole)


def _add_tool(built: dict[str, Any], message: Mapping[str, Any]) -> None:
    if "tool_call_id" in message:
        built["tool_call_id"] = message["tool_call_id"]
    content = built["content"]
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        built["content"] = "\n".join(part["text"] for part in content)


def _call(call: Any, *, ordered: bool) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type", "function") != "function":
        raise Uncountable("a tool call must be one of a function")
    arguments = function.get("arguments")
    if isinstance(arguments, str) and arguments:
        try:
            arguments = json.loads(arguments)
        except json.JSONDecodeError:
            arguments = {}
    arguments = arguments if isinstance(arguments, dict) else {}
    if not ordered:
        return {**call, "function": {**function, "arguments": arguments}}
    # In vLLM's order, and nothing else: templates may write all of it.
    named = {"arguments": arguments, "name": function.get("name")}
    of_call = {"id": call.get("id"), "function": named, "type": call.get("type")}
    return {name: value for name, value in of_call.items() if value is not None}


def _without_billing(part: Any) -> Any:
    if isinstance(part, _Medium):
        return part
    text = part if isinstance(part, str) else part["text"] if part["type"] == "text" else None
    if not isinstance(text, str) or not text.startswith(BILLING):
        return part
    rest = text.partition("\n")[2]
    if not rest:
        return None
    return rest if isinstance(part, str) else {**part, "text": rest}


def whole_value(value: Any, whole: Whole) -> Any:
    """A JSON value with every string in it whole."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [whole_value(each, whole) for each in value]
    if isinstance(value, dict):
        return {name: whole_value(each, whole) for name, each in value.items()}
    return value
