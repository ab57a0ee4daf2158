"""The response to a generation request: prepares media, queues the job, and passes the reply on as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from tessera.errors import QueueUnavailable, ReplyLost, WorkerLost
from tessera.gateway.body import Document, Endpoint, Options, Share
from tessera.gateway.catalogue import Target
from tessera.gateway.content import check_media, find_media, prepare_media
from tessera.gateway.context_limit import ContextLimit
from tessera.gateway.conversation import check_conversation
from tessera.gateway.dialect import dialect_of
from tessera.gateway.direct import direct
from tessera.gateway.directives import Directives
from tessera.gateway.disconnect import cancel_on_disconnect
from tessera.gateway.document_parts import expand_documents
from tessera.gateway.endpoints import require_endpoint
from tessera.gateway.event_ids import BEGINNING
from tessera.gateway.follower import follow
from tessera.gateway.inherited_media import holder_of
from tessera.gateway.media_file import find_files
from tessera.gateway.media_options import read_media_options
from tessera.gateway.observation import Observation
from tessera.gateway.packing import takes_gzip
from tessera.gateway.pieces import Pieces
from tessera.gateway.playback import Playback
from tessera.gateway.request_id import JOB_HEADER, tell
from tessera.gateway.routing import find_target, key_of, target_of_line
from tessera.gateway.services import Services
from tessera.gateway.text_count import text_sizes
from tessera.gateway.video_parts import expand_videos, modalities_of
from tessera.gateway.visual_wishes import read_limits
from tessera.gateway.wire import Wire
from tessera.media import MediaItem
from tessera.queue import Alias, Job, JobName, ModelCard, Named, Once, PartTokens, ReplyStream, new_job_id
from tessera.telemetry import metrics


class Relay:
    """Answers one request from the queue. Errors before the first byte are raised; later ones end the stream.

    Args:
        endpoint: the one that it was sent to.
        document: the request.
        once: its idempotency key, where it has one.
        share: what it takes of the gateway's room for bodies; given back as soon as the job is queued.
    """

    def __init__(
        self,
        services: Services,
        endpoint: Endpoint,
        document: Document,
        options: Options,
        directives: Directives,
        once: Once | None,
        seen: Observation,
        share: Share,
    ):
        self._services = services
        self._endpoint = endpoint
        self._document: Document | None = document
        self._options = options
        self._lasting = directives.lasting
        self._batch_job = directives.batch_job
        self._once = once
        # What can be picked up again, and whose client knows that it asked for it.
        self._numbered = directives.lasting or once is not None
        self._seen = seen
        self._share = share
        self._queued = asyncio.Event()
        # By what an alias is to mean the same target as before.
        self._key = once.name if once is not None else key_of(document)
        self._previous = ""
        self._prompt_tokens = 0
        self._target: Target

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request (ASGI)."""
        alias, tenant = self._services.catalogue.alias(self._options.model), self._seen.tenant
        if self._batch_job and alias is not None:
            self._target = await target_of_line(self._services, alias, self._batch_job)
        else:
            self._target = await find_target(self._services, self._options.model, self._key, tenant, self._previous)
        card = self._target.card
        self._seen.model = card.model
        if alias is not None:
            self._seen.alias, self._seen.target = alias.name, self._target.name
            metrics.ALIAS_REQUESTS.labels(alias.name, self._target.name).inc()
        require_endpoint(card, self._endpoint)
        name = JobName(self._batch_job or new_job_id(scope["state"]["request_id"]), card.model)
        with ExitStack() as media:
            media.callback(self._services.stage.release, holder_of(name))
            not_before = self._queued if self._lasting else None
            async with cancel_on_disconnect(receive, not_before=not_before):
                earlier = await self._earlier(alias) if self._once else None
                if earlier is None:
                    began = await self._run(await self._job(name, card), media, scope, send)
                    earlier = JobName(began, card.model) if began is not None else None
                if earlier is not None:
                    media.close()
                    await self._join(earlier, scope, send)

    async def _earlier(self, alias: Alias | None) -> JobName | None:
        """The job that began by the same key: of any model, where an alias may have meant another one then."""
        assert self._once is not None, "there is a key"
        own = self._target.card.model
        others = [model for model in self._services.catalogue.names() if model != own] if alias is not None else []
        for model in (own, *others):
            if (earlier := await self._services.broker.begun(model, self._once)) is not None:
                self._seen.model = model
                return JobName(earlier, model)
        return None

    async def _run(self, job: Job, media: ExitStack, scope: Scope, send: Send) -> str | None:
        """Answer by running a job, unless another one stands that began by the same key: its id is returned then."""
        self._services.queued.check(job)
        # Its body may be large, and the answer may take long.
        with self._services.hub.open(replace(job, body=b"")) as stream:
            leave = partial(self._leave, stream.job, media)
            try:
                if (earlier := await self._enqueue(job)) is not None:
                    return earlier
                del job
                stream.enqueued = True
                tell(scope, JOB_HEADER, stream.job.id)
                await self._answer(stream, scope, send, leave)
            except BaseException as error:
                leave(error)
                raise
        return None

    async def _join(self, earlier: JobName, scope: Scope, send: Send) -> None:
        """Answer as another request, which the client has sent before."""
        self._proceed()
        self._seen.job_id = earlier.id
        record = await self._services.records.find([earlier.model], [earlier.id])
        if record is None:
            raise ReplyLost("The queue has lost the request that this one repeats. Send it again.", retry_after_s=1)
        metrics.JOINED.labels(record.model, record.state).inc()
        tell(scope, JOB_HEADER, record.id)
        tell(scope, b"idempotency-replayed", "true")
        await follow(self._services, record, BEGINNING, scope, send, self._seen, pieces=self._pieces())

    async def _job(self, name: JobName, card: ModelCard) -> Job:
        services, document, endpoint = self._services, self._document, self._endpoint
        assert document is not None, "it is read once"
        if self._options.model != self._target.name:
            document.set(("model",), self._target.name)  # the engine knows no alias
        further_roles = services.settings.further_roles()
        await document.run(lambda read: check_conversation(read, endpoint, further_roles))
        found = await document.run(lambda read: find_media(read, endpoint))
        prompts = self._options.sequences if endpoint.several_prompts else 1
        parts = await find_files(found, card, services.files, self._seen.tenant, prompts=prompts)
        media_options = read_media_options(document, endpoint, card, modalities_of(parts, card, endpoint))
        asked, stage, holder = document.value, services.stage, holder_of(name)
        where = (card, media_options, stage, holder, services.settings.max_body_values)
        document, media = await expand_documents(document, endpoint, parts, *where)
        document, media = await expand_videos(document, endpoint, media, *where)
        told: tuple[PartTokens, ...] = ()
        items: list[MediaItem] = []
        limit = ContextLimit(document, endpoint, card, media, services.counters, services.planner)
        seen_media = limit.add if endpoint.counted else None
        if endpoint.counted:
            await limit.check_text()
        if media:
            check_media(media, card, endpoint, sound_of_videos=media_options.sound_of_videos)
            usual = services.settings.visual_defaults_of(card.model)
            limits = read_limits(asked, endpoint, media, card, media_options, usual)
            limits = await limits.weighed(card, services.counters)
            prepared = prepare_media(document, media, media_options, limits, stage, holder, seen_media)
            items, media_options = await prepared
            self._seen.expected = services.planner.expect(card, items, media_options, services.counters.loaded(card))
            if endpoint.counted:
                await limit.check()
            if self._options.by_part:
                told = limit.parts
        self._prompt_tokens = limit.about
        self._seen.stage("media")
        # Of these APIs usage does not say what of it was media.
        if endpoint.counted and not card.prompts and not (media and endpoint.translate):
            self._seen.learn_text = await self._learner(document, card)
        # A job that is wider than its engine is only as wide as it: it needs all of it, whatever number was asked for.
        width = min(self._sequences(card, items), card.sequences)
        body = await document.run(Document.encode)
        self._document = None  # it may be large, and the answer may take long
        options, seen, adapter = self._options, self._seen, self._target.adapter
        seen.job_id = name.id
        if adapter:
            metrics.ADAPTER_REQUESTS.labels(card.model, adapter).inc()
        of_client = (options.hide_usage, options.stream, seen.tenant, told, bool(self._batch_job))
        known: dict[str, Any] = {"about": self._about(items), "trace": seen.carried, "adapter": adapter}
        return Job(name.id, name.model, endpoint.path, body, width, *of_client, **known)

    def _sequences(self, card: ModelCard, items: list[MediaItem]) -> int:
        """How many of them the job takes up."""
        return self._options.sequences

    def _about(self, items: list[MediaItem]) -> dict[str, Any]:
        """For who asks what became of it."""
        stages_ms = {name: round(took_s * 1000, 1) for name, took_s in self._seen.stages_s.items()}
        known = {"gateway_ms": stages_ms, "media": [_described(item) for item in items], "alias": self._seen.alias}
        return {name: told for name, told in known.items() if told}

    async def _learner(self, document: Document, card: ModelCard) -> Callable[[int], None]:
        nbytes = sum(await document.run(lambda read: text_sizes(read, self._endpoint, ())))
        return partial(self._services.counters.ratios.learn, card.model, nbytes)

    async def _enqueue(self, job: Job) -> str | None:
        services = self._services
        gateway_id, lasting = services.gateway_id, self._lasting
        if self._once is None:
            await services.broker.enqueue(job, reply_to=gateway_id, lasting=lasting)
        elif earlier := await services.broker.enqueue_once(job, self._once, reply_to=gateway_id, lasting=lasting):
            return earlier
        services.queued.add(job)
        self._seen.queued(self._prompt_tokens)
        self._seen.stage("enqueue")
        self._proceed()
        return None

    def _proceed(self) -> None:
        """Whatever happens from now on, the request is in the queue."""
        self._queued.set()
        self._share.give_back()

    async def _answer(self, stream: ReplyStream, scope: Scope, send: Send, leave: Callable[[Exception], None]) -> None:
        settings = self._services.settings
        heartbeat_s = settings.stream_heartbeat_s if self._options.stream else 0
        packed_from = settings.gzip_answers_bytes if takes_gzip(scope) else 0
        pieces = self._pieces()
        numbered, dialect = self._numbered and pieces is None, dialect_of(self._endpoint.path)
        with Wire(send, direct(scope, send), heartbeat_s=heartbeat_s, packed_from=packed_from) as wire:
            how: dict[str, Any] = {"on_failure": leave, "dialect": dialect, "pieces": pieces}
            await Playback(stream, wire, self._seen, numbered=numbered, **how).run()

    def _pieces(self) -> Pieces | None:
        """What a stream's bodies go through; None: nothing, or they get ids of events."""
        return None

    def _leave(self, job: Named, media: ExitStack, error: BaseException) -> None:
        """The client gets no more of the job: cancel it, or let it go on and keep its media for it."""
        # With a key, what may be in the queue goes on: whoever sends it again, told to by this error, joins it.
        unconfirmed = self._once is not None and isinstance(error, QueueUnavailable)
        queued = self._queued.is_set() or unconfirmed
        if not (self._lasting and queued) or isinstance(error, WorkerLost):
            self._services.abandon(job)
        elif not self._seen.ended and self._services.unattended.add(job):
            media.pop_all()


def _described(item: MediaItem) -> dict[str, object]:
    # Enough of the digest to see whether it was the same one as in another request.
    return {
        "modality": item.modality.value,
        "shape": list(item.shape),
        "bytes": item.nbytes,
        "digest": item.digest[:12],
    }
