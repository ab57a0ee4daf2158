"""LoRA adapters that an operator has had loaded: what every worker of a model loads, those that start later too."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import orjson
import redis.asyncio as aioredis

from tessera.queue.keys import Keys
from tessera.queue.scripts import script

_FULL = -1


def new_version() -> str:
    """Names one state of an adapter's record: another one has to be loaded anew."""
    return secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter as it is to be loaded.

    Attributes:
        name: under which clients ask for it.
        model: its base.
        path: where its files are, as the workers see it; or its name at the model hub.
        fused: the weights of its experts are one tensor a layer (vLLM's ``is_3d_lora_weight``).
    """

    name: str
    model: str
    path: str
    fused: bool = False
    version: str = field(default_factory=new_version)

    def encode(self) -> bytes:
        """As stored."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> Adapter | None:
        """From what was stored; None where that is damaged. Fields of a newer version are ignored."""
        try:
            known = orjson.loads(raw)
            made = cls(**{name: known[name] for name in cls.__dataclass_fields__ if name in known})
        except (TypeError, ValueError):
            return None
        texts = (made.name, made.model, made.path, made.version)
        return made if all(isinstance(text, str) and text for text in texts) else None


class AdaptersFull(Exception):
    """There are as many adapters as there may be."""


class Adapters:
    """The records in one Redis. Methods raise redis-py's errors."""

    def __init__(self, redis: aioredis.Redis, keys: Keys):
        self._redis = redis
        self._key = keys.adapters
        self._change = script(redis, "adapter")

    async def of(self, model: str) -> dict[str, Adapter]:
        """By name: those whose base is this model."""
        stored: dict[bytes, bytes] = cast("Any", await self._redis.hgetall(self._key))
        found = [adapter for raw in stored.values() if (adapter := Adapter.decode(raw)) is not None]
        return {adapter.name: adapter for adapter in found if adapter.model == model}

    async def find(self, name: str) -> Adapter | None:
        """The adapter of that name, whatever its base is."""
        raw = cast("Any", await self._redis.hget(self._key, name))
        return None if raw is None else Adapter.decode(raw)

    async def replace(self, name: str, before: Adapter | None, after: Adapter | None, *, most: int) -> bool:
        """Have ``after`` stand in the place of ``before``. Returns False where something else stands there.

        Raises:
            AdaptersFull: it would be one more than ``most``.
        """
        stood, record = before.version if before else "", after.encode() if after else b""
        done = await self._change(keys=[self._key], args=[name, stood, record, most])
        if done == _FULL:
            raise AdaptersFull
        return bool(done)
