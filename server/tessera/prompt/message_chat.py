"""The chat that vLLM makes of a request to ``/v1/messages``.

After ``AnthropicServingMessages.to_chat_completion_request`` of ``vllm.entrypoints.anthropic.serving`` (0.32).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tessera.prompt.conversation import BILLING, Whole, whole_value
from tessera.prompt.files import Uncountable
from tessera.prompt.translation import MediaAt, Medium, Messages, Path, Translated, objects_of, text_of

# Blocks that change which tools there are.
_CHANGES = ("tool_addition", "tool_removal")
_KEPT = ("chat_template_kwargs", "kv_transfer_params")


def chat_of_messages(
    body: Mapping[str, Any],
    media: MediaAt,
    whole: Whole,
    *,
    document: Callable[[dict[str, Any]], str],
    system_first: bool,
    disabled_effort: str,
) -> Translated:
    """The chat.

    Args:
        media: its blocks that are no text.
        document: the text that goes on in the place of a block of type ``document``.
        system_first: the chat template takes messages of the system at the beginning alone.
        disabled_effort: ``reasoning_effort`` where thinking is disabled.

    Raises:
        Uncountable: vLLM would refuse it, or does with it what nobody here follows.
    """
    translation = _Translation(media, whole, document)
    return translation.translate(body, system_first=system_first, disabled_effort=disabled_effort)


class _Translation:
    def __init__(self, media: MediaAt, whole: Whole, document: Callable[[dict[str, Any]], str]):
        self._media = media
        self._whole = whole
        self._document = document
        self._messages = Messages()

    def translate(self, body: Mapping[str, Any], *, system_first: bool, disabled_effort: str) -> Translated:
        messages = objects_of(body.get("messages"), "`messages`")
        system = [self._system(body.get("system") or "")]
        if system_first:
            system += [self._system(each.get("content")) for each in messages if each.get("role") == "system"]
        if text := "".join(system):
            self._messages.add("system", text)
        for i, message in enumerate(messages):
            if message.get("role") != "system":
                self._add(message, ("messages", i, "content"))
            elif not system_first and (text := self._system(message.get("content"))):
                self._messages.add("system", text)
        made: dict[str, Any] = {"messages": self._messages.made}
        made |= {name: whole_value(body[name], self._whole) for name in _KEPT if body.get(name) is not None}
        if body.get("tools") is not None:
            made["tools"] = [self._tool(tool) for tool in objects_of(body["tools"], "`tools`")]
        made["tool_choice"] = (body.get("tool_choice") or {}).get("type")
        made["reasoning_effort"] = (body.get("output_config") or {}).get("effort")
        if (body.get("thinking") or {}).get("type") == "disabled":
            made["reasoning_effort"] = disabled_effort
        return Translated(made, self._messages.media)

    def _system(self, content: Any) -> str:
        """What the system says: texts alone, and of them none that only says who is billed."""
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else objects_of(content, "`system`")
        if any(block.get("type") in _CHANGES for block in blocks):
            raise Uncountable("blocks that change the tools are not counted")
        said = [self._whole(text_of(b.get("text"), "a text")) for b in blocks if b.get("type") == "text"]
        return "".join(text for text in said if not text.startswith(BILLING))

    def _add(self, message: dict[str, Any], at: Path) -> None:
        role, content = text_of(message.get("role"), "`role`"), message.get("content")
        if isinstance(content, str):
            self._messages.add(role, self._whole(content))
            return
        parts: list[Any] = []
        calls: list[dict[str, Any]] = []
        thoughts: list[str] = []
        for j, block in enumerate(objects_of(content, "`content`")):
            match block.get("type"):
                case "thinking":
                    thoughts.append(self._whole(text_of(block.get("thinking"), "`thinking`")))
                case "tool_use":
                    calls.append(self._call(block))
                case "tool_result" if role == "user":
                    self._add_result(block, (*at, j, "content"))
                case "tool_result":
                    parts.append({"type": "text", "text": f"Tool result: {self._shown(block, (*at, j, 'content'))}"})
                case "redacted_thinking" | "tool_reference":
                    pass
                case _:
                    if (part := self._part(block, (*at, j))) is not None:
                        parts.append(part)
        fields: dict[str, Any] = {}
        if thoughts:
            fields["reasoning"] = "".join(thoughts)
        if calls:
            fields["tool_calls"] = calls
        said = parts[0]["text"] if len(parts) == 1 and isinstance(parts[0], dict) else parts or None
        if role != "user" or said is not None:
            self._messages.add(role, said, **fields)

    def _part(self, block: dict[str, Any], at: Path) -> Any:
        """A text, or a medium; None: an empty text."""
        if (modality := self._media.get(at)) is not None:
            return Medium(modality)
        text = self._text(block)
        return {"type": "text", "text": text} if text else None

    def _text(self, block: dict[str, Any]) -> str:
        if block.get("type") == "document":
            return self._document(block)
        if block.get("type") != "text":
            raise Uncountable(f"blocks of type {block.get('type')!r} are not counted")
        return self._whole(text_of(block.get("text"), "a text"))

    def _add_result(self, block: dict[str, Any], at: Path) -> None:
        content = block.get("content") or ""
        texts: list[str] = []
        others: list[Medium] = []
        named: list[dict[str, Any]] = []
        if isinstance(content, str):
            texts.append(self._whole(content))
        else:
            for j, each in enumerate(objects_of(content, "`content`")):
                if (modality := self._media.get((*at, j))) is not None:
                    others.append(Medium(modality))
                elif each.get("type") == "tool_reference":
                    name = text_of(each.get("tool_name") or each.get("name"), "`tool_name`")
                    named.append({"type": "tool_reference", "name": self._whole(name)})
                else:
                    texts.append(self._text(each))
        call = self._whole(text_of(block.get("tool_use_id") or "", "`tool_use_id`"))
        self._messages.add("tool", "\n".join(texts), tool_call_id=call)
        if others:
            self._messages.add("user", others)
        if named:
            self._messages.add("tool", named, tool_call_id=call)

    def _shown(self, block: dict[str, Any], at: Path) -> str:
        """A result that the assistant tells of, as Python writes it."""
        content = block.get("content") or ""
        if isinstance(content, list) and any(
            (*at, j) in self._media or each.get("type") == "document"
            for j, each in enumerate(objects_of(content, "`content`"))
        ):
            raise Uncountable("media and documents in what the assistant says of tools are not counted")
        return str(whole_value(content, self._whole))

    def _call(self, block: dict[str, Any]) -> dict[str, Any]:
        called = block.get("input") or {}
        if not block.get("id") or not isinstance(called, dict):
            raise Uncountable("a `tool_use` must have an `id`, and its `input` be an object")
        function = {
            "name": self._whole(text_of(block.get("name") or "", "`name`")),
            "arguments": json.dumps(whole_value(called, self._whole)),
        }
        return {"id": self._whole(text_of(block["id"], "`id`")), "type": "function", "function": function}

    def _tool(self, given: dict[str, Any]) -> dict[str, Any]:
        tool = whole_value(given, self._whole)
        schema = tool.get("input_schema")
        if not isinstance(schema, dict):
            raise Uncountable("tools must have an `input_schema`")
        named = {name: tool.get(name) for name in ("name", "description", "strict", "defer_loading")}
        parameters = {**schema, "type": schema.get("type", "object")}
        return {"type": "function", "function": {**named, "parameters": parameters}}
