"""All that it takes to make a model's prompts: what a worker announces of its tokenizer and chat templates."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

STRING, OPENAI = "string", "openai"
AUTO = "auto"
# Of what is announced, packed and unpacked; the largest tokenizers take a quarter of it.
MOST_BYTES, _MOST_UNPACKED = 32 << 20, 128 << 20
_LEVEL = 6


class Uncountable(ValueError):
    """How many tokens a text or conversation is cannot be told here; the message says why."""


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """One chat template.

    Args:
        source: in Jinja.
        content_format: what vLLM gives it as a message's content: ``openai``, a list of parts, or ``string``.
    """

    source: str
    content_format: str


@dataclass(frozen=True, slots=True)
class PromptFiles:
    """One model's.

    Args:
        tokenizer: ``tokenizer.json``, as vLLM has it after loading.
        template: of conversations without tools; None: there is none.
        tool_template: of those with tools.
        special_tokens: by the names under which templates know them.
        defaults: the operator's ``--default-chat-template-kwargs``.
        placeholders: by modality, what stands for an item where the content is a string; ``{}`` in it is its number.
        targets: by modality, tokens that a template writes for an item and the processor replaces. A modality that is
            missing cannot be counted.
        interleaved: placeholders stand where their items stood (``--interleave-mm-strings``), not in front of the text.
        drops_unused_tools: tools are not shown to the model where ``tool_choice`` is ``none``.
        disabled_thinking: the operator's ``--anthropic-disabled-thinking-effort``; ``auto``: what templates know.
    """

    tokenizer: str
    template: TemplateFile | None = None
    tool_template: TemplateFile | None = None
    special_tokens: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    placeholders: Mapping[str, str | None] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    interleaved: bool = False
    drops_unused_tools: bool = False
    disabled_thinking: str = AUTO

    def encode(self) -> bytes:
        """As announced.

        Raises:
            Uncountable: larger than ``MOST_BYTES``.
        """
        packed = zlib.compress(orjson.dumps(asdict(self)), _LEVEL)
        if len(packed) > MOST_BYTES:
            raise Uncountable(f"the tokenizer takes {len(packed):,} bytes, more than {MOST_BYTES:,}")
        return packed

    @classmethod
    def decode(cls, packed: bytes) -> PromptFiles:
        """From what was announced; fields of a newer version are ignored.

        Raises:
            Uncountable: it cannot be read.
        """
        try:
            unpacking = zlib.decompressobj()
            known = orjson.loads(unpacking.decompress(packed, _MOST_UNPACKED))
            values = {name: known[name] for name in cls.__dataclass_fields__ if name in known}
            for name in ("template", "tool_template"):
                values[name] = TemplateFile(**values[name]) if values.get(name) else None
            return cls(**values)
        except (zlib.error, ValueError, TypeError) as error:
            raise Uncountable(f"what the worker announced of the tokenizer cannot be read: {error}") from error

    @staticmethod
    def digest_of(packed: bytes) -> str:
        """The name under which it is announced."""
        return hashlib.sha256(packed).hexdigest()
