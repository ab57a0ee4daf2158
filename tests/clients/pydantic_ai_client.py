"""Pydantic AI's agents, on chat completions and on responses."""

from __future__ import annotations

import base64
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic_ai import Agent, BinaryContent, ImageUrl, ModelHTTPError, NativeOutput, RunContext, ToolOutput
from pydantic_ai.embeddings import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from trial import Trial, refused, same

trial = Trial()
STORY = "Tell me a story."
provider = OpenAIProvider(base_url=f"{trial.url}/v1", api_key="none")
chat_model = OpenAIChatModel(trial.model, provider=provider)
LIMITS: dict[str, Any] = {"max_tokens": 100, "temperature": 0}
BLANKLESS: dict[str, Any] = {**LIMITS, "logit_bias": trial.blanks}
City = Literal["Rome", "Oslo"]


class Thing(BaseModel):
    """What is seen."""

    colour: Literal["red", "blue"]
    count: int = Field(ge=0, le=9)


@trial.of("text")
def text() -> None:
    answer = Agent(chat_model, model_settings=LIMITS).run_sync(STORY)
    assert answer.output
    assert answer.usage.output_tokens > 0


@trial.of("streaming")
def streaming() -> None:
    agent = Agent(chat_model, model_settings=LIMITS)
    streamed = agent.run_stream_sync(STORY)
    same(agent.run_sync(STORY).output, list(streamed.stream_text(delta=True, debounce_by=None)))
    assert streamed.usage.output_tokens > 0


@trial.of("images")
def images() -> None:
    agent = Agent(chat_model, model_settings=LIMITS)
    data = base64.b64decode(trial.picture.partition(",")[2])
    for part in (ImageUrl(trial.picture), BinaryContent(data, media_type="image/png")):
        answer = agent.run_sync(["What is in the image?", part])
        assert "red" in answer.output, answer.output


@trial.of("sound")
def sound() -> None:
    part = BinaryContent(base64.b64decode(trial.sound), media_type="audio/wav")
    answer = Agent(chat_model, model_settings=LIMITS).run_sync([part, "How many beeps are there?"])
    assert "three" in answer.output, answer.output


@trial.of("tools")
def tools() -> None:
    def settings(step: RunContext[None]) -> dict[str, Any]:
        """It calls the tool once, and then says something."""
        return {**BLANKLESS, "tool_choice": "required" if step.run_step <= 1 else "none"}

    asked: list[str] = []
    agent = Agent(chat_model, model_settings=settings)

    @agent.tool_plain(strict=True)
    def weather(city: City) -> str:
        asked.append(city)
        return "It rains."

    answer = agent.run_sync("Hello")
    assert len(asked) == 1
    assert isinstance(answer.output, str)
    assert answer.usage.requests == 2


@trial.of("structured output")
def structured_output() -> None:
    for output in (ToolOutput(Thing, strict=True), NativeOutput(Thing, strict=True)):
        agent = Agent(chat_model, output_type=output, model_settings=BLANKLESS)
        assert isinstance(agent.run_sync(["What is it?", ImageUrl(trial.picture)]).output, Thing)


@trial.of("responses")
def responses() -> None:
    agent = Agent(OpenAIResponsesModel(trial.model, provider=provider), model_settings=LIMITS)
    first = agent.run_sync(STORY)
    same(first.output, list(agent.run_stream_sync(STORY).stream_text(delta=True, debounce_by=None)))
    assert agent.run_sync("And then?", message_history=first.all_messages()).output


@trial.of("messages")
def messages() -> None:
    model = AnthropicModel(trial.model, provider=AnthropicProvider(base_url=trial.url, api_key="none"))
    agent = Agent(model, model_settings=LIMITS)
    assert agent.run_sync(STORY).output == Agent(chat_model, model_settings=LIMITS).run_sync(STORY).output
    assert "red" in agent.run_sync(["What is in the image?", ImageUrl(trial.picture)]).output


@trial.of("embeddings")
def embeddings() -> None:
    reader = OpenAIProvider(base_url=f"{trial.reader_url}/v1", api_key="none")
    embedder = Embedder(OpenAIEmbeddingModel(trial.reader, provider=reader))
    made = embedder.embed_documents_sync(["A cat sleeps.", "Share prices fell."])
    assert [len(vector) for vector in made.embeddings] == [384, 384]


@trial.of("errors")
def errors() -> None:
    agent = Agent(chat_model, model_settings={"top_p": 7})
    refusal = refused(ModelHTTPError, lambda: agent.run_sync(STORY))
    assert refusal.status_code == 400
    assert "`top_p` must be" in str(refusal.body)


if __name__ == "__main__":
    trial.run()
