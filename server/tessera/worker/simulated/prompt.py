"""A prompt as the simulation counts it: bytes, of which four are a token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

TOKEN_BYTES = 4
_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Medium:
    """A part that is no text.

    Attributes:
        digest: of its content.
        tokens: that the model would see of it.
    """

    digest: str
    tokens: int


@dataclass(frozen=True)
class Prompt:
    """What a sequence begins with.

    Attributes:
        content: texts, token ids and media, one after the other.
        media: those that have to be encoded first.
        text: what ``echo`` says again.
    """

    content: bytes
    media: tuple[Medium, ...] = ()
    text: str = ""

    @classmethod
    def of_text(cls, text: str) -> Prompt:
        """A prompt of ``/v1/completions``."""
        return cls(text.encode(errors="replace"), text=text)

    @classmethod
    def of_ids(cls, ids: Iterable[int]) -> Prompt:
        """The same, in tokens. Raises ``OverflowError``: a number that is no token's."""
        return cls(b"".join(number.to_bytes(TOKEN_BYTES, "big") for number in ids))

    @classmethod
    def of_parts(cls, parts: Iterable[str | Medium]) -> Prompt:
        """A conversation: its texts, and media where they stand in it."""
        content, media = bytearray(), []
        for part in parts:
            if isinstance(part, str):
                content += part.encode(errors="replace")
                continue
            media.append(part)
            room = part.tokens * TOKEN_BYTES
            content += (part.digest.encode() * (room // len(part.digest) + 1))[:room]
        return cls(bytes(content), tuple(media))

    @cached_property
    def tokens(self) -> int:
        """How long it is."""
        return max(1, -(-len(self.content) // TOKEN_BYTES))

    def keys(self, block_tokens: int) -> list[bytes]:
        """Names of its full KV-cache blocks: two prompts that begin alike have the same ones so far."""
        size, keys, before = block_tokens * TOKEN_BYTES, [], b""
        for start in range(0, len(self.content) - size + 1, size):
            block = self.content[start : start + size]
            before = hashlib.blake2b(before + block, digest_size=_KEY_BYTES).digest()
            keys.append(before)
        return keys
