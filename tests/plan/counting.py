"""What the counters share: tokenizers of letters, and contexts for vLLM's classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from tessera.worker import torch_compat

# Before anything imports vLLM or transformers, which hides modules that they trip over.
torch_compat.activate()

REFUSED = None
Call = Sequence[Any]
Counter = Callable[[Call], Any]


class Letters:
    """A tokenizer of one token a letter, with special tokens."""

    def __init__(self, *special: str):
        self.special = special

    def convert_tokens_to_ids(self, token: str) -> int:
        return -1 - self.special.index(token)

    def encode(self, text: str, **options: Any) -> list[int]:
        for token in self.special:
            text = text.replace(token, "\0")
        return list(text.encode())


def context(config: Any, processor: Any = None) -> Any:
    """What vLLM's ``ProcessingInfo`` asks for."""
    return SimpleNamespace(
        get_hf_config=lambda *kind: config,
        get_hf_processor=lambda *kind, **given: processor,
        get_merged_mm_kwargs=lambda given, **known: dict(given),
    )


def info(module: str, name: str, config: Any, processor: Any = None) -> Any:
    kind = getattr(__import__(f"vllm.model_executor.models.{module}", fromlist=[name]), name)
    made = object.__new__(kind)
    made.ctx = context(config, processor)
    return made


def merged_kwargs(kwargs: Any, tokenizer: dict[str, Any], **processors: Any) -> dict[str, Any]:
    """What a processor asks of those within it, where a request asks for nothing."""
    from transformers import ProcessorMixin

    within = SimpleNamespace(tokenizer=SimpleNamespace(), **processors)
    return ProcessorMixin._merge_kwargs(within, kwargs, tokenizer_init_kwargs=tokenizer)
