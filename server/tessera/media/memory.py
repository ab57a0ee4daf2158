"""The memory that media may take in one gateway, from its first encoded byte until it is stored."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from tessera.media.budget import ByteBudget
from tessera.media.decoder import SMALL_BYTES, thread_count
from tessera.settings import MIB, Settings

# Where nobody says how much: room for what is decoded at once, and as much again as two large items.
_DEFAULT_BYTES = 512 * MIB
_DEFAULT_BYTES_PER_THREAD = 256 * MIB


class MediaMemory:
    """One budget in three parts: what is fetched or read, what is decoded, and what is decoded in a blink.

    What is to be decoded waits for what is being decoded, never the other way round, so the parts keep requests from
    waiting for each other in a circle; and small items have room of their own, or they would wait for the room of large
    ones. Decoded bytes are held until they are stored: a slow store slows decoding down, and fills no memory.

    Attributes:
        encoded: what is fetched or read.

    Args:
        settings: limits.
    """

    def __init__(self, settings: Settings):
        threads = thread_count(settings)
        total = settings.max_media_bytes_in_memory or _DEFAULT_BYTES + threads * _DEFAULT_BYTES_PER_THREAD
        encoded = total // 4
        # For each thread, one item that is decoded and one that is stored.
        small = min((threads + 1) * 2 * SMALL_BYTES, total // 8)
        wait_s = settings.media_memory_wait_s
        # A download holds at most its bytes as they came, and unpacked.
        kept = min(2 * settings.media_max_bytes, encoded // 2)
        self.encoded = ByteBudget("encoded", encoded, wait_s, kept=kept)
        self._small = ByteBudget("decoding_small", small, wait_s)
        self._large = ByteBudget("decoding", total - encoded - small, wait_s)

    @property
    def in_decode(self) -> int:
        """Bytes held for media that is being decoded or stored."""
        return self._large.held + self._small.held

    def decoding(self, nbytes: int) -> AbstractAsyncContextManager[None]:
        """Hold what decoding takes. Raises ``MediaMemoryFull`` after a bounded wait."""
        return (self._small if nbytes <= SMALL_BYTES else self._large).hold(nbytes)
