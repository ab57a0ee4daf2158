"""The chat that vLLM makes of a request to ``/v1/responses``.

After ``construct_input_messages`` of ``vllm.entrypoints.openai.responses.utils`` (0.32), for what the gateway has
checked, and ``worker.response_media``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tessera.prompt.conversation import Whole, whole_value
from tessera.prompt.files import Uncountable
from tessera.prompt.translation import MediaAt, Medium, Messages, Path, Translated, objects_of, text_of

_KEPT = ("chat_template_kwargs", "kv_transfer_params", "tool_choice")
_UNFINISHED = ("in_progress", "incomplete")
_TEXTS = ("input_text", "output_text", "text")
# The one argument of a tool that takes any text.
_INPUT = "input"
_ANY_TEXT = {
    "type": "object",
    "properties": {_INPUT: {"type": "string", "description": "The freeform text payload for this tool."}},
    "required": [_INPUT],
    "additionalProperties": False,
}


def chat_of_response(body: Mapping[str, Any], media: MediaAt, whole: Whole) -> Translated:
    """The chat.

    Args:
        media: parts of its input that are no text.

    Raises:
        Uncountable: vLLM would refuse it, or does with it what nobody here follows.
    """
    if body.get("previous_input_messages") is not None:
        raise Uncountable("`previous_input_messages` are not counted")
    translation = _Translation(media, whole)
    given, instructions = body.get("input"), body.get("instructions")
    if instructions:
        translation.messages.add("system", whole(text_of(instructions, "`instructions`")))
    if isinstance(given, str):
        translation.messages.add("user", whole(given))
    else:
        for i, item in enumerate(objects_of(given, "`input`")):
            translation.add(item, ("input", i))
    made: dict[str, Any] = {name: whole_value(body[name], whole) for name in _KEPT if body.get(name) is not None}
    made["messages"] = translation.messages.made
    # Unlike a chat's, its tokenizer's own special tokens are put around it.
    made["add_special_tokens"] = True
    if given and not isinstance(given, str) and _continues(given[-1]):
        made |= {"add_generation_prompt": False, "continue_final_message": True}
    if body.get("tools"):
        tools = objects_of(whole_value(body["tools"], whole), "`tools`")
        made["tools"] = [{"type": "function", "function": function} for function in _functions(tools)]
    made["reasoning_effort"] = (body.get("reasoning") or {}).get("effort")
    if body.get("truncation", "disabled") != "disabled":
        made["truncate_prompt_tokens"] = -1
    return Translated(made, translation.messages.media, calls_as_made=True)


def _continues(item: dict[str, Any]) -> bool:
    """Whether the answer is to go on with the last item."""
    kind = item.get("type") or "message"
    if kind not in ("message", "reasoning") or item.get("status") not in _UNFINISHED:
        return False
    if kind == "message" and (item.get("role") != "assistant" or not item.get("type")):
        raise Uncountable("an unfinished message of anybody but the assistant is not counted")
    if isinstance(item.get("content"), str):
        raise Uncountable("an unfinished message without parts is not counted")
    return True


def _functions(tools: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for tool in tools:
        match tool.get("type"):
            case "function":
                yield _function(tool)
            case "namespace":
                for each in objects_of(tool.get("tools"), "`tools` of a namespace"):
                    if each.get("type") == "function":
                        yield {**_function(each), "name": f"{tool.get('name')}__{each.get('name')}"}
            case "custom":
                yield {"name": tool.get("name"), "description": tool.get("description"), "parameters": _ANY_TEXT}
            case kind:
                raise Uncountable(f"tools of type {kind!r} are not counted")


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    return {name: tool.get(name) for name in ("name", "description", "parameters", "strict", "defer_loading")}


class _Translation:
    def __init__(self, media: MediaAt, whole: Whole):
        self.messages = Messages()
        self._media = media
        self._whole = whole

    def add(self, item: dict[str, Any], at: Path) -> None:
        """An item: most are a message, several of what the assistant did may be one."""
        match item.get("type") or "message":
            case "function_call":
                name = self._text(item, "name")
                if item.get("namespace"):
                    name = f"{self._text(item, 'namespace')}__{name}"
                self._add_call(item, name, self._text(item, "arguments"))
            case "custom_tool_call":
                given = self._whole(text_of(item.get("input") or "", "`input`"))
                self._add_call(item, self._text(item, "name"), json.dumps({_INPUT: given}, ensure_ascii=False))
            case "function_call_output":
                self.messages.add("tool", self._content(item, (*at, "output")), tool_call_id=self._id(item))
            case "custom_tool_call_output":
                output = self._text(item, "output")  # of parts vLLM makes what its templates cannot read
                self.messages.add("tool", output, tool_call_id=self._id(item))
            case "reasoning":
                self._say("reasoning", self._thought(item))
            case "message" if item.get("role") == "assistant":
                self._say("content", self._said(item, (*at, "content")))
            case "message":
                role = text_of(item.get("role"), "`role`")
                self.messages.add(role, self._content(item, (*at, "content")))
            case kind:
                raise Uncountable(f"items of type {kind!r} are not counted")

    @property
    def _last(self) -> dict[str, Any] | None:
        """The message before, if the assistant's."""
        made = self.messages.made
        return made[-1] if made and made[-1]["role"] == "assistant" else None

    def _say(self, name: str, text: str) -> None:
        if (last := self._last) is not None and last.get(name) is None:
            last[name] = text
        else:
            self.messages.add("assistant", **{name: text})

    def _add_call(self, item: dict[str, Any], name: str, arguments: str) -> None:
        call = {"id": self._id(item), "function": {"name": name, "arguments": arguments}, "type": "function"}
        if (last := self._last) is None:
            self.messages.add("assistant", tool_calls=[call])
        else:
            last.setdefault("tool_calls", []).append(call)

    def _thought(self, item: dict[str, Any]) -> str:
        if item.get("encrypted_content"):
            raise Uncountable("encrypted reasoning is not counted")
        summary = objects_of(item.get("summary"), "`summary`")
        said = objects_of(item.get("content") or [], "`content`") or summary
        return self._text(said[0], "text") if said else ""

    def _said(self, item: dict[str, Any], at: Path) -> str:
        """Of what the assistant said vLLM takes the first part alone."""
        content = item.get("content")
        if isinstance(content, str):
            return self._whole(content)
        parts = objects_of(content, "`content`")
        if not parts or any((*at, j) in self._media for j in range(len(parts))):
            raise Uncountable("a message of the assistant without a text is not counted")
        return self._text(parts[0], "text")

    def _content(self, item: dict[str, Any], at: Path) -> str | list[Any]:
        content = item.get(str(at[-1]))
        if isinstance(content, str):
            return self._whole(content)
        return [self._part(part, (*at, j)) for j, part in enumerate(objects_of(content, "`content`"))]

    def _part(self, part: dict[str, Any], at: Path) -> Any:
        if (modality := self._media.get(at)) is not None:
            return Medium(modality)
        if (part.get("type") or "text") not in _TEXTS:
            raise Uncountable(f"parts of type {part.get('type')!r} are not counted")
        return {"type": "text", "text": self._text(part, "text")}

    def _text(self, holder: dict[str, Any], name: str) -> str:
        return self._whole(text_of(holder.get(name), f"`{name}`"))

    def _id(self, item: dict[str, Any]) -> str:
        return self._text(item, "call_id")
