"""A worker's life: media store, engine and frontend, started together and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import redis.asyncio as aioredis
import structlog

from tessera.media import RedisMediaStore
from tessera.memory import keep_for_good
from tessera.queue import Adapters, FollowedLogLevel, LogLevels, ModelCard, connect
from tessera.queue.keys import Keys
from tessera.settings import Settings
from tessera.telemetry.tracing import tracing
from tessera.worker.adapters import AdaptedApplication, FollowedAdapters
from tessera.worker.connector import MediaReader
from tessera.worker.engine_port import serve_engine_port
from tessera.worker.engines import Engine, build_engine
from tessera.worker.fleet import Fleet, follow
from tessera.worker.frontend import Frontend
from tessera.worker.metrics_port import serve_metrics
from tessera.worker.presence import POLL_S, Presence

log = structlog.get_logger()

# A wait for work blocks at Redis; the client's time limit comes on top.
LONGEST_BLOCK_S = 2.0


class Replica:
    """One engine and the frontend that feeds it.

    Args:
        fleet: asks which workers it is one of; may block. None: nobody knows.
    """

    def __init__(self, settings: Settings, *, fleet: Callable[[], Fleet] | None = None):
        self._settings = settings
        self._fleet = fleet
        self._stack = AsyncExitStack()
        self._engine: Engine
        self._frontend: Frontend
        self._card: ModelCard
        self._serving: asyncio.Task[None] | None = None
        self._drained = False

    async def start(self) -> None:
        """Load the model and begin to take jobs."""
        settings, stack = self._settings, self._stack
        await stack.enter_async_context(tracing(settings, "tessera-worker"))
        redis = connect(settings, name="worker", blocking_s=LONGEST_BLOCK_S)
        stack.push_async_callback(redis.aclose)
        # Media is large; on connections of its own it holds up no token.
        patience_s, url = settings.media_transfer_timeout_s, settings.media_redis_url
        media = connect(settings, name="worker-media", blocking_s=patience_s, url=url)
        stack.push_async_callback(media.aclose)
        reader = MediaReader(RedisMediaStore(media, settings), cache_bytes=settings.media_cache_bytes)
        self._engine = build_engine(settings, reader)
        stack.push_async_callback(self._engine.stop)
        await self._engine.start()
        # An engine has many, and each search through them would hold up every answer.
        keep_for_good()
        if settings.engine_port:
            await stack.enter_async_context(serve_engine_port(self._engine.app, settings.engine_port))
        engine, metrics = self._engine, await stack.enter_async_context(serve_metrics(settings))
        app, card = engine.app, replace(engine.card, metrics=metrics)
        adapters = await self._adapters(redis)
        if adapters is not None:
            app, card = AdaptedApplication(app, adapters), replace(card, adapters=adapters.told())
        self._card = card
        self._frontend = Frontend(
            settings,
            redis,
            app,
            card,
            lambda: engine.dead,
            fingerprint=engine.fingerprint,
            codec=engine.codec,
            prompts=engine.prompts,
        )
        self._serving = asyncio.create_task(self._frontend.run())
        if adapters is not None:
            followed = adapters

            async def changed() -> None:
                await self._describe(adapters=followed.told())

            stack.callback(asyncio.create_task(adapters.run(changed)).cancel)
        if self._fleet is not None:

            async def counted(fleet: Fleet) -> None:
                await self._describe(fleet=fleet.name, wanted=fleet.wanted)

            stack.callback(asyncio.create_task(follow(self._fleet, counted)).cancel)
        level = FollowedLogLevel(LogLevels(redis, Keys(settings.redis_prefix)), "worker", settings)
        stack.callback(asyncio.create_task(level.run()).cancel)
        if settings.worker_folder is not None:
            present = asyncio.create_task(self._be_present(Presence(settings.worker_folder), self._serving))
            stack.callback(present.cancel)
        log.info("worker_ready", worker=self._frontend.worker_id, sequences=engine.card.sequences)

    async def _describe(self, **changes: Any) -> None:
        """Have others hear what has changed of it."""
        self._card = replace(self._card, **changes)
        await self._frontend.describe(self._card)

    async def _adapters(self, redis: aioredis.Redis) -> FollowedAdapters | None:
        """Those that are recorded, which are loaded before the worker says that it is there."""
        host = self._engine.adapters
        if host is None:
            return None
        records = Adapters(redis, Keys(self._settings.redis_prefix))
        adapters = FollowedAdapters(host, records, self._engine.card.model)
        await adapters.look()
        return adapters

    def check_health(self) -> None:
        """Raises RuntimeError where the replica has to be replaced."""
        if self._engine.dead:
            raise RuntimeError("the engine died")
        if self._serving is not None and self._serving.done() and not self._drained:
            raise RuntimeError(f"the frontend stopped: {self._serving.exception()!r}")

    async def stop(self) -> None:
        """Let running jobs end, give back the others, end the engine."""
        try:
            if self._serving is not None:
                self._frontend.stop()
                await self._serving
        finally:
            await self._stack.aclose()

    async def _be_present(self, presence: Presence, serving: asyncio.Task[None]) -> None:
        """Drain when this machine's workers are told to. It then stays, without jobs, until it is stopped."""
        with presence.serving():
            while not serving.done():
                if presence.draining() and not self._drained:
                    log.info("worker_draining", worker=self._frontend.worker_id)
                    self._drained = True
                    self._frontend.stop()
                await asyncio.sleep(POLL_S)
