"""Has a worker's engine load the LoRA adapters that are recorded for its model, and drop those that no longer are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import structlog
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.errors import AdapterUnavailable, ModelNotFound, TesseraError
from tessera.queue import REDIS_UNAVAILABLE, Adapter, Adapters
from tessera.telemetry.outage import Outage

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
# What could not be loaded may be there later: a volume that is not mounted yet, a hub that is away.
RETRY_S = 30.0
LONGEST_ERROR = 600


class AdapterHost(Protocol):
    """An engine that takes adapters.

    Attributes:
        most_rank: the highest rank that it takes.
    """

    most_rank: int

    async def load(self, adapter: Adapter) -> None:
        """Load it, in the place of what has its name. Raises any error, whose words an operator understands."""
        ...

    def unload(self, name: str) -> None:
        """Give no further request to it."""
        ...

    def loaded(self) -> dict[str, str]:
        """Where the weights of each come from, by name."""
        ...


class FollowedAdapters:
    """The adapters of one worker.

    Args:
        records: what is to be loaded.
        model: whose.
    """

    def __init__(self, host: AdapterHost, records: Adapters, model: str):
        self._host = host
        self._records = records
        self._model = model
        # Versions of what was loaded by record; others are of the engine's own arguments.
        self._versions: dict[str, str] = {}
        # By name: the version that could not be loaded, when, and why.
        self._failed: dict[str, tuple[str, float, str]] = {}
        self._changing = asyncio.Lock()
        self._outage = Outage("adapters_unreadable", "adapters_read")

    def told(self) -> dict[str, dict[str, str]]:
        """As the worker's card says it (``ModelCard.adapters``)."""
        loaded = {
            name: {"root": Path(path).name if Path(path).exists() else path, "version": self._versions.get(name, "")}
            for name, path in self._host.loaded().items()
        }
        failed = {name: {"error": why, "version": version} for name, (version, _, why) in self._failed.items()}
        return loaded | failed

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Look until cancelled. While Redis is away, all stays as it is.

        Args:
            changed: called after each change, also those that requests have made.
        """
        known = self.told()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()
            if (told := self.told()) != known:
                known = told
                await changed()

    async def look(self) -> None:
        """Load and unload what the records say."""
        try:
            wanted = await self._records.of(self._model)
        except REDIS_UNAVAILABLE as error:
            self._outage.failed("look", error)
            return
        self._outage.works("look")
        async with self._changing:
            for name in [*self._versions]:
                if name not in wanted:
                    self._unload(name)
            self._failed = {name: failed for name, failed in self._failed.items() if name in wanted}
            for adapter in wanted.values():
                await self._load(adapter)

    async def require(self, name: str) -> None:
        """Have an adapter that a request asks for, which may have been recorded a moment ago.

        Raises:
            ModelNotFound: it is not recorded any more.
            AdapterUnavailable: it cannot be loaded here, or Redis cannot be asked.
        """
        if name in self._host.loaded():
            return
        try:
            adapter = await self._records.find(name)
        except REDIS_UNAVAILABLE as error:
            raise AdapterUnavailable("The adapter's record cannot be read at the moment.", retry_after_s=5) from error
        if adapter is None or adapter.model != self._model:
            raise ModelNotFound(f"The model `{name}` does not exist here any more.", param="model")
        async with self._changing:
            await self._load(adapter)
        if name not in self._host.loaded():
            raise AdapterUnavailable(f"A worker could not load the adapter `{name}`; its log says why.", param="model")

    async def _load(self, adapter: Adapter) -> None:
        name, version = adapter.name, adapter.version
        if self._versions.get(name) == version:
            self._failed.pop(name, None)  # a later version could not be loaded, and was taken back
            return
        failed, at, _ = self._failed.get(name, ("", 0.0, ""))
        if failed == version and time.monotonic() - at < RETRY_S:
            return
        try:
            await self._host.load(adapter)
        except Exception as error:  # a file's, vLLM's, or a hub's
            why = " ".join(str(error).split())[:LONGEST_ERROR] or type(error).__name__
            self._failed[name] = (version, time.monotonic(), why)
            log.warning("adapter_not_loaded", adapter=name, path=adapter.path, error=why)
            return
        self._versions[name] = version
        self._failed.pop(name, None)
        log.info("adapter_loaded", adapter=name, path=adapter.path)

    def _unload(self, name: str) -> None:
        self._host.unload(name)
        del self._versions[name]
        log.info("adapter_unloaded", adapter=name)


class AdaptedApplication:
    """An application that is asked for an adapter once its engine has it.

    Args:
        app: the engine's; which adapter a request asks for stands in its scope (``adapter`` of its state).
    """

    def __init__(self, app: ASGIApp, adapters: FollowedAdapters):
        self._app = app
        self._adapters = adapters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] == "http" and (name := scope.get("state", {}).get("adapter")):
            try:
                await self._adapters.require(name)
            except TesseraError as error:
                await JSONResponse(error.body(), error.status, error.headers())(scope, receive, send)
                return
        await self._app(scope, receive, send)
