"""Requests to ``/v1/responses`` and ``/v1/messages``, as far as the simulation understands them."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import Field

from tessera.worker.simulated.prompt import Medium, Prompt
from tessera.worker.simulated.request import GenerationRequest, ReadMedium, read_part


class _TypedRequest(GenerationRequest):
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None

    @property
    def function(self) -> str | None:
        """See ``GenerationRequest``: one that is named, or the first where any is asked for."""
        choice = self.tool_choice
        if isinstance(choice, dict):
            if choice.get("name"):
                return str(choice["name"])
            choice = str(choice.get("type"))
        return str(self.tools[0].get("name")) if choice in ("required", "any") and self.tools else None

    async def _prompt(self, said: list[Any], read: ReadMedium) -> list[Prompt]:
        parts: list[str | Medium] = []
        for one in said:
            if not isinstance(one, dict):
                parts.append(str(one))
                continue
            parts.append(f"<{one.get('role') or one.get('type')}>")
            content = one.get("content")
            if content is None:
                parts.append(orjson.dumps(one).decode())
            parts += [await read_part(p, read) for p in (content if isinstance(content, list) else [content])]
        if self.tools:
            parts.append(orjson.dumps(self.tools).decode())
        return [Prompt.of_parts(parts)]


class ResponsesRequest(_TypedRequest):
    """``POST /v1/responses``."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    request_id: str | None = None

    @property
    def most_tokens(self) -> int | None:
        """See ``GenerationRequest``."""
        return self.max_output_tokens

    async def prompts(self, read: ReadMedium) -> list[Prompt]:
        """See ``GenerationRequest``: the instructions, and all items."""
        items: list[Any] = self.input if isinstance(self.input, list) else [{"role": "user", "content": self.input}]
        return await self._prompt([self.instructions or "", *items], read)


class MessagesRequest(_TypedRequest):
    """``POST /v1/messages``."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    system: str | list[dict[str, Any]] | None = None
    stop_sequences: list[str] | None = None

    def model_post_init(self, _: Any) -> None:
        """What stops the answer has a name of its own."""
        self.stop = self.stop_sequences or []

    async def prompts(self, read: ReadMedium) -> list[Prompt]:
        """See ``GenerationRequest``: the whole conversation."""
        return await self._prompt([{"role": "system", "content": self.system or ""}, *self.messages], read)
