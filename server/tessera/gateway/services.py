"""What the gateway's handlers share: connections, the queue, the media stage, and the tasks that keep them going."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tessera.gateway.catalogue import Catalogue
from tessera.gateway.upkeep import Upkeep
from tessera.media import MediaStage, RedisMediaStore
from tessera.queue import Broker, Directory, ReplyHub, connect
from tessera.settings import Settings


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


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Connect, and keep the background tasks running while the context lasts. A Redis that is down does not matter."""
    async with AsyncExitStack() as stack:
        redis, subscription, media = (connect(settings, name=f"gateway{role}") for role in ("", "-replies", "-media"))
        for client in (redis, subscription, media):
            stack.push_async_callback(client.aclose)
        gateway_id = secrets.token_hex(6)
        broker = Broker(redis, settings)
        catalogue = Catalogue(Directory(redis, broker.keys), settings)
        stage = MediaStage(settings, RedisMediaStore(media, settings))
        stack.push_async_callback(stage.aclose)
        hub = ReplyHub(subscription, broker, settings, gateway_id)
        await catalogue.refresh()
        tasks = [
            asyncio.create_task(work)
            for work in (hub.run(), catalogue.run(), Upkeep(broker, catalogue, settings).run())
        ]
        stack.push_async_callback(asyncio.gather, *tasks, return_exceptions=True)
        for task in tasks:
            stack.callback(task.cancel)
        yield Services(settings, gateway_id, broker, hub, catalogue, stage)
