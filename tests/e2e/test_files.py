"""A file that is uploaded once, and asked about by its id."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tessera.local import samples
from tests.e2e.media import image_part, text_part, user, video_part
from tests.stack import RunningStack

pytestmark = pytest.mark.e2e


def answer(client: openai.OpenAI, stack: RunningStack, part: dict[str, Any]) -> tuple[str | None, int]:
    """What the model says of it, and the tokens of the prompt."""
    question = user(part, text_part("What do you see?"))
    said = client.chat.completions.create(model=stack.model, messages=question, max_tokens=24, temperature=0)
    assert said.usage is not None
    return said.choices[0].message.content, said.usage.prompt_tokens


def test_a_file_is_seen_as_what_is_sent_with_the_request(stack: RunningStack, client: openai.OpenAI) -> None:
    for name, data, inline in (("a.png", samples.image(), image_part()), ("a.mp4", samples.video(), video_part())):
        file = client.files.create(file=(name, data), purpose="vision")
        part = {"type": "file", "file": {"file_id": file.id}}
        assert answer(client, stack, part) == answer(client, stack, inline)
        client.files.delete(file.id)
        with pytest.raises(openai.NotFoundError) as gone:
            answer(client, stack, part)
        assert (gone.value.code, gone.value.param) == ("file_not_found", "messages[0].content[0]")
