"""What the gateway's handlers share: connections, the queue, the media stage, and the tasks that keep them going."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog

from tessera.errors import QueueUnavailable
from tessera.gateway.catalogue import Catalogue
from tessera.gateway.disconnect import CANCEL_AGAIN_S
from tessera.gateway.upkeep import Upkeep
from tessera.media import MediaStage, RedisMediaStore
from tessera.queue import Broker, Directory, Job, ReplyHub, connect
from tessera.settings import Settings

log = structlog.get_logger()

RESTART_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a request needs.

    Attributes:
        gateway_id: where replies to this process are announced.
    """

    settings: Settings
    gateway_id: str
    broker: Broker
    hub: ReplyHub
    catalogue: Catalogue
    stage: MediaStage
    _cancelling: set[asyncio.Task[None]] = field(default_factory=set)

    def abandon(self, job: Job) -> None:
        """Cancel a job, soon: a client is not kept waiting for it, and Redis may be what has failed."""
        task = asyncio.create_task(self._cancel(job))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def settle(self) -> None:
        """Wait until all abandoned jobs are cancelled."""
        await asyncio.gather(*self._cancelling)

    async def _cancel(self, job: Job) -> None:
        with suppress(QueueUnavailable):  # then it runs for nobody, at most until its deadline
            await self.broker.cancel(job.model, job.id)


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Connect, and keep the background tasks running while the context lasts. A Redis that is down does not matter."""
    async with AsyncExitStack() as stack:
        redis, subscription = (connect(settings, name=f"gateway{role}") for role in ("", "-replies"))
        media = connect(settings, name="gateway-media", url=settings.media_redis_url)
        for client in (redis, subscription, media):
            stack.push_async_callback(client.aclose)
        gateway_id = secrets.token_hex(6)
        broker = Broker(redis, settings)
        catalogue = Catalogue(Directory(redis, broker.keys), settings)
        stage = MediaStage(settings, RedisMediaStore(media, settings))
        stack.push_async_callback(stage.aclose)
        hub = ReplyHub(subscription, broker, settings, gateway_id)
        await catalogue.refresh()
        work = (hub.run, catalogue.run, Upkeep(broker, catalogue, settings).run)
        tasks = [asyncio.create_task(_keep_going(run)) for run in work]
        stack.push_async_callback(_end, tasks)
        services = Services(settings, gateway_id, broker, hub, catalogue, stage)
        stack.push_async_callback(services.settle)
        yield services


async def _keep_going(run: Callable[[], Awaitable[None]]) -> None:
    """Run until cancelled: whatever nobody thought of is logged, and does not leave the gateway half dead."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("background_task_failed", task=run.__qualname__, restart_s=RESTART_AFTER_S)
        await asyncio.sleep(RESTART_AFTER_S)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a library may swallow a cancellation (see ``disconnect``)."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
