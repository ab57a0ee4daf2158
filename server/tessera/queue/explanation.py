"""What became of a job, from its record, for whoever is asked why."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from typing import Any, cast

import orjson
import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from tessera.queue import entry
from tessera.queue.connection import reach
from tessera.queue.entry import End, Failure, Head
from tessera.queue.keys import Keys
from tessera.settings import DEFAULT_TENANT, Settings

_MODALITIES = ("image", "video", "audio")
# What `lease`, `reap` and `release` write of each delivery, by the epoch of it.
_DELIVERY = re.compile(r"(taken|silent|failed|given_back):(\d+)")
_SAID = {
    "taken": "taken",
    "silent": "worker_silent",
    "failed": "engine_failed",
    "given_back": "given_back",
}


@dataclass(frozen=True, slots=True)
class Happening:
    """Attributes:
    at_ms: Unix time, by Redis' clock.
    what: ``queued``, ``taken``, ``answer_began``, ``worker_silent``, ``engine_failed``, ``given_back``, ``set_aside``;
        or how it ended: ``finished``, ``cancelled``, ``evicted``.
    worker: where one did it, or it happened to one.
    """

    at_ms: int
    what: str
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of a job.

    Attributes:
        state: as in ``Record``.
        gateway: id of the one that took it.
        deliveries: to workers that did not give it back unused.
        ahead: jobs before it in the queue; None where it does not wait.
        alone: it runs, or ran, with an engine to itself.
        body_bytes: as long as it has not ended.
        reply_entries: pieces of its answer that are kept.
        forgotten_in_s: when this record expires.
        media: what the gateway knew of each item.
        gateway_ms: how long each stage before the queue took.
        adapter: of its model, that it asked for; empty: the model itself.
        alias: the name that it was asked for by; empty: its own.
        status: HTTP status of the answer, where one has begun.
        tokens: by kind, as in ``tessera_tokens_total``, of an answer that is complete.
        error: code of the error that it ended with.
        message: of that error, where it is the queue's own.
        happenings: in the order of their times.
    """

    id: str
    model: str
    tenant: str
    endpoint: str
    stream: bool
    state: str
    gateway: str
    deliveries: int
    sequences: int
    ahead: int | None
    alone: bool
    body_bytes: int
    reply_entries: int
    forgotten_in_s: float | None
    media: list[dict[str, Any]] = field(default_factory=list)
    gateway_ms: dict[str, float] = field(default_factory=dict)
    adapter: str = ""
    alias: str = ""
    status: int | None = None
    resumed: bool = False
    tokens: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    message: str | None = None
    happenings: list[Happening] = field(default_factory=list)


class Explanations:
    """Reads the records of one Redis. Methods raise ``QueueUnavailable`` as those of ``Broker`` do."""

    def __init__(self, redis: aioredis.Redis, settings: Settings):
        self._redis = redis
        self._settings = settings
        self._keys = Keys(settings.redis_prefix)

    async def find(self, models: Iterable[str], job_ids: Iterable[str]) -> Explanation | None:
        """What became of the job that has one of these ids and is, or was, for one of these models."""
        for model, job_id in product(models, job_ids):
            async with reach(self._settings):
                key = self._keys.job(model, job_id)
                with suppress(ResponseError):  # of another type: damaged, and about to be set aside
                    names = [name.decode(errors="replace") for name in cast("Any", await self._redis.hkeys(key))]
                    # One that was cancelled before it arrived has nothing but a state.
                    if "meta" in names:
                        return await self._read(model, job_id, [name for name in names if name != "body"])
        return None

    async def _read(self, model: str, job_id: str, names: list[str]) -> Explanation:
        key, log = self._keys.job(model, job_id), self._keys.log(model, job_id)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(key, names)
            pipe.hstrlen(key, "body")
            pipe.pttl(key)
            pipe.zrank(self._keys.queue(model), job_id)
            pipe.llen(log)
            pipe.lindex(log, 0)
            pipe.lindex(log, -1)
            pipe.hget(self._keys.dead_letter(model, job_id), "dead_ms")
            values, body_bytes, ttl_ms, ahead, length, first, last, dead_ms = await pipe.execute()
        known = {n: v.decode(errors="replace") for n, v in zip(names, values, strict=True) if v is not None}
        meta = _object(known.get("meta", ""))
        about = meta["about"] if isinstance(meta.get("about"), dict) else {}
        return Explanation(
            job_id,
            model,
            tenant=str(meta.get("tenant", DEFAULT_TENANT)),
            endpoint=str(meta.get("path", "")),
            stream=bool(meta.get("stream", False)),
            state=known.get("state", ""),
            gateway=known.get("reply_to", "").rpartition(":")[2],
            deliveries=_number(known.get("attempts")),
            sequences=_number(known.get("sequences")),
            ahead=ahead,
            alone=known.get("alone") == "1",
            body_bytes=body_bytes,
            reply_entries=length,
            forgotten_in_s=ttl_ms / 1000 if ttl_ms >= 0 else None,
            media=about.get("media", []),
            gateway_ms=about.get("gateway_ms", {}),
            adapter=str(meta.get("adapter", "")),
            alias=str(about.get("alias", "")),
            happenings=_happenings(known, _number((dead_ms or b"").decode())),
            **_ending(first, last),
        )


def token_counts(usage: dict[str, Any]) -> dict[str, int]:
    """Tokens by kind, out of vLLM's usage object; those that it does not tell of are left out."""
    details = usage.get("prompt_tokens_details") or {}
    by_modality = details.get("multimodal_tokens") or {}
    counts = {"prompt": usage.get("prompt_tokens"), "completion": usage.get("completion_tokens")}
    counts["cached"] = details.get("cached_tokens")
    counts |= {name: by_modality.get(name) for name in _MODALITIES}
    return {kind: count for kind, count in counts.items() if count}


def _ending(first: bytes | None, last: bytes | None) -> dict[str, Any]:
    told: dict[str, Any] = {}
    with suppress(ValueError):
        head, end = (None if raw is None else entry.decode(raw) for raw in (first, last))
        if isinstance(head, Head):
            told["status"] = head.status
        if isinstance(end, Failure):
            told |= {"error": end.code, "message": end.message}
        elif isinstance(end, End):
            told |= {"tokens": token_counts(end.usage), "resumed": end.resumed}
            if end.error is not None:
                told["status"], told["error"] = end.error
    return told


def _happenings(known: dict[str, str], dead_ms: int) -> list[Happening]:
    found = [Happening(_number(known.get("arrived_ms")), "queued")]
    deliveries = [(delivery, value) for name, value in known.items() if (delivery := _DELIVERY.fullmatch(name))]
    # Each is taken before it comes to an end, and ends before the next is taken, also within one millisecond.
    for delivery, value in sorted(deliveries, key=lambda told: (int(told[0][2]), told[0][1] != "taken")):
        at, _, worker = value.partition(" ")
        found.append(Happening(_number(at), _SAID[delivery[1]], worker))
    if "begun_ms" in known:
        found.append(Happening(_number(known["begun_ms"]), "answer_began"))
    if dead_ms:
        found.append(Happening(dead_ms, "set_aside"))
    if "ended_ms" in known:
        found.append(Happening(_number(known["ended_ms"]), known.get("state", "")))
    return sorted(found, key=lambda happening: happening.at_ms)


def _number(field: str | None) -> int:
    return int(field) if field and field.isdigit() and len(field) < 16 else 0


def _object(raw: str) -> dict[str, Any]:
    try:
        known = orjson.loads(raw)
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}
