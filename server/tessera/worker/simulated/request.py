"""What the simulation understands of a request; everything else it passes over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tessera.media import Modality
from tessera.worker.simulated.failures import Failures
from tessera.worker.simulated.prompt import Medium, Prompt

# Tokens of an answer to `/v1/completions` that names no number, as OpenAI's and vLLM's.
COMPLETION_TOKENS = 16

ReadMedium = Callable[[str, Modality], Awaitable[Medium]]


def _as_list(value: object) -> object:
    return [] if value is None else [value] if isinstance(value, str) else value


class StreamOptions(BaseModel):
    """See the OpenAI API."""

    include_usage: bool = False


class GenerationRequest(BaseModel):
    """Fields that both endpoints have; names and meanings are those of the OpenAI API and of vLLM's additions to it."""

    model_config = ConfigDict(extra="ignore")

    model: str = ""
    n: int = Field(1, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    min_tokens: int = Field(0, ge=0)
    ignore_eos: bool = False
    stop: Annotated[list[str], BeforeValidator(_as_list)] = []
    include_stop_str_in_output: bool = False
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    simulate: Failures = Failures()

    @property
    def usage_wanted(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def most_tokens(self) -> int | None:
        """The client's limit for each choice; None: there is none."""
        return self.max_tokens

    @property
    def top_logprobs_wanted(self) -> int | None:
        """Alternatives for each token; None: no log-probabilities."""
        return None

    @property
    def function(self) -> str | None:
        """Name of the function that has to be called; None: the answer is a text."""
        return None

    @property
    def echoes(self) -> bool:
        """Whether the answer begins with the prompt."""
        return False

    async def prompts(self, read: ReadMedium) -> list[Prompt]:
        """What is to be answered. Raises ``ValueError``, and ``TesseraError`` where media cannot be read."""
        raise NotImplementedError


class ChatRequest(GenerationRequest):
    """``POST /v1/chat/completions``."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None

    @property
    def most_tokens(self) -> int | None:
        """See ``GenerationRequest``."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def top_logprobs_wanted(self) -> int | None:
        """See ``GenerationRequest``."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def function(self) -> str | None:
        """The function that is named, or the first one where any is required; with `auto`, none is called."""
        if isinstance(self.tool_choice, dict):
            return str(self.tool_choice.get("function", {}).get("name", ""))
        if self.tool_choice == "required" and self.tools:
            return str(self.tools[0].get("function", {}).get("name", ""))
        return None

    async def prompts(self, read: ReadMedium) -> list[Prompt]:
        """See ``GenerationRequest``: the whole conversation, and the tools."""
        parts: list[str | Medium] = []
        for message in self.messages:
            parts.append(f"<{message.get('role')}>")
            content = message.get("content")
            parts += [await read_part(p, read) for p in (content if isinstance(content, list) else [content])]
            if calls := message.get("tool_calls"):
                parts.append(orjson.dumps(calls).decode())
        if self.tools:
            parts.append(orjson.dumps(self.tools).decode())
        return [Prompt.of_parts(parts)]


class CompletionRequest(GenerationRequest):
    """``POST /v1/completions``."""

    prompt: str | list[int] | list[str] | list[list[int]]
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = False

    @property
    def most_tokens(self) -> int | None:
        """See ``GenerationRequest``."""
        return self.max_tokens or COMPLETION_TOKENS

    @property
    def top_logprobs_wanted(self) -> int | None:
        """See ``GenerationRequest``."""
        return self.logprobs

    @property
    def echoes(self) -> bool:
        """See ``GenerationRequest``."""
        return self.echo

    async def prompts(self, read: ReadMedium) -> list[Prompt]:
        """See ``GenerationRequest``."""
        several = isinstance(self.prompt, list) and self.prompt and not isinstance(self.prompt[0], int)
        prompts: Any = self.prompt if several else [self.prompt]
        try:
            return [Prompt.of_text(p) if isinstance(p, str) else Prompt.of_ids(p) for p in prompts]
        except OverflowError:
            raise ValueError("`prompt` holds a number that is no token's.") from None


async def read_part(part: Any, read: ReadMedium) -> str | Medium:
    """A part of a message's content: a text, or the medium that it refers to."""
    if not isinstance(part, dict):
        return str(part or "")
    kind = str(part.get("type", "text"))
    if kind == "input_image":
        return await read(str(part["image_url"]), Modality.IMAGE)
    if kind == "image":
        return await read(str(part["source"]["url"]), Modality.IMAGE)
    modality = kind.removesuffix("_url")
    if modality not in list(Modality):
        return str(part.get("text", ""))
    return await read(str(part[kind]["url"]), Modality(modality))
