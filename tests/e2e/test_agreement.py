"""vLLM, behind the server, says token for token what transformers says: a shortened form of ``make nano-agree``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from models.nano.agreement import Reference, compare
from models.nano.curriculum import KINDS
from models.nano.voices import VoiceBank
from tessera.settings import EMBEDDED_MODEL
from tests.stack import RunningStack, running_stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
PROMPTS = 3


@pytest.fixture(scope="module")
def precise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack of its own: in bfloat16 two implementations may round differently and say different things."""
    with running_stack(tmp_path_factory.mktemp("precise"), TESSERA_ENGINE_ARGS="--dtype float32") as running:
        yield running


async def test_same_tokens(precise: RunningStack, voices: VoiceBank) -> None:
    reference = Reference(EMBEDDED_MODEL, torch.float32)
    try:
        agreements = await compare(precise.url, precise.model, reference, voices, PROMPTS)
    finally:
        await reference.aclose()
    assert [one.kind for one in agreements] == list(KINDS)
    assert [one.differences for one in agreements] == [()] * len(KINDS)
