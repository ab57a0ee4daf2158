"""What loads adapters, without an engine."""

from __future__ import annotations

import asyncio

from tessera.queue import Adapter


class Host:
    """An engine that has what it was told to load, but for paths in ``missing``."""

    most_rank = 16

    def __init__(self, **of_arguments: str) -> None:
        self.paths = dict(of_arguments)
        self.missing: set[str] = set()
        self.loads: list[str] = []

    async def load(self, adapter: Adapter) -> None:
        self.loads.append(adapter.path)
        await asyncio.sleep(0)
        if adapter.path in self.missing:
            raise ValueError(f"No adapter found for\n{adapter.path}")
        self.paths[adapter.name] = adapter.path

    def unload(self, name: str) -> None:
        del self.paths[name]

    def loaded(self) -> dict[str, str]:
        return dict(self.paths)
