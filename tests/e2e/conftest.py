from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anthropic
import openai
import pytest

from models.nano.voices import VoiceBank
from tests.stack import RunningStack

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> VoiceBank:
    """The voices of the evaluation, made once: it takes two cores 20 seconds."""
    return VoiceBank(tmp_path_factory.mktemp("voices"))


@pytest.fixture
def client(stack: RunningStack) -> Iterator[openai.OpenAI]:
    """OpenAI's client on the gateway; it does not retry, so that every error is seen."""
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(stack: RunningStack) -> Iterator[anthropic.Anthropic]:
    """Anthropic's client on the gateway."""
    with anthropic.Anthropic(base_url=stack.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def direct(stack: RunningStack) -> Iterator[openai.OpenAI]:
    """The same on vLLM's own application."""
    with openai.OpenAI(base_url=f"{stack.direct_url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(stack: RunningStack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0) as client:
        yield client
