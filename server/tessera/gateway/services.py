"""What the gateway's handlers share: connections, the queue, the media stage, and the tasks that keep them going."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from tessera.batches import Shelf as BatchShelf
from tessera.errors import FilesNotConfigured
from tessera.files import Files, open_files
from tessera.gateway.abandoned import Abandoned
from tessera.gateway.body import BodyRoom
from tessera.gateway.catalogue import Catalogue
from tessera.gateway.conversation_keeper import ConversationKeeper
from tessera.gateway.conversation_turns import ConversationTurns
from tessera.gateway.disconnect import CANCEL_AGAIN_S
from tessera.gateway.inherited_media import InheritedMedia
from tessera.gateway.item_counts import ItemCounts
from tessera.gateway.planning import Planner
from tessera.gateway.prompt_counters import PromptCounters
from tessera.gateway.queued_bytes import QueuedBytes
from tessera.gateway.redis_watch import RedisWatch
from tessera.gateway.response_keeper import ResponseKeeper
from tessera.gateway.unattended import Unattended
from tessera.gateway.upkeep import Upkeep
from tessera.media import MediaStage, RedisMediaStore, SandboxDecoder, ThreadDecoder
from tessera.queue import (
    Adapters,
    Aliases,
    Broker,
    Directory,
    Explanations,
    FollowedLogLevel,
    LogLevels,
    Named,
    PromptStore,
    Records,
    ReplyHub,
    connect,
)
from tessera.responses import Conversations, Shelf
from tessera.settings import Settings
from tessera.telemetry.tracing import tracing

log = structlog.get_logger()

RESTART_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a request needs.

    Attributes:
        gateway_id: where replies to this process are announced.
        files: None where the settings name no store for any.
    """

    settings: Settings
    gateway_id: str
    broker: Broker
    records: Records
    explanations: Explanations
    hub: ReplyHub
    catalogue: Catalogue
    stage: MediaStage
    abandoned: Abandoned
    queued: QueuedBytes
    bodies: BodyRoom
    unattended: Unattended
    watch: RedisWatch
    planner: Planner
    counters: PromptCounters
    item_counts: ItemCounts
    files: Files | None
    responses: ResponseKeeper
    batches: BatchShelf
    adapters: Adapters
    aliases: Aliases
    conversations: ConversationKeeper

    def require_files(self) -> Files:
        """The files. Raises ``FilesNotConfigured`` where there is no place for any."""
        if self.files is None:
            raise FilesNotConfigured("This server keeps no files: its operator has not set TESSERA_FILES_STORE_URL.")
        return self.files

    def abandon(self, job: Named) -> None:
        """Nobody waits for a job any more: cancel it, soon."""
        self.abandoned.add(job)


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Connect, and keep the background tasks running while the context lasts. A Redis that is down does not matter."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(tracing(settings, "tessera-gateway"))
        redis, subscription = (connect(settings, name=f"gateway{role}") for role in ("", "-replies"))
        patience_s, url = settings.media_transfer_timeout_s, settings.media_redis_url
        media = connect(settings, name="gateway-media", blocking_s=patience_s, url=url)
        for client in (redis, subscription, media):
            stack.push_async_callback(client.aclose)
        gateway_id = secrets.token_hex(6)
        broker = Broker(redis, settings)
        aliases = Aliases(redis, broker.keys)
        catalogue = Catalogue(Directory(redis, broker.keys), aliases, settings)
        store = RedisMediaStore(media, settings)
        decoder = ThreadDecoder(settings) if settings.media_sandbox == "off" else SandboxDecoder(settings)
        stage = MediaStage(settings, store, decoder=decoder)
        stack.push_async_callback(stage.aclose)
        await stage.start()
        hub = ReplyHub(subscription, broker, settings, gateway_id)
        await catalogue.refresh()
        abandoned = Abandoned(broker)
        upkeep = Upkeep(broker, catalogue, settings, gateway_id)
        bodies = BodyRoom(settings.max_body_bytes_in_memory, settings.body_memory_wait_s)
        queued = QueuedBytes(broker, catalogue, settings)
        records = Records(redis, settings)
        unattended = Unattended(records, stage, settings)
        watch = RedisWatch({"queue": redis, **({"media": media} if url else {})}, settings)
        inherited = InheritedMedia(store, records, settings)
        files = open_files(redis, settings)
        conversations = Conversations(redis, settings)
        turns = ConversationTurns(conversations)
        responses = ResponseKeeper(Shelf(redis, settings), turns, records, broker, settings)
        level = FollowedLogLevel(LogLevels(redis, broker.keys), "gateway", settings)
        kept = (hub, catalogue, upkeep, abandoned, unattended, inherited, store, queued, watch, responses, level)
        runs = [part.run for part in kept] + ([files.run] if files is not None else [])
        tasks = [asyncio.create_task(_keep_going(run)) for run in runs]
        stack.push_async_callback(_end, tasks)
        stack.push_async_callback(abandoned.settle, at_most_s=settings.redis_timeout_s)
        counters = PromptCounters(PromptStore(redis, broker.keys))
        stack.callback(counters.close)
        planner = Planner()
        item_counts = ItemCounts(broker, hub, gateway_id, abandoned.add, planner.learnt)
        kept_up = (abandoned, queued, bodies, unattended, watch, planner, counters, item_counts)
        shared = (
            *kept_up,
            files,
            responses,
            BatchShelf(redis, settings),
            Adapters(redis, broker.keys),
            aliases,
            ConversationKeeper(conversations, responses),
        )
        told = Explanations(redis, settings)
        yield Services(settings, gateway_id, broker, records, told, hub, catalogue, stage, *shared)


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
