"""What the simulation says: tokens of which each tells whose it is and which one it is.

Any worker says the same to a request, so that a token that is missing, repeated or of another request shows.
"""

from __future__ import annotations

import hashlib
import zlib

_NAME_BYTES = 3
# Log-probabilities are any numbers, but the same ones each time.
_LOGPROBS = 4096


class Voice:
    """The tokens of one answer.

    Args:
        prompt: what it answers, as bytes.
        choice: which of the ``n`` answers to that.
    """

    def __init__(self, prompt: bytes, choice: int):
        key = hashlib.blake2b(prompt, digest_size=16).digest() + choice.to_bytes(4, "big")
        self.name = hashlib.blake2b(key, digest_size=_NAME_BYTES).hexdigest()

    def token(self, number: int) -> str:
        """The token with a number, from 0: a space, the answer's name, a point, the number."""
        return f" {self.name}.{number}"


def logprob(token: str) -> float:
    """Of a token: always the same, 0 at the most."""
    return -(zlib.crc32(token.encode()) % _LOGPROBS) / 1024


def alternatives(token: str, most: int) -> list[tuple[str, float]]:
    """The most probable tokens in its place, the best first: itself, then others that are never said."""
    best = logprob(token)
    return [(token if i == 0 else f"{token}~{i}", best - i) for i in range(most)]
