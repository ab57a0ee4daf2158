"""The tokenizers and chat templates of the models that requests are for: loaded once somebody needs them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from tessera.gateway.text_ratio import TextRatios
from tessera.prompt import PromptCounter, PromptFiles, Uncountable
from tessera.queue import REDIS_UNAVAILABLE, ModelCard, PromptStore

log = structlog.get_logger()

# Each takes up to some 100 MiB.
MOST_LOADED = 4
# Threads that count. One alone could be taken by a large text for a second.
THREADS = 2
# Texts that wait for them; beyond that nobody can tell in time.
MOST_WAITING = 64
# What could not be loaded is not tried again at every request.
_RETRY_S = 10.0

_T = TypeVar("_T")


class PromptCounters:
    """For one gateway.

    Attributes:
        ratios: for models whose texts cannot be counted.
    """

    def __init__(self, store: PromptStore):
        self.ratios = TextRatios()
        self._store = store
        self._loaded: OrderedDict[str, PromptCounter] = OrderedDict()
        self._loading: dict[str, asyncio.Task[PromptCounter]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prompt-counter")
        self._waiting = 0

    def close(self) -> None:
        """Wait for nothing; to be called when no more requests come."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def loaded(self, card: ModelCard) -> PromptCounter | None:
        """The counter of a model, if it is there already."""
        return self._loaded.get(card.prompts)

    async def of(self, card: ModelCard) -> PromptCounter:
        """The counter of a model.

        Raises:
            Uncountable: its worker announces none, or it cannot be had or loaded.
        """
        digest = card.prompts
        if not digest:
            raise Uncountable(
                "the worker of this model announces no tokenizer and chat template that could be followed"
            )
        if (counter := self._loaded.get(digest)) is not None:
            self._loaded.move_to_end(digest)
            return counter
        until, reason = self._failed.get(digest, (0.0, ""))
        if time.monotonic() < until:
            raise Uncountable(reason)
        if (task := self._loading.get(digest)) is None:
            task = self._loading[digest] = asyncio.create_task(self._load(digest))
            task.add_done_callback(lambda _: self._loading.pop(digest, None))
        # Others may wait for it too, and whoever began it may leave.
        return await asyncio.shield(task)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Count in a thread.

        Raises:
            Uncountable: raised by ``work``, or too many others wait.
        """
        if self._waiting >= MOST_WAITING:
            raise Uncountable("too many texts are being counted")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    async def _load(self, digest: str) -> PromptCounter:
        try:
            packed = await self._store.get(digest)
            counter = await asyncio.to_thread(_counter, packed)
        except (Uncountable, *REDIS_UNAVAILABLE) as error:
            reason = str(error) if isinstance(error, Uncountable) else "the queue cannot be reached"
            self._failed = {name: told for name, told in self._failed.items() if told[0] > time.monotonic()}
            self._failed[digest] = (time.monotonic() + _RETRY_S, reason)
            log.warning("tokenizer_not_loaded", digest=digest, reason=str(error))
            raise Uncountable(reason) from error
        self._loaded[digest] = counter
        while len(self._loaded) > MOST_LOADED:
            self._loaded.popitem(last=False)
        log.info("tokenizer_loaded", digest=digest)
        return counter


def _counter(packed: bytes | None) -> PromptCounter:
    if packed is None:
        raise Uncountable("what the worker announced of its tokenizer is not there at the moment")
    counter = PromptCounter(PromptFiles.decode(packed))
    _ = counter.longest_token  # which takes a while, too
    return counter
