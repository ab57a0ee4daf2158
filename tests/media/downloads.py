"""Downloads for tests that only want the bytes."""

from __future__ import annotations

from tessera.media import Modality
from tessera.media.fetch import Fetcher
from tessera.media.memory import MediaMemory
from tessera.settings import Settings


class Downloads(Fetcher):
    """A fetcher with a budget of its own."""

    def __init__(self, settings: Settings):
        self.memory = MediaMemory(settings)
        super().__init__(settings, self.memory.encoded)

    async def read(self, url: str) -> bytes:
        """What ``url`` leads to."""
        async with self.fetch(url, Modality.IMAGE) as body:
            return body
