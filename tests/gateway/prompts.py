"""What the embedded model's worker announces of its tokenizer and chat template, without that worker."""

from __future__ import annotations

from dataclasses import replace

import redis.asyncio as aioredis

from tessera.prompt import PromptCounter, PromptFiles, TemplateFile
from tessera.queue import ModelCard, PromptStore
from tessera.queue.keys import Keys
from tessera.settings import EMBEDDED_MODEL, Settings

_TEMPLATE = TemplateFile((EMBEDDED_MODEL / "chat_template.jinja").read_text(), "openai")
FILES = PromptFiles(
    (EMBEDDED_MODEL / "tokenizer.json").read_text(),
    _TEMPLATE,
    _TEMPLATE,
    {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    targets={"image": 1, "video": 1, "audio": 1},
)
COUNTER = PromptCounter(FILES)


async def announce(redis: aioredis.Redis, settings: Settings, card: ModelCard, files: PromptFiles = FILES) -> ModelCard:
    """Announce them. Returns the card that says so."""
    packed = files.encode()
    digest = PromptFiles.digest_of(packed)
    await PromptStore(redis, Keys(settings.redis_prefix)).announce(digest, packed, ttl_s=600)
    return replace(card, prompts=digest)
