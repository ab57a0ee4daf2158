"""Who serves what: workers announce their model's card in Redis, gateways read it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import orjson
import redis.asyncio as aioredis
import structlog

from tessera.queue.damage import tell_damaged
from tessera.queue.keys import Keys
from tessera.queue.scripts import script

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a worker serves.

    Attributes:
        model: the name that clients use.
        root: where its weights come from.
        max_model_len: longest prompt and answer together, in tokens.
        limits: modality to the most items that one request may hold; a modality that is missing is not taken.
        media: how media has to be prepared (``media.MediaSpec`` as a dictionary).
        sequences: sequences that one worker runs at once.
        created: Unix time in seconds.
        any_media_options: its operator lets requests set whatever vLLM takes (``--trust-request-mm-kwargs``).
        plan: how the tokens of its media are counted (``plan.Family`` as a dictionary); empty: only its own processor
            knows.
        engine: what runs it; empty: a worker of a version that did not say.
        prompts: digest of its tokenizer and chat templates, as announced (``PromptStore``); empty: they are not.
        tasks: what it can be asked for, in vLLM's words (``generate``, ``embed``, ``classify``, ``token_embed``,
            ``transcription``, …), and for what vLLM has no word for: ``score``, ``tokenize``, ``chat_batch``.
        speech: of one that transcribes: ``clip_s``, the longest sound that is one sequence of its engine (0: any), and
            ``segments``, whether it tells times.
        metrics: address and port of this worker's own metrics; empty: there are none.
        most_rank: highest rank of a LoRA adapter that it loads; 0: it loads none.
        adapters: those that it has: by name, ``root`` (where the weights come from), and ``version`` of the record that
            says so (empty: its engine's own arguments do); where it could not load what is recorded, ``error`` instead
            of ``root``.
        fleet: names the workers that are started and stopped together with it; empty: nobody knows.
        wanted: how many of these there are to be.
    """

    model: str
    root: str
    max_model_len: int
    limits: dict[str, int] = field(default_factory=dict)
    media: dict[str, Any] = field(default_factory=dict)
    sequences: int = 1
    created: int = 0
    engine: str = ""
    any_media_options: bool = False
    plan: dict[str, Any] = field(default_factory=dict)
    prompts: str = ""
    speech: dict[str, Any] = field(default_factory=dict)
    # Workers of a version that did not say know nothing else.
    tasks: list[str] = field(default_factory=lambda: ["generate"])
    metrics: str = ""
    most_rank: int = 0
    adapters: dict[str, dict[str, str]] = field(default_factory=dict)
    fleet: str = ""
    wanted: int = 0

    def encode(self) -> bytes:
        """As stored."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> ModelCard:
        """From what was stored; fields of a newer version are ignored."""
        known = orjson.loads(raw)
        return cls(**{name: known[name] for name in cls.__dataclass_fields__ if name in known})


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as the gateways see it.

    Attributes:
        workers: live workers.
        last_seen_s: seconds since a worker was last alive; 0 while there is one.
        cards: of each live worker.
    """

    card: ModelCard
    workers: int
    last_seen_s: float
    cards: tuple[ModelCard, ...] = ()

    @property
    def wanted(self) -> int | None:
        """How many workers there are to be, as those that live say; None where none of them knows."""
        fleets: dict[str, int] = {}
        for card in self.cards:
            if card.fleet:
                # A moment after a change they do not all say the same.
                fleets[card.fleet] = max(fleets.get(card.fleet, 0), card.wanted)
        return sum(fleets.values()) if fleets else None


class Directory:
    """The announcements in one Redis. Methods raise redis-py's errors."""

    def __init__(self, redis: aioredis.Redis, keys: Keys):
        self._redis = redis
        self._keys = [keys.workers, keys.cards, keys.models]
        self._prefix = keys.model(keys.DIRECTORY)
        self._damaged: set[bytes] = set()
        self._announce, self._models = script(redis, "announce"), script(redis, "models")

    async def announce(self, worker_id: str, card: ModelCard, *, ttl_s: float) -> None:
        """Say that a worker serves a model; to be repeated before ``ttl_s`` is over."""
        await self._announce(keys=self._keys, args=[worker_id, card.model, card.encode(), int(ttl_s * 1000)])

    async def withdraw(self, worker_id: str) -> None:
        """A worker takes no more jobs; others, or its successor, may serve the model."""
        workers, cards, _ = self._keys
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(workers, worker_id)
            pipe.hdel(cards, worker_id)
            await pipe.execute()

    async def retire(self, model: str) -> None:
        """A model that is no longer served on purpose: requests for it are answered at once, not queued."""
        if not any(m.workers for m in await self.models() if m.card.model == model):
            await self._redis.hdel(self._keys[2], model)

    async def models(self) -> list[ServedModel]:
        """All models that are served now, or were before and not retired, by name."""
        live, seen, damaged = await self._models(keys=self._keys)
        tell_damaged(self._prefix, damaged)
        cards = {raw: _card(raw) for raw in (*live, *seen[2::3])}
        self._tell_damaged({raw for raw, card in cards.items() if card is None})
        serving: dict[str, list[ModelCard]] = defaultdict(list)
        for raw in live:
            if (card := cards[raw]) is not None:
                serving[card.model].append(card)
        found = []
        for name, silent_ms, raw in zip(seen[::3], seen[1::3], seen[2::3], strict=True):
            if (card := cards[raw]) is not None:
                of_workers = tuple(serving[name.decode()])
                found.append(ServedModel(card, len(of_workers), 0.0 if of_workers else silent_ms / 1000, of_workers))
        return sorted(found, key=lambda m: m.card.model)

    async def workers(self) -> list[tuple[str, ModelCard]]:
        """Live workers and their cards, by id; those whose card cannot be read are left out."""
        _, cards, _ = self._keys
        await self._models(keys=self._keys)  # removes those that are silent
        told: dict[bytes, bytes] = cast("Any", await self._redis.hgetall(cards))
        found = [(worker.decode(), _card(raw)) for worker, raw in sorted(told.items())]
        return [(worker, card) for worker, card in found if card is not None]

    def _tell_damaged(self, cards: set[bytes]) -> None:
        """Log cards that cannot be read, each once: their workers announce them again."""
        for raw in cards - self._damaged:
            log.error("card_damaged", card=raw[:200])
        self._damaged = cards


def _card(raw: bytes) -> ModelCard | None:
    try:
        card = ModelCard.decode(raw)
    except (TypeError, ValueError):
        return None
    return card if isinstance(card.model, str) else None
