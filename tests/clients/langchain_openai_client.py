"""LangChain's models for OpenAI's API."""

from __future__ import annotations

from typing import Any, Literal

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field
from trial import Trial, refused, same

trial = Trial()
STORY = "Tell me a story."


def chat(**options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=trial.model,
        base_url=f"{trial.url}/v1",
        api_key="none",
        max_retries=0,
        temperature=0,
        **{"max_tokens": 100, **options},
    )


class Thing(BaseModel):
    """What is seen."""

    colour: Literal["red", "blue"]
    count: int = Field(ge=0, le=9)


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Rome", "Oslo"]


def seen() -> HumanMessage:
    image = {"type": "image_url", "image_url": {"url": trial.picture}}
    return HumanMessage([{"type": "text", "text": "What is in the image?"}, image])


@trial.of("text")
def text() -> None:
    answer = chat().invoke(STORY)
    assert answer.text
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] in ("stop", "length")


@trial.of("streaming")
def streaming() -> None:
    chunks = list(chat(stream_usage=True).stream(STORY))
    same(chat().invoke(STORY).text, [chunk.text for chunk in chunks])
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) > 0


@trial.of("images")
def images() -> None:
    answer = chat().invoke([seen()])
    assert "red" in answer.text, answer.text
    # LangChain's own form of an image.
    header, _, data = trial.picture.partition(",")
    mime = header.removeprefix("data:").removesuffix(";base64")
    part = {"type": "image", "base64": data, "mime_type": mime}
    again = chat().invoke([HumanMessage([{"type": "text", "text": "What is in the image?"}, part])])
    assert again.text == answer.text


@trial.of("sound")
def sound() -> None:
    part = {"type": "audio", "base64": trial.sound, "mime_type": "audio/wav"}
    answer = chat().invoke([HumanMessage([part, {"type": "text", "text": "How many beeps are there?"}])])
    assert "three" in answer.text, answer.text


@trial.of("tools")
def tools() -> None:
    bound = chat(logit_bias=trial.blanks).bind_tools([Weather], tool_choice="Weather", strict=True)
    answer = bound.invoke("Hello")
    [call] = answer.tool_calls
    assert (call["name"], call["args"]["city"] in ("Rome", "Oslo")) == ("Weather", True)
    streamed = None
    for chunk in bound.stream("Hello"):
        streamed = chunk if streamed is None else streamed + chunk
    assert [call["args"] for call in streamed.tool_calls] == [call["args"]]
    # And on with what the tool found.
    asked = [HumanMessage("Hello"), answer, ToolMessage("It rains.", tool_call_id=call["id"])]
    assert chat(max_tokens=8).invoke(asked).response_metadata["finish_reason"] in ("stop", "length")


@trial.of("structured output")
def structured_output() -> None:
    for method in ("json_schema", "function_calling"):
        asking = chat(logit_bias=trial.blanks).with_structured_output(Thing, method=method, strict=True)
        thing = asking.invoke([seen()])
        assert isinstance(thing, Thing)


@trial.of("responses")
def responses() -> None:
    first = chat(use_responses_api=True, max_tokens=20).invoke(STORY)
    assert first.text
    assert first.response_metadata["id"].startswith("resp_")
    same(first.text, [chunk.text for chunk in chat(use_responses_api=True, max_tokens=20).stream(STORY)])
    going_on = chat(use_responses_api=True, max_tokens=8, use_previous_response_id=True)
    assert going_on.invoke([HumanMessage(STORY), first, HumanMessage("And then?")]).response_metadata["id"]


@trial.of("embeddings")
def embeddings() -> None:
    embedder = OpenAIEmbeddings(
        model=trial.reader,
        base_url=f"{trial.reader_url}/v1",
        api_key="none",
        max_retries=0,
        # It would cut texts into tokens of OpenAI's models.
        check_embedding_ctx_length=False,
    )
    one, other = embedder.embed_documents(["A cat sleeps.", "Share prices fell."])
    assert len(one) == len(other) == 384
    assert max(abs(a - b) for a, b in zip(one, embedder.embed_query("A cat sleeps."), strict=True)) < 1e-4


@trial.of("errors")
def errors() -> None:
    refusal = refused(openai.BadRequestError, lambda: chat(top_p=7).invoke("Hello"))
    assert (refusal.code, refusal.param) == ("invalid_value", "top_p")


if __name__ == "__main__":
    trial.run()
