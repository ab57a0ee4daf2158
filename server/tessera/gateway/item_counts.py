"""Asks a worker how many tokens an item is to the model's own processor: by a job of its own kind, once for a size."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

import orjson

from tessera.errors import TesseraError
from tessera.gateway.learnt_tokens import LearntTokens
from tessera.gateway.media_options import MediaOptions
from tessera.media import MediaItem
from tessera.queue import (
    ITEM_COUNT_PATH,
    Broker,
    Data,
    End,
    Failure,
    Head,
    Job,
    JobName,
    ModelCard,
    Named,
    ReplyHub,
    new_job_id,
)

# Longest wait for a worker: it may be in the middle of other requests.
WAIT_S = 10.0


class Unanswered(Exception):
    """Why there is no number."""


class ItemCounts:
    """For one gateway. What it is told it remembers in ``learnt``.

    Args:
        gateway_id: where replies to this process are announced.
        abandon: cancels a job that nobody waits for any more.
    """

    def __init__(
        self,
        broker: Broker,
        hub: ReplyHub,
        gateway_id: str,
        abandon: Callable[[Named], None],
        learnt: LearntTokens,
    ):
        self._broker = broker
        self._hub = hub
        self._gateway_id = gateway_id
        self._abandon = abandon
        self._learnt = learnt
        self._asking: dict[Hashable, asyncio.Task[int]] = {}

    async def ask(self, card: ModelCard, item: MediaItem, kind: Hashable, options: MediaOptions, tenant: str) -> int:
        """The tokens of an item, which has to be in the store meanwhile.

        Args:
            kind: by which it is remembered (``kind_of_item``).

        Raises:
            Unanswered: the worker refuses it, does not know the question, or has no time.
        """
        if (task := self._asking.get(kind)) is None:
            task = self._asking[kind] = asyncio.create_task(self._ask(card, item, options, tenant))
            task.add_done_callback(lambda _: self._asking.pop(kind, None))
        tokens = await asyncio.shield(task)
        self._learnt.put(kind, tokens)
        return tokens

    async def _ask(self, card: ModelCard, item: MediaItem, options: MediaOptions, tenant: str) -> int:
        told = {**options.passed, **options.told}
        asked = {"modality": item.modality, "url": item.url, "mm_processor_kwargs": told}
        name = JobName(new_job_id("item-count"), card.model)
        job = Job(name.id, name.model, ITEM_COUNT_PATH, orjson.dumps(asked), tenant=tenant)
        try:
            async with asyncio.timeout(WAIT_S):
                status, answer = await self._answer(job)
        except BaseException as error:
            self._abandon(name)
            if isinstance(error, TimeoutError):
                raise Unanswered("No worker had time to count it.") from None
            if isinstance(error, TesseraError):
                raise Unanswered(error.message) from error
            raise
        told = answer.get("error", {})
        if status != 200 or not isinstance(answer.get("tokens"), int):
            raise Unanswered(told.get("message") or "The worker of this model cannot count single items.")
        tokens: int = answer["tokens"]
        return tokens

    async def _answer(self, job: Job) -> tuple[int, dict[str, Any]]:
        status, body = 500, b""
        with self._hub.open(job) as stream:
            await self._broker.enqueue(job, reply_to=self._gateway_id)
            stream.enqueued = True
            while True:
                for entry in await stream.next():
                    match entry:
                        case Head():
                            status = entry.status
                        case Data():
                            body += entry.body
                        case End():
                            return status, orjson.loads(body)
                        case Failure():
                            raise Unanswered(entry.message)
