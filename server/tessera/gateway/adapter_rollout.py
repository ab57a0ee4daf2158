"""Has an adapter loaded or dropped by all live workers of its model, and waits until they have."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from tessera.errors import AdapterNotLoaded, AdapterPending, AdaptersQuotaExceeded
from tessera.gateway.services import Services
from tessera.queue import Adapter, AdaptersFull, reach

LOOK_EVERY_S = 0.2
_RETRY_S = 5


class Progress(NamedTuple):
    """Of the workers of a model: how many there are, how many have the adapter, and why one could not load it."""

    workers: int
    done: int
    error: str


class AdapterRollout:
    """What the operator waits for, at most ``TESSERA_ADAPTER_LOAD_TIMEOUT_S``."""

    def __init__(self, services: Services):
        self._services = services

    async def load(self, adapter: Adapter, before: Adapter | None) -> None:
        """Have all workers load an adapter, in the place of another version of it where there is one.

        Raises:
            AdapterNotLoaded: a worker cannot load it; all is as it was before.
            AdapterPending: some have not loaded it in time.
            AdaptersQuotaExceeded: it would be one too many.
        """
        await self._replace(adapter.name, before, adapter)
        try:
            await self.finish(adapter)
        except AdapterNotLoaded:
            await self._replace(adapter.name, adapter, before)
            raise

    async def finish(self, adapter: Adapter) -> None:
        """Wait until all workers have an adapter that is recorded. Raises as ``load`` does, and changes nothing."""
        progress = Progress(0, 0, "")
        try:
            async with asyncio.timeout(self._services.settings.adapter_load_timeout_s):
                while True:
                    progress = await self._progress(adapter)
                    if progress.error:
                        raise AdapterNotLoaded(progress.error, param="lora_path")
                    if progress.workers and progress.done == progress.workers:
                        break
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError as error:
            raise AdapterPending(
                f"{progress.done} of {progress.workers} workers have the adapter `{adapter.name}`; the others go on "
                "loading it. Send the same again to wait for them; `adapter_already_loaded` says that all have it.",
                retry_after_s=_RETRY_S,
            ) from error
        await self._services.catalogue.refresh()

    async def unload(self, adapter: Adapter) -> None:
        """Have all workers drop an adapter. Raises ``AdapterPending``: some have not in time."""
        await self._replace(adapter.name, adapter, None)
        await self.leave(adapter.name)

    async def leave(self, name: str) -> None:
        """Wait until no worker has an adapter that is no longer recorded. Raises as ``unload`` does."""
        try:
            async with asyncio.timeout(self._services.settings.adapter_load_timeout_s):
                while True:
                    if not await self.versions(name):
                        break
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError as error:
            raise AdapterPending(
                f"Some workers still have the adapter `{name}`; they drop it soon.", retry_after_s=_RETRY_S
            ) from error
        await self._services.catalogue.refresh()

    async def versions(self, name: str) -> list[str]:
        """Those of an adapter that live workers have; empty ones are of their own arguments."""
        told = [card.adapters.get(name, {}) for _, card in await self._services.catalogue.workers()]
        return [state["version"] for state in told if "root" in state]

    async def _progress(self, adapter: Adapter) -> Progress:
        told = [
            (worker, card.adapters.get(adapter.name, {}))
            for worker, card in await self._services.catalogue.workers()
            if card.model == adapter.model and card.most_rank
        ]
        ours = [(worker, state) for worker, state in told if state.get("version") == adapter.version]
        errors = [f"{state['error']} (worker {worker})" for worker, state in ours if "error" in state]
        return Progress(len(told), sum("root" in state for _, state in ours), errors[0] if errors else "")

    async def _replace(self, name: str, before: Adapter | None, after: Adapter | None) -> None:
        settings = self._services.settings
        try:
            async with reach(settings):
                done = await self._services.adapters.replace(name, before, after, most=settings.max_adapters)
        except AdaptersFull as error:
            raise AdaptersQuotaExceeded(
                f"There are as many adapters as there may be, {settings.max_adapters} (TESSERA_MAX_ADAPTERS). Unload "
                "one first."
            ) from error
        if not done:
            raise AdapterPending(f"Somebody else has just changed the adapter `{name}`.", retry_after_s=_RETRY_S)
