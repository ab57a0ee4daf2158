"""Nothing that one request does may change another's answer."""

from __future__ import annotations

import io

import numpy as np
import openai
import pytest
import soundfile

from tests.e2e.media import data_url, text_part, user

pytestmark = pytest.mark.e2e
MODEL = "tessera-nano"


def far_too_loud(level: float) -> dict[str, object]:
    """A sound whose features are no numbers any more; the gateway would not let it through."""
    buffer = io.BytesIO()
    samples = (np.sin(np.arange(16000) / 5) * level).astype(np.float32)
    soundfile.write(buffer, samples, 16000, format="WAV", subtype="FLOAT")
    return {"type": "audio_url", "audio_url": {"url": data_url("audio/wav", buffer.getvalue())}}


def repeat(client: openai.OpenAI, number: int) -> str | None:
    answer = client.chat.completions.create(
        model=MODEL, messages=user(text_part(f"{number}: Repeat: the cat {number} sat")), max_tokens=12, temperature=0
    )
    return answer.choices[0].message.content


def test_numbers_that_overflow_do_not_outlive_their_request(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    before = [repeat(direct, number) for number in range(20)]
    for attempt in range(3):
        sound = far_too_loud(1e30 + attempt * 1e29)
        # Past the gateway, which stops it: the engine has to stand what a model computes by itself, too.
        spoilt = direct.chat.completions.create(
            model=MODEL, messages=user(sound, text_part("What do you hear?")), max_tokens=24, temperature=0
        )
        assert set(spoilt.choices[0].message.content or "") == {"!"}, "this request no longer overflows: test another"
    # Their blocks are the first to be given out again.
    assert [repeat(direct, number) for number in range(20)] == before
    assert "!!" not in "".join(repeat(client, number) or "" for number in range(100, 140))
