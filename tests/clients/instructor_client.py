"""Instructor, which has models answer with objects, on OpenAI's client."""

from __future__ import annotations

from typing import Any, Literal

import instructor
from instructor.core.exceptions import InstructorRetryException
from instructor.processing.multimodal import Audio, Image
from openai import OpenAI
from pydantic import BaseModel, Field
from trial import Trial, refused

trial = Trial()
LIMITS: dict[str, Any] = {"model": trial.model, "max_tokens": 100, "temperature": 0, "logit_bias": trial.blanks}
# One try: a second would hide what was wrong.
LIMITS["max_retries"] = 0


class Thing(BaseModel):
    """What is seen."""

    colour: Literal["red", "blue"]
    count: int = Field(ge=0, le=9)


def client() -> instructor.Instructor:
    # Its modes that call tools send no `strict`, without which vLLM holds a call to being JSON alone.
    server = OpenAI(base_url=f"{trial.url}/v1", api_key="none", max_retries=0)
    return instructor.from_openai(server, mode=instructor.Mode.JSON_SCHEMA)


def user(*content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


def make(*content: Any) -> Thing:
    made = client().chat.completions.create(response_model=Thing, messages=user(*content), **LIMITS)
    assert isinstance(made, Thing)
    return made


@trial.of("structured output")
def structured_output() -> None:
    make("What is it?")


@trial.of("streaming")
def streaming() -> None:
    partial = client().chat.completions.create_partial(response_model=Thing, messages=user("What is it?"), **LIMITS)
    seen = list(partial)
    assert len(seen) > 1
    assert seen[-1].model_dump() == make("What is it?").model_dump()


@trial.of("images")
def images() -> None:
    picture = Image.from_base64(trial.picture)
    asking = client().chat.completions
    made, completion = asking.create_with_completion(response_model=Thing, messages=user("What?", picture), **LIMITS)
    assert isinstance(made, Thing)
    assert completion.usage.prompt_tokens_details.image_tokens > 0


@trial.of("sound")
def sound() -> None:
    part = Audio(source="a.wav", data=trial.sound, media_type="audio/wav")
    asking = client().chat.completions
    made, completion = asking.create_with_completion(response_model=Thing, messages=user("How many?", part), **LIMITS)
    assert isinstance(made, Thing)
    assert completion.usage.prompt_tokens_details.audio_tokens > 0


@trial.of("errors")
def errors() -> None:
    asking = client().chat.completions
    refusal = refused(
        InstructorRetryException,
        lambda: asking.create(response_model=Thing, messages=user("Hello"), top_p=7, **LIMITS),
    )
    assert "`top_p` must be" in str(refusal)


if __name__ == "__main__":
    trial.run()
