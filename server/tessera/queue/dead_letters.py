"""Jobs that were set aside since they must not run again, kept for the operator."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import orjson
import redis.asyncio as aioredis
import structlog

from tessera.queue.job import Job, new_job_id
from tessera.queue.keys import Keys

log = structlog.get_logger()

_FIELDS = ("reason", "dead_ms", "enqueued_ms", "sequences", "meta", "deaths", "body_bytes")


class Death(NamedTuple):
    """A worker that died under a job.

    Attributes:
        at_ms: Unix time.
        how: ``failed``: its engine did; ``silent``: the whole worker.
    """

    at_ms: int
    worker: str
    how: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is kept of a job.

    Attributes:
        reason: ``poison_request``, or ``record_damaged``.
        dead_ms: when it was set aside (Unix time).
        path: path in vLLM's application; empty where that is damaged.
        body_bytes: size of its body.
    """

    job_id: str
    model: str
    reason: str
    dead_ms: int
    enqueued_ms: int
    sequences: int
    path: str
    body_bytes: int
    deaths: tuple[Death, ...]


class DeadLetters:
    """Those in one Redis. Methods raise redis-py's errors."""

    def __init__(self, redis: aioredis.Redis, keys: Keys):
        self._redis = redis
        self._keys = keys

    async def of(self, model: str) -> list[DeadLetter]:
        """Those of a model, the newest first; what has expired or cannot be read is left out."""
        newest_first = cast("Awaitable[list[bytes]]", self._redis.zrevrange(self._keys.dead(model), 0, -1))
        ids = [raw.decode() for raw in await newest_first]
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hmget(self._keys.dead_letter(model, job_id), _FIELDS)
            records = await pipe.execute(raise_on_error=False)
        letters = (_read(model, job_id, record) for job_id, record in zip(ids, records, strict=True))
        return [letter for letter in letters if letter is not None]

    async def body(self, letter: DeadLetter) -> bytes | None:
        """The body of a job; None where it was too large to be kept."""
        key = self._keys.dead_letter(letter.model, letter.job_id)
        return await cast("Awaitable[bytes | None]", self._redis.hget(key, "body"))

    async def drop(self, letter: DeadLetter) -> None:
        """Forget one."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(self._keys.dead(letter.model), letter.job_id)
            pipe.delete(self._keys.dead_letter(letter.model, letter.job_id))
            await pipe.execute()

    async def job(self, letter: DeadLetter) -> Job | None:
        """The same job, to be run anew under another id; None where its body was too large to be kept.

        Raises:
            KeyError, TypeError, ValueError: its record is damaged.
        """
        key = self._keys.dead_letter(letter.model, letter.job_id)
        meta, body = await cast("Awaitable[list[bytes | None]]", self._redis.hmget(key, ["meta", "body"]))
        if meta is None or body is None:
            return None
        job_id = new_job_id(letter.job_id.rpartition("-")[0] or letter.job_id)
        return Job.restore(job_id, letter.model, meta, body, letter.sequences)


def tell_set_aside(model: str, letters: Iterable[tuple[bytes, bytes, bytes]]) -> None:
    """Log what a script has set aside: id, reason and deaths of each job."""
    for job_id, reason, deaths in letters:
        workers = [death.worker for death in _deaths(deaths)]
        log.error("job_set_aside", model=model, job=job_id.decode(), reason=reason.decode(), workers=workers)


def _read(model: str, job_id: str, record: Any) -> DeadLetter | None:
    try:
        reason, dead_ms, enqueued_ms, sequences, meta, deaths, body_bytes = record
        return DeadLetter(
            job_id,
            model,
            reason=reason.decode(),
            dead_ms=int(dead_ms),
            enqueued_ms=_number(enqueued_ms),
            sequences=_number(sequences),
            path=_path(meta),
            body_bytes=int(body_bytes),
            deaths=_deaths(deaths),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _number(field: bytes) -> int:
    return int(field) if field.isdigit() else 0


def _path(meta: bytes) -> str:
    try:
        return str(orjson.loads(meta)["path"])
    except (KeyError, TypeError, ValueError):
        return ""


def _deaths(raw: bytes) -> tuple[Death, ...]:
    # Lua has one kind of table: an empty one is an empty object.
    return tuple(Death(*death[:3]) for death in orjson.loads(raw))
