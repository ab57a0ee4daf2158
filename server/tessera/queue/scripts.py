"""The Lua scripts beside this file, as callables of redis-py."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import redis.asyncio as aioredis
from redis.commands.core import AsyncScript


@lru_cache
def _source(name: str) -> str:
    folder = files("tessera.queue") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text() for part in ("common", name))


def script(redis: aioredis.Redis, name: str) -> AsyncScript:
    """The script ``lua/<name>.lua``, sent by its digest and loaded again by itself after a restart of Redis."""
    return redis.register_script(_source(name))
