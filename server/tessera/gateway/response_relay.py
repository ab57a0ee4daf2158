"""Answers ``POST /v1/responses``: what went before is put in front of the input, and what comes of it is kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
from starlette.types import Scope, Send

from tessera.errors import Cancelled, QueueUnavailable, RequestTooLarge, TesseraError
from tessera.gateway.body import Document, Endpoint, Options, Share
from tessera.gateway.directives import Directives
from tessera.gateway.observation import Observation
from tessera.gateway.pieces import Pieces, Sequenced
from tessera.gateway.relay import Relay
from tessera.gateway.request_id import JOB_HEADER, tell
from tessera.gateway.response_chain import Continued, continue_from, go_on_in, own_items
from tessera.gateway.response_object import now_s, shape_of
from tessera.gateway.response_wishes import read_wishes
from tessera.gateway.services import Services
from tessera.queue import Job, JobName, ModelCard, Once, ReplyStream
from tessera.responses import Conversation, StoredResponse, response_id_of


class ResponseRelay(Relay):
    """See ``Relay``."""

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
        self._wishes = read_wishes(document.value)
        if self._wishes.background:
            directives = replace(directives, lasting=True)
        super().__init__(services, endpoint, document, options, directives, once, seen, share)
        self._previous = self._wishes.previous
        self._key = self._key or self._wishes.conversation
        self._stored: StoredResponse | None = None
        self._continued: Continued | None = None
        self._conversation: Conversation | None = None
        self._echo: dict[str, Any] = {}

    async def _job(self, name: JobName, card: ModelCard) -> Job:
        await self._begin(name)
        try:
            job = await super()._job(name, card)
        except TesseraError as error:
            if self._continued is not None:
                self._continued.rename(error)
            raise
        return replace(job, echo=self._echo)

    async def _begin(self, name: JobName) -> None:
        document, settings, wishes = self._document, self._services.settings, self._wishes
        assert document is not None, "it is read once"
        response_id, own = response_id_of(name.id), await document.run(own_items)
        room = min(settings.responses_max_bytes, settings.responses_max_bytes_per_tenant)
        keep = wishes.keep and len(own) <= room
        if wishes.keep and not keep and (wishes.background or wishes.store or wishes.conversation):
            raise RequestTooLarge(
                f"A response can be kept whose input has at most {room:,} bytes. Upload media and send `file_id`s, or "
                "send `store: false`.",
                param="input",
            )
        echo: dict[str, Any] = {"background": wishes.background, "store": keep, "created_at": now_s()}
        self._echo = {**echo, "previous_response_id": wishes.previous or None}
        services, tenant = self._services, self._seen.tenant
        if wishes.conversation:
            self._conversation = await services.conversations.open(tenant, wishes.conversation)
            self._echo["conversation"] = {"id": self._conversation.id}
        if keep:
            body = {**document.value, "model": self._target.name}
            shape = document.text_of(shape_of(body, response_id, self._echo))
            kinds = (wishes.background, self._options.stream)
            self._stored = StoredResponse(response_id, name.model, name.id, *kinds, shape, own, wishes.previous)
            self._stored = replace(self._stored, conversation=wishes.conversation)
        if self._conversation is not None:
            continued = await go_on_in(self._conversation, document, own, self._endpoint, services)
        else:
            continued = await continue_from(wishes.previous, document, own, self._endpoint, services, tenant)
        self._continued, document = continued, continued.document
        self._document = document
        document.set(("request_id",), response_id)
        # The engine keeps nothing and waits for nobody: that is this server's business.
        for member in ("store", "background"):
            document.set((member,), False)
        for member in ("previous_response_id", "conversation"):
            document.remove((member,))

    async def _enqueue(self, job: Job) -> str | None:
        if self._stored is None:
            return await super()._enqueue(job)
        responses, tenant = self._services.responses, self._seen.tenant
        if self._conversation is not None:
            await self._services.conversations.take_turn(tenant, self._conversation, self._stored)
        queued = False
        try:
            await responses.add(tenant, self._stored)
            earlier = await super()._enqueue(job)
            queued = earlier is None
        except QueueUnavailable:
            queued = True  # perhaps: whoever looks what became of it will see
            raise
        finally:
            if not queued:
                with suppress(QueueUnavailable):
                    await responses.forget(tenant, self._stored)
        return earlier

    async def _answer(self, stream: ReplyStream, scope: Scope, send: Send, leave: Callable[[Exception], None]) -> None:
        if not self._wishes.background or self._options.stream:
            await super()._answer(stream, scope, send, leave)
            return
        assert self._stored is not None, "what runs in the background is kept"
        leave(Cancelled("Nobody waits for it."))
        await _send_json(send, self._stored.shape)

    async def _join(self, earlier: JobName, scope: Scope, send: Send) -> None:
        if not self._wishes.background or self._options.stream:
            await super()._join(earlier, scope, send)
            return
        self._proceed()
        self._seen.job_id = earlier.id
        _, shown = await self._services.responses.find(self._seen.tenant, response_id_of(earlier.id))
        tell(scope, JOB_HEADER, earlier.id)
        tell(scope, b"idempotency-replayed", "true")
        await _send_json(send, orjson.dumps(shown))

    def _pieces(self) -> Pieces | None:
        return Sequenced()


async def _send_json(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
