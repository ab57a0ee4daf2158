"""Whether vLLM, behind the server, says token for token what transformers says of the same checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
import torch
from rich.table import Table

from models.nano.checkpoint import load_processor
from models.nano.curriculum import KINDS, Maker, Split
from models.nano.evaluation import MAX_TOKENS
from models.nano.files import Json, messages
from models.nano.network import load_model
from models.nano.voices import VoiceBank
from tessera.media import MediaSource, MediaSpec, MediaStage, MemoryMediaStore, Modality, unpack
from tessera.settings import Settings

_TIMEOUT_S = 120
# How the server samples the frames of a video for this family of models.
_SPEC = MediaSpec(video_sampling="qwen2_vl", video_max_frames=768)


@dataclass(frozen=True)
class Agreement:
    """How often the two said the same, of one kind of prompts.

    Attributes:
        differences: what was said by the server and by transformers, where it was not the same.
    """

    kind: str
    prompts: int
    differences: tuple[tuple[str, str], ...]


class Reference:
    """transformers' own greedy answers, from the same files as the server's.

    Args:
        folder: the checkpoint.
        dtype: what the model computes in.
    """

    def __init__(self, folder: Path, dtype: torch.dtype):
        self._processor = load_processor(folder)
        self._model = load_model(folder).to(dtype).eval()
        self._stage = MediaStage(Settings(), store := MemoryMediaStore())
        self._store = store

    async def answer(self, conversation: list[Json]) -> list[int]:
        """Token ids of the answer, the end of the turn included."""
        media: dict[Modality, list[Any]] = {modality: [] for modality in Modality}
        for message in conversation:
            for part in message["content"] if isinstance(message["content"], list) else []:
                if part["type"] != "text":
                    modality = Modality(part["type"].removesuffix("_url"))
                    media[modality].append(await self._decoded(modality, part[part["type"]]["url"]))
        text = self._processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        inputs = self._processor(
            text=text,
            images=media[Modality.IMAGE] or None,
            videos=[torch.from_numpy(frames).permute(0, 3, 1, 2) for frames in media[Modality.VIDEO]] or None,
            audio=media[Modality.AUDIO] or None,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = self._model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
        ids: list[int] = output[0, inputs["input_ids"].shape[1] :].tolist()
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """The tokens as text."""
        said: str = self._processor.tokenizer.decode(ids)
        return said

    async def aclose(self) -> None:
        """Stop decoding."""
        await self._stage.aclose()

    async def _decoded(self, modality: Modality, url: str) -> np.ndarray[Any, Any]:
        """The medium as the engine gets it."""
        item = await self._stage.prepare(modality, MediaSource.from_url(url), _SPEC)
        payload = await self._store.get(item.digest)
        assert payload is not None
        return unpack(payload)[1].copy()


async def compare(url: str, model: str, reference: Reference, bank: VoiceBank, prompts: int) -> list[Agreement]:
    """Ask the server and transformers ``prompts`` questions of every kind.

    Raises:
        RuntimeError: the server refused or failed a request.
    """
    maker = Maker(bank, Split.HELD_OUT)
    agreements = []
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for kind in KINDS:
            differences = []
            for seed in range(prompts):
                example = maker.example(kind, seed)
                question = example.questions[seed % len(example.questions)]
                conversation = messages(example, question, seed)
                said = await _server_answer(session, url, model, conversation)
                expected = await reference.answer(conversation)
                if said != expected:
                    differences.append((reference.text(said), reference.text(expected)))
            agreements.append(Agreement(kind, prompts, tuple(differences)))
    return agreements


async def _server_answer(session: aiohttp.ClientSession, url: str, model: str, conversation: list[Json]) -> list[int]:
    body = {
        "model": model,
        "messages": conversation,
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "return_token_ids": True,
    }
    async with session.post(
        f"{url}/v1/chat/completions", data=orjson.dumps(body), headers={"Content-Type": "application/json"}
    ) as response:
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}: {await response.text()}")
        ids: list[int] = orjson.loads(await response.read())["choices"][0]["token_ids"]
        return ids


def as_table(agreements: Sequence[Agreement]) -> Table:
    """The comparison as a person reads it."""
    table = Table("kind", "same tokens", "of")
    for one in agreements:
        table.add_row(one.kind, str(one.prompts - len(one.differences)), str(one.prompts))
    return table
