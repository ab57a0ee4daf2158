"""The Lua scripts beside this file, as callables of redis-py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import redis.asyncio as aioredis
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from tessera.redis_connection import Command
from tessera.redis_direct import Direct
from tessera.redis_errors import is_passing

# What is prepended to every script, and to some.
_COMMON = ("damage", "bytes", "common")
_FURTHER = {
    "enqueue": ("once",),
    "begun": ("once",),
    **dict.fromkeys(("lease", "reap", "reject", "release"), ("deaths",)),
}


class Script(AsyncScript):
    """A script whose errors are those of the commands in it: Redis 6.2 wraps them, and so hides their kind.

    Where it is not known, it is sent: to whoever has the keys, which of a Cluster's nodes may be only one.

    Args:
        limit_s: see ``Direct``.
    """

    def __init__(self, redis: aioredis.Redis, source: str, limit_s: float | None = None):
        super().__init__(redis, source)
        self._direct = Direct(redis, limit_s)

    async def __call__(  # type: ignore[override]
        self,
        keys: Sequence[str],
        args: Sequence[Any] = (),
        *,
        behind: Sequence[Command] = (),
        blocking_s: float = 0.0,
    ) -> Any:
        """Run it. Raises redis-py's errors, ``ConnectionError`` for all that pass by themselves, or TimeoutError.

        Args:
            behind, blocking_s: see ``Direct.command``.
        """
        given = (len(keys), *keys, *args)
        try:
            try:
                return await self._direct.command("EVALSHA", self.sha, *given, behind=behind, blocking_s=blocking_s)
            except NoScriptError:
                return await self._direct.command("EVAL", self.script, *given)
        except ResponseError as error:
            if is_passing(error) or "OOM " in str(error):
                raise RedisConnectionError(str(error)) from error
            raise


@lru_cache
def _source(name: str) -> str:
    folder = files("tessera.queue") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text() for part in (*_COMMON, *_FURTHER.get(name, ()), name))


def script(redis: aioredis.Redis, name: str, limit_s: float | None = None) -> Script:
    """The script ``lua/<name>.lua``, sent by its digest, and as a whole where a Redis does not know it yet."""
    return Script(redis, _source(name), limit_s)
